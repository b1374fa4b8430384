"""What clients of each API see when something goes wrong: errors in its own form, before the first byte and after."""

import asyncio
import json
from typing import Any

import orjson
import pytest

from herd.actors.model_queue import MAX_WAITING
from herd.names import Names
from herd.protocols.refusals import BUSY
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import RecordingSink
from herd.simulation.ollama.faults import Lie
from tests.scenarios.helpers import LLAMA, now, scenario, served_by, turns, until_waiting

HELLO = [{"role": "user", "content": "hello"}]
COUNT = "/v1/messages/count_tokens"
ASKED: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": HELLO, "options": {"num_predict": 20}},
    "/api/generate": {"prompt": "hello", "options": {"num_predict": 20}},
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 20},
    "/v1/completions": {"prompt": "hello", "max_tokens": 20},
    "/v1/responses": {"input": "hello", "max_output_tokens": 20},
    "/v1/messages": {"messages": HELLO, "max_tokens": 20},
}
VECTORS: dict[str, dict[str, Any]] = {
    "/api/embed": {"input": ["hello", "there"]},
    "/api/embeddings": {"prompt": "hello"},
    "/v1/embeddings": {"input": "hello"},
}
EVERYWHERE = pytest.mark.parametrize("path", [*ASKED, *VECTORS])


def body(path: str, **fields: Any) -> dict[str, Any]:
    return {"model": LLAMA, **(ASKED | VECTORS)[path], **fields}


def error_of(path: str, document: Any) -> str:
    """The sentence in an error, after a look whether it has the API's form."""
    if path.startswith("/api/"):
        assert set(document) == {"error"}
        text: str = document["error"]
    elif path.startswith("/v1/messages"):
        assert set(document) == {"type", "error", "request_id"}
        assert (document["type"], set(document["error"])) == ("error", {"type", "message"})
        text = document["error"]["message"]
    else:
        assert set(document["error"]) == {"message", "type", "param", "code"}
        text = document["error"]["message"]
    return text


def last_event(answer: RecordingSink) -> tuple[str, Any]:
    """The name of the last event of a stream, empty where events have none, and what it says."""
    lines = answer.body.decode().rstrip("\n").rpartition("\n\n")[2].split("\n")
    name = lines[0].removeprefix("event: ") if lines[0].startswith("event: ") else ""
    return name, json.loads(lines[-1].removeprefix("data: "))


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("trouble", ["death", Lie.SHORT])
def test_a_stream_that_breaks_ends_with_an_error_of_its_own_format(path: str, trouble: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            if trouble == "death":
                a.ollama.die_mid_stream(7)
            else:
                a.ollama.lie_next(Lie.SHORT)
            answer = await home.ask(path, body(path, stream=True))
            assert (answer.status, answer.finished, answer.aborted) == (200, True, False)
            name, said = last_event(answer)
            if path == "/v1/responses":
                before = orjson.loads(answer.body.rpartition(b"\n\nevent: error")[0].rpartition(b"data: ")[2])
                assert (name, said["type"]) == ("error", "error")
                assert said["sequence_number"] == before["sequence_number"] + 1
                assert said["message"] == error_of(path, {"error": said["error"]})
            else:
                assert name == ("error" if path == "/v1/messages" else "")
                assert error_of(path, said)
            if path == "/v1/messages":
                assert said["request_id"] == answer.header("X-Request-Id")
            assert b"[DONE]" not in answer.body

    run_virtual(story())


@pytest.mark.parametrize("path", ASKED)
def test_a_stream_that_was_served_whole_is_followed_by_nothing(path: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            await home.node("a", [LLAMA], resident=[LLAMA])
            answer = await home.ask(path, body(path, stream=True, stream_options={"include_usage": True}))
            assert served_by(answer) == "a"
            assert b'"error":{' not in answer.body
            (line,) = (await home.ask("/herd/v1/requests", method="GET")).json["requests"]
            assert (line["outcome"], line["completion"]) == ("served", 20)

    run_virtual(story())


@EVERYWHERE
def test_an_answer_in_one_piece_that_breaks_is_tried_elsewhere(path: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            await home.node("b", [LLAMA])
            a.ollama.lie_next(Lie.EMPTY)
            assert served_by(await home.ask(path, body(path, stream=False))) == "b"

    run_virtual(story())


@EVERYWHERE
def test_a_busy_server_is_quoted_and_its_client_told_when_to_come_back(path: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            a.ollama.fail_next(503, BUSY)
            answer = await home.ask(path, body(path))
            assert (answer.status, answer.header("Retry-After"), answer.header("X-Herd-Node")) == (503, "5", "a")
            assert error_of(path, answer.json) == BUSY

    run_virtual(story())


@EVERYWHERE
def test_another_name_of_a_model_is_put_into_every_body(path: str) -> None:
    async def story() -> None:
        async with scenario(names=Names({"gpt-4o": LLAMA})) as home:
            await home.node("a", [LLAMA], resident=[LLAMA])
            answer = await home.ask(path, body(path, model="gpt-4o"))
            assert (served_by(answer), answer.header("X-Herd-Edited")) == ("a", "model")

    run_virtual(story())


@EVERYWHERE
def test_nobody_to_ask_is_said_in_each_dialect(path: str) -> None:
    async def story() -> None:
        async with scenario(hold_timeout=1.0, join_grace=0.0) as home:
            unknown = await home.ask(path, body(path, model="nobody/has:it"))
            assert (unknown.status, "nobody/has:it" in error_of(path, unknown.json)) == (404, True)
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            await home.ask("/herd/v1/nodes/a/drain")
            asked = a.ollama.requests[path]
            away = await home.ask(path, body(path))
            assert (away.status, away.header("Retry-After")) == (503, "5")
            assert f"no node can serve {LLAMA} now" in error_of(path, away.json)
            assert a.ollama.requests[path] == asked

    run_virtual(story())


@virtual_time
async def test_a_full_queue_is_said_in_each_dialect() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        sent = [home.send("/api/chat", body("/api/chat")) for _ in range(MAX_WAITING + 1)]
        await until_waiting(home, "a", MAX_WAITING)
        for path in (*ASKED, *VECTORS):
            answer = await home.ask(path, body(path))
            assert (answer.status, answer.header("Retry-After")) == (503, "5")
            assert error_of(path, answer.json) == BUSY
        for one in sent:
            one.task.cancel()
        await asyncio.wait([one.task for one in sent])
        await turns(20)


@virtual_time
async def test_a_count_is_guessed_for_what_a_name_means() -> None:
    async with scenario(names=Names({"haiku": LLAMA})) as home:
        await home.node("a", [LLAMA])
        assert (await home.ask(COUNT, {"model": "haiku", "messages": HELLO})).json["input_tokens"] > 0


@virtual_time
async def test_a_count_is_guessed_for_the_model_that_would_serve() -> None:
    asked = {"model": "haiku", "messages": HELLO}
    async with scenario(names=Names({}, {"haiku": [LLAMA]})) as home:
        await home.node("a", [LLAMA])
        assert (await home.ask(COUNT, asked)).json["input_tokens"] > 0
        assert (await home.ask(COUNT, asked | {"fallback_models": []})).status == 404
        own = asked | {"model": "opus", "fallback_models": ["sonnet", LLAMA]}
        assert (await home.ask(COUNT, own)).json["input_tokens"] > 0


@virtual_time
async def test_vectors_teach_nothing_of_how_quickly_a_machine_answers() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        for path in VECTORS:
            assert served_by(await home.ask(path, body(path))) == "a"
        (learned,) = (await home.ask("/herd/v1/nodes/a", method="GET")).json["learned"]
        assert (learned["decode"], learned["first_token_s"]) == (None, None)
        lines = (await home.ask("/herd/v1/requests", method="GET")).json["requests"]
        assert {line["outcome"] for line in lines} == {"served"}
        assert {line["completion"] for line in lines} == {0}


# --- Counting tokens --------------------------------------------------------------------------------------------------


@virtual_time
async def test_tokens_are_guessed_where_no_model_server_counts_them() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        text = "word " * 1000
        answer = await home.ask(f"{COUNT}?beta=true", {"model": LLAMA, "messages": [{"role": "user", "content": text}]})
        assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
        assert (answer.header("X-Herd-Estimated"), answer.header("X-Herd-Node")) == ("input_tokens", None)
        assert 1000 < answer.json["input_tokens"] < 1500
        assert answer.header("X-Request-Id")
        assert a.ollama.requests[COUNT] == 0


@virtual_time
async def test_a_count_does_not_wait_for_a_model_that_is_at_work() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        working = home.send("/api/chat", body("/api/chat"))
        await turns(30)
        began = now()
        assert (await home.ask(COUNT, {"model": LLAMA, "messages": HELLO})).json["input_tokens"] > 0
        assert now() == began
        await working.task


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"model": "nobody-has-it", "messages": HELLO}, 404, "model 'nobody-has-it' not found"),
        ({"messages": HELLO}, 400, "model is required"),
        ({"model": LLAMA, "messages": []}, 400, "messages is required"),
        (b"", 400, "EOF"),
    ],
)
def test_what_cannot_be_counted_is_refused_as_messages_are(asked: Any, status: int, text: str) -> None:
    async def story() -> None:
        async with scenario(join_grace=0.0) as home:
            await home.node("a", [LLAMA])
            answer = await home.ask(COUNT, asked)
            assert (answer.status, error_of(COUNT, answer.json)) == (status, text)

    run_virtual(story())


@virtual_time
async def test_an_error_is_found_by_its_request_id() -> None:
    async with scenario(join_grace=0.0) as home:
        answer = await home.ask("/v1/messages", {"model": "x"}, (("X-Request-Id", "mine:7"),))
        assert answer.header("Request-Id") == answer.header("X-Request-Id") == "mine:7"
        assert answer.json == {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "max_tokens is required and must be positive"},
            "request_id": "mine:7",
        }
