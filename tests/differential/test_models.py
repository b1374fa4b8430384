"""Changes of what models there are, made straight or through Herd, leave the same models and say the same."""

import asyncio
import re
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.pair import Answer, Call, Pair, running_pair, soon_the_same

BLOB = b"GGUF" + bytes(60)
DIGEST = f"sha256:{sha256(BLOB).hexdigest()}"

names = st.sampled_from(
    ["llama3.2:3b", "gemma3:4b", "mine", "mine:v2", "LLAMA3.2:3B", "llama3.2:1b", "unknown:7b", "bad name"]
)


def asks(method: str, path: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """A request whose body has these fields."""
    return st.builds(lambda body: Call(method, path, orjson.dumps(body)), st.fixed_dictionaries(fields))


changes = st.one_of(
    asks("POST", "/api/pull", model=names, stream=st.booleans()),
    asks("POST", "/api/copy", source=names, destination=names),
    asks("DELETE", "/api/delete", model=names),
    asks("POST", "/api/create", model=names, stream=st.booleans(), **{"from": names}),
    asks("POST", "/api/create", model=names, stream=st.just(False), files=st.just({"model.gguf": DIGEST})),
    asks("POST", "/api/push", model=names, stream=st.booleans()),
    asks("POST", "/api/generate", model=names, keep_alive=st.sampled_from([0, "0s", 60])),
    asks("POST", "/api/show", model=names),
    st.sampled_from([Call("POST", f"/api/blobs/{DIGEST}", BLOB), Call("HEAD", f"/api/blobs/{DIGEST}")]),
    st.sampled_from([Call("POST", f"/api/blobs/{DIGEST}", b"GGUF and something else")]),
)
PROGRESS = re.compile(rb'"completed":')
AFTERWARDS = (Call("GET", "/api/tags"), Call("GET", "/v1/models"))


@settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(changes, min_size=1, max_size=6))
def test_the_models_of_one_node_are_those_of_its_ollama_whatever_is_done_to_them(calls: list[Call]) -> None:
    async def story() -> None:
        async with running_pair() as pair:
            for call in calls:
                await same(pair, call)
                for look in AFTERWARDS:
                    await soon_the_same(pair, look)

    asyncio.run(story())


async def same(pair: Pair, call: Call) -> None:
    """Ask both, and compare."""
    straight, through = map(without_progress, await pair.ask(call))
    assert through == straight, call


def without_progress(answer: Answer) -> Answer:
    """How far a layer was, and how often that is said, depends on the moment."""
    body = b"".join(line for line in answer.body.splitlines(keepends=True) if not PROGRESS.search(line))
    return replace(answer, body=body)
