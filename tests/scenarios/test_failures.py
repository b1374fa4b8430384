"""What breaks, and who serves then."""

import asyncio

import pytest

from herd.actors import model_queue
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import call
from herd.simulation.ollama.scheduler import BUSY
from herd.types import NodeState
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    OPENAI_CHAT,
    begun,
    chat,
    lines,
    openai_chat,
    scenario,
    served_by,
    turns,
    until_waiting,
)


@pytest.mark.parametrize("stream", [True, False])
def test_a_backend_that_is_dead_before_the_first_byte_is_replaced_by_another(stream: bool) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            await home.node("b", [LLAMA])
            a.stop_server()  # and the agent has not noticed yet
            answer = await home.ask(CHAT, chat(stream=stream))
            assert served_by(answer) == "b"
            assert answer.header("X-Herd-Attempts") == "2"
            assert float(answer.header("X-Herd-Score") or 0) < 60  # of the one that had to load the model
            assert served_by(await home.ask(CHAT, chat())) == "b"

    run_virtual(story())


@virtual_time
async def test_a_dead_backend_is_dead_to_the_router_and_comes_back() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.stop_server()
        held = home.send(CHAT, chat())
        await asyncio.sleep(12)
        assert not held.sink.started
        a.start_server()
        await held.task
        assert served_by(held.sink) == "a"
        assert held.sink.header("X-Herd-Attempts") == "2"


@virtual_time
async def test_a_server_that_is_away_for_a_moment_is_tried_again_whenever_it_comes_back() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        for moment in range(12):
            a.stop_server()
            sent = home.send(CHAT, chat(tokens=1))
            while not home.links.agent_streams:
                await turns(1)
            await turns(moment)  # somewhere between the vain connection and the look that the agent takes then
            a.start_server()
            await sent.task
            assert served_by(sent.sink) == "a", f"back after {moment} turns"


@virtual_time
async def test_a_stream_that_breaks_ends_with_an_error_event_and_without_a_terminator() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA], resident=[LLAMA])
        a.ollama.die_mid_stream(5)
        answer = await home.ask(CHAT, chat())
        *events, last = lines(answer)
        assert (answer.status, len(events)) == (200, 5)
        assert "error" in last
        assert not any(event["done"] for event in events)
        a.ollama.die_mid_stream(5)
        await home.ask(OPENAI_CHAT, openai_chat())
        answer = await home.ask(OPENAI_CHAT, openai_chat())
        assert answer.header("X-Herd-Node") == "a"
        assert answer.body.endswith(b"\n\n")
        assert b'"error":{"message"' in answer.pieces[-1]
        assert b"[DONE]" not in answer.body


@virtual_time
async def test_an_answer_that_is_no_stream_is_retried_however_far_it_was() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA])
        a.ollama.die_mid_stream(15)
        answer = await home.ask(CHAT, chat(stream=False))
        assert served_by(answer) == "b"
        assert answer.json["done"] is True


@virtual_time
async def test_a_node_that_lost_the_model_is_passed_over() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA])
        a.ollama.fail_next(404, f"model '{LLAMA}' not found")
        answer = await home.ask(CHAT, chat())
        assert served_by(answer) == "b"
        assert answer.header("X-Herd-Attempts") == "2"


@virtual_time
async def test_a_busy_server_is_passed_over_and_quoted_when_there_is_no_other() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        a.ollama.fail_next(503, BUSY)
        answer = await home.ask(CHAT, chat())
        assert (answer.status, answer.json) == (503, {"error": BUSY})
        assert (answer.header("X-Herd-Node"), answer.header("X-Herd-Attempts")) == ("a", "1")
        await home.node("b", [LLAMA])
        a.ollama.fail_next(503, BUSY)
        assert served_by(await home.ask(CHAT, chat())) == "b"


@virtual_time
async def test_what_the_client_did_wrong_is_not_retried() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        b = await home.node("b", [LLAMA])
        answer = await home.ask(CHAT, chat(think=True))
        assert answer.status == 400
        assert "thinking" in answer.json["error"]
        assert a.ollama.requests[CHAT] + b.ollama.requests[CHAT] == 1


@virtual_time
async def test_a_request_that_breaks_every_server_is_given_up_after_three() -> None:
    async with scenario() as home:
        nodes = [await home.node(name, [LLAMA], resident=[LLAMA]) for name in "abcd"]
        for node in nodes:
            node.ollama.die_mid_stream(0)
        answer = await home.ask(CHAT, chat(stream=False))
        assert answer.status == 502
        assert sum(node.ollama.requests[CHAT] for node in nodes) == 3


@virtual_time
async def test_when_a_node_is_lost_its_waiters_move_at_once_and_its_streams_end_with_an_error() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        running = home.send(CHAT, chat(tokens=2000))
        waiting = [home.send(CHAT, chat(tokens=1)) for _ in range(3)]
        await begun(running.sink)
        await until_waiting(home, "a", 3)
        await home.node("b", [LLAMA])
        home.links.freeze(a.id)  # it does not come back
        home.links.cut(a.id)
        lost = asyncio.get_running_loop().time()
        await running.task
        assert asyncio.get_running_loop().time() == lost
        assert "error" in lines(running.sink)[-1]
        await asyncio.gather(*(one.task for one in waiting))
        assert [served_by(one.sink) for one in waiting] == ["b"] * 3
        assert [one.sink.header("X-Herd-Attempts") for one in waiting] == ["1"] * 3
        assert a.ollama.cancelled == 1


@virtual_time
async def test_a_request_whose_first_byte_had_not_come_when_its_node_was_lost_is_served_by_another() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        sent = home.send(CHAT, chat())
        await a.ollama.until(lambda ollama: ollama.waiting == 1)  # it loads
        await home.node("b", [LLAMA])
        home.links.freeze(a.id)
        home.links.cut(a.id)
        await sent.task
        assert served_by(sent.sink) == "b"
        assert sent.sink.header("X-Herd-Attempts") == "2"


@virtual_time
async def test_a_node_that_falls_silent_is_offline_after_30_seconds_and_its_streams_end() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        running = home.send(CHAT, chat(tokens=1_000_000))
        await begun(running.sink)
        await asyncio.sleep(20)
        home.links.freeze(a.id)
        began = asyncio.get_running_loop().time()
        await running.task
        assert asyncio.get_running_loop().time() - began == pytest.approx(30, abs=0.1)
        assert "error" in lines(running.sink)[-1]
        await home.until_node("a", NodeState.OFFLINE)
        home.links.thaw(a.id)
        await home.until_node("a", NodeState.READY)
        assert served_by(await home.ask(CHAT, chat())) == "a"


@virtual_time
async def test_a_link_that_breaks_is_back_within_the_back_off() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        for _ in range(5):
            home.links.cut(a.id)
            assert served_by(await home.ask(CHAT, chat())) == "a"


@virtual_time
async def test_when_every_queue_is_full_the_client_is_told_so_in_ollamas_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_queue, "MAX_WAITING", 2)
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat(tokens=2)) for _ in range(8)]
        await asyncio.gather(*(one.task for one in sent))
        assert sorted(one.sink.status for one in sent) == [200] * 6 + [503] * 2
        refused = next(one.sink for one in sent if one.sink.status == 503)
        assert refused.json == {"error": BUSY}
        assert refused.header("Retry-After")


@virtual_time
async def test_a_long_request_arrives_whole_over_a_link_with_little_room() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        text = "word " * 100_000
        whole = await call(a.ollama.handle, "POST", CHAT, chat(text=text, stream=False))
        answer = await home.ask(CHAT, chat(text=text, stream=False))
        assert answer.json["message"] == whole.json["message"]  # a simulated answer follows from every byte
