"""What the tests of refusals share: one small server, requests to it, and errors read in the form of each API."""

from typing import Any

from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

JSON = "application/json; charset=utf-8"
LLAMA, GEMMA, NOMIC, QWEN = "llama3.2:3b", "gemma3:4b", "nomic-embed-text", "qwen3:8b"
HI = [{"role": "user", "content": "hi"}]
NOBODY = "Nobody:7b"

# What makes a request to an endpoint whole but for its model.
REST: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "hi"},
    "/api/chat": {"messages": HI},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 10},
}


def small_server() -> FakeOllama:
    """One that loads and answers at once, in real time too."""
    models = [CATALOG[name] for name in (LLAMA, GEMMA, "nomic-embed-text:latest", QWEN)]
    return FakeOllama(PROFILES["mini-pc"].faster(1e6), models)


def error(answer: RecordingSink) -> tuple[int, str]:
    """Status and words of a whole answer that is an error in the form of its API."""
    assert answer.finished
    body = answer.json["error"]
    return answer.status, body if isinstance(body, str) else body["message"]


async def ask(fake: FakeOllama, path: str, body: Any) -> RecordingSink:
    """Send a body by the method that the path wants."""
    return await call(fake.handle, "DELETE" if path == "/api/delete" else "POST", path, body)
