"""A prompt and its answer are nobody's business: no log, file, figure or list of Herd's has a word of them."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from herd.actors.ports import HttpRequest, Sink
from herd.protocols.headers import value_of
from herd.types import Bytes, MiB
from tests.e2e.house import BOTH, House, running_house
from tests.e2e.model_servers import ModelServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED, SAID = "zebra-7391", "quagga-2280"
DEBUG = ("--log-level", "debug", "--log-format", "json")
JSON = (("Content-Type", "application/json"),)
WORDS = [{"role": "user", "content": f"what is a {ASKED}?"}]
ASKS: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": WORDS},
    "/api/generate": {"prompt": ASKED, "system": ASKED},
    "/v1/chat/completions": {"messages": WORDS},
    "/v1/messages": {"messages": WORDS, "max_tokens": 9},
    "/v1/responses": {"input": WORDS},
    "/api/embed": {"input": [ASKED]},
    "/v1/messages/count_tokens": {"messages": WORDS},
}
# All that some servers have.
OPENAI = {"/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"}
# A model of its own for each, at each node: one that fails three times in a row is left alone for seconds.
OWN = {
    "attic": (
        *("llama3.2:1b", "qwen3:1.7b", "gemma3:1b", "phi4-mini:3.8b", "qwen2.5-coder:1.5b"),
        *("mxbai-embed-large:latest", "mistral:7b"),
    ),
    "cellar": (
        *("qwen2.5-coder:7b", "llama3.1:8b", "deepseek-r1:8b", "gemma3:12b", "qwen3:14b"),
        *("bge-m3:latest", "phi4:14b"),
    ),
}
# What a server may do, in pairs that no breaker opens for.
TROUBLE = (("400", "500"), ("503", "error"), ("abort", "stop"), ("nonsense",))
SHOWN = (
    *("/herd/v1/status", "/herd/v1/requests?limit=1000", "/herd/v1/logs?limit=1000", "/herd/v1/nodes/cellar"),
    "/metrics",
)
# What clients get wrong, with their prompt around it.
WRONG: dict[str, bytes] = {
    "cut off": b'{"model":"%s","messages":[{"role":"user","content":"%s' % (BOTH.encode(), ASKED.encode()),
    "no JSON": ASKED.encode(),
    "no object": json.dumps([ASKED]).encode(),
    "no such model": json.dumps({"model": "nobody", "messages": WORDS, "prompt": ASKED}).encode(),
    "no model": json.dumps({"messages": WORDS, "prompt": ASKED}).encode(),
    "wrong types": json.dumps({"model": BOTH, "messages": ASKED, "prompt": [{ASKED: 1}], "input": {ASKED: 1}}).encode(),
    "odd parts": json.dumps(
        {"model": BOTH, "messages": [{"role": "user", "content": [{"type": "text", "words": ASKED}, ASKED]}]}
    ).encode(),
}


class Parrot(ModelServer):
    """A model server that says what it is told to in the header `X-Do`, with a word of its own; else a fake Ollama.

    That of the cellar has OpenAI's chats alone.
    """

    def __init__(self, name: str, models: Sequence[str]) -> None:
        super().__init__(name, (*models, *OWN[name]))
        self._only_openai = name == "cellar"
        self._troubled: Counter[str] = Counter()

    async def _handle(self, request: HttpRequest, sink: Sink) -> None:
        if self._only_openai and request.path not in OPENAI:
            await _whole(sink, 404, b'{"detail":"Not Found"}')
            return
        do, who = value_of(request.headers, "x-do"), value_of(request.headers, "x-request-id")
        self._troubled[who] += 1
        if not do or self._troubled[who] > 1:  # whoever asks again is served
            await super()._handle(request, sink)
            return
        (await request.read_body(Bytes(MiB))).close()
        if do.isdigit():
            await _whole(sink, int(do), json.dumps({"error": f"{ASKED}: {SAID}"}).encode())
            return
        openai = request.path.startswith("/v1/")
        await sink.start(200, (("Content-Type", "text/event-stream" if openai else "application/x-ndjson"),))
        piece = {
            "model": BOTH,
            "message": {"role": "assistant", "content": SAID},
            "response": SAID,
            "choices": [{"index": 0, "delta": {"content": SAID}, "text": SAID}],
        }
        await _line(sink, piece, openai=openai)
        if do == "error":
            await _line(sink, {"error": {"message": f"{ASKED}: {SAID}"} if openai else SAID}, openai=openai)
        elif do == "nonsense":
            await sink.write(f"data: {SAID}\n\n{SAID}\n".encode())
        elif do == "abort":
            sink.abort()
            return
        await sink.finish()


async def _line(sink: Sink, document: dict[str, Any], *, openai: bool) -> None:
    text = json.dumps(document)
    await sink.write(f"data: {text}\n\n".encode() if openai else f"{text}\n".encode())


async def _whole(sink: Sink, status: int, body: bytes) -> None:
    await sink.start(status, (*JSON, ("Content-Length", str(len(body)))))
    await sink.write(body)
    await sink.finish()


@pytest_asyncio.fixture(name="home", scope="module", loop_scope="module")
async def house_that_tells_all_it_does(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with running_house(tmp_path_factory.mktemp("talkative"), Parrot, DEBUG, DEBUG) as house:
        yield house


async def ask(house: House, path: str, **options: Any) -> None:
    """Send a request, and take whatever comes."""
    async with house.post(path, **options) as answer:
        await answer.read()


async def quietly(house: House, path: str, **options: Any) -> None:
    """The same, where the answer may be cut."""
    try:
        await ask(house, path, **options)
    except aiohttp.ClientPayloadError:
        assert options["headers"]["X-Do"] in {"abort", "nonsense", "stop"}


async def everything_asked(house: House) -> None:
    """Each API at each node: answered, refused, broken and translated."""
    for models in OWN.values():
        for (path, fields), model in zip(ASKS.items(), models, strict=True):
            asked = {"model": model, **fields, "options": {"num_predict": 3}}
            for trouble in TROUBLE:
                for stream in (True, False):
                    await ask(house, path, json={**asked, "stream": stream})
                for do in trouble:
                    headers = {"X-Do": do, "X-Request-Id": f"{do}-of-{model}"}
                    await quietly(house, path, json={**asked, "stream": True}, headers=headers)
    for path, body in itertools.product(ASKS, WRONG.values()):
        await ask(house, path, data=body, headers=dict(JSON))


async def not_even_http(house: House) -> None:
    """Bytes that no parser takes, and that one may be tempted to quote."""
    for head in (
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nBad Header %s\r\n\r\n",
        b"%s\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.router_port)
        writer.write(head % ASKED.encode())
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def first_events(house: House) -> str:
    """One event of each topic, as it stands now."""
    topics = ("status", "requests", "happenings", "log")
    text = ""
    async with house.client.get(f"{house.url}/herd/v1/events?topics={','.join(topics)}") as answer:
        async for line in answer.content:
            text += line.decode()
            if text.count("event: ") == len(topics) and text.endswith("\n\n"):
                return text
    raise AssertionError("the events ended")


async def test_no_word_of_a_prompt_or_an_answer_is_kept_or_shown(home: House) -> None:
    await everything_asked(home)
    await not_even_http(home)
    places: dict[str, str] = {}
    listed = (await home.get("/herd/v1/requests?limit=1000"))["requests"]
    assert len(listed) > 100
    places["events"] = await first_events(home)
    for path in SHOWN:
        async with home.client.get(home.url + path) as answer:
            places[path] = await answer.text()
    for request in listed:
        places[f"story {request['id']}"] = json.dumps(await home.get(f"/herd/v1/requests/{request['id']}"))
    for program in (home.router, *home.agents.values()):
        for number, line in enumerate(program.lines):
            places[f"{program.name}, line {number}"] = line
        await program.stop()
    for file in home.programs.home.rglob("*"):
        if file.is_file():
            places[str(file)] = file.read_bytes().decode(errors="replace")
    assert [name for name, text in places.items() if ASKED in text or SAID in text] == []
    assert any(name.endswith(".db") for name in places)  # there was something to look at
    assert all('"request_id"' in places[place] for place in ("events", "/herd/v1/logs?limit=1000"))
    assert sum(text.startswith("{") for name, text in places.items() if name.startswith("herd, ")) > 100
