"""Pulls: to which node, told truly, shared by all who want the same, and over when nobody follows any more."""

import asyncio
import json
from typing import Any

import pytest

from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House, SimulatedNode
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import NodeState, Seconds
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, begun, chat, lines, scenario, served_by, turns

PULL = "/api/pull"
GEMMA = "gemma3:4b"
BIG, MIDDLE, SMALL = PROFILES["mac-studio"], PROFILES["pc-3070"], PROFILES["mini-pc"]
AT_ONCE = 1e12  # bytes a second
SUCCESS = {"status": "success"}


def completed(answer: RecordingSink) -> list[int]:
    """How far the download was, line by line."""
    return [line["completed"] for line in lines(answer) if "completed" in line]


async def under_way(node: SimulatedNode, count: int = 1) -> None:
    await node.ollama.until(lambda ollama: ollama.requests[PULL] >= count)


async def pulled(home: House, model: str = GEMMA, query: str = "", **fields: Any) -> RecordingSink:
    return await home.ask(PULL + query, {"model": model, **fields})


# --- where to ---------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_model_is_pulled_where_there_is_most_memory_and_the_next_request_finds_it() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], profile=SMALL)
        await home.node("b", [LLAMA], profile=BIG)
        answer = await pulled(home)
        assert (served_by(answer), answer.header("Content-Type")) == ("b", "application/x-ndjson")
        assert served_by(await home.ask(CHAT, chat(GEMMA))) == "b"


@virtual_time
async def test_a_model_that_a_node_has_is_brought_up_to_date_there() -> None:
    async with scenario() as home:
        await home.node("a", [GEMMA], profile=SMALL)
        await home.node("b", [LLAMA], profile=BIG)
        assert served_by(await pulled(home)) == "a"


@virtual_time
async def test_a_machine_that_takes_nothing_new_is_left_alone_unless_it_is_named() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], profile=SMALL)
        await home.node("b", [LLAMA], profile=BIG)
        await home.ask("/herd/v1/nodes/b/pause")
        assert served_by(await pulled(home)) == "a"
        assert served_by(await pulled(home, query="?node=b")) == "b"
        await home.ask("/herd/v1/nodes/a/drain")
        nobody = await pulled(home, QWEN)
        assert (nobody.status, nobody.header("Retry-After")) == (503, "5")
        assert nobody.json == {"error": "no machine with Ollama is ready to take a model now"}


# --- what is told -----------------------------------------------------------------------------------------------------


@virtual_time
async def test_progress_is_told_as_ollama_tells_it() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        twin = FakeOllama(BIG, [CATALOG[LLAMA]])
        through, direct = await pulled(home), await call(twin.handle, "POST", PULL, {"model": GEMMA})
        assert (through.status, _rounded(through)) == (direct.status, _rounded(direct))
        assert len(through.pieces) > 10
        a.ollama.registry.rate = AT_ONCE
        whole = await pulled(home, QWEN, stream=False)
        assert (whole.status, whole.body) == (200, b'{"status":"success"}')


def _rounded(answer: RecordingSink) -> list[dict[str, Any]]:
    """Every write, in kilobytes: the two downloads did not begin at the same time, and floats are what they are."""
    said = [json.loads(piece) for piece in answer.pieces]
    return [{**line, "completed": round(line.get("completed", 0), -3)} for line in said]


@pytest.mark.parametrize("stream", [True, False])
@virtual_time
async def test_a_model_that_no_registry_has_is_an_error_in_ollamas_form(stream: bool) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        answer = await pulled(home, "nobody", stream=stream)
        said = {"error": "pull model manifest: file does not exist"}
        assert (answer.status, lines(answer)[-1] if stream else answer.json) == (200 if stream else 500, said)


@virtual_time
async def test_a_request_says_what_it_likes_beside_and_the_node_gets_it() -> None:
    seen: list[bytes] = []

    def around(handler: Any) -> Any:
        async def watched(request: Any, sink: Any) -> None:
            if request.path == PULL:
                seen.append(request._body)
            await handler(request, sink)

        return watched

    async with scenario() as home:
        await home.node("a", [LLAMA], around=around)
        body = b'{ "Stream" : false, "name":"gemma3:4b", "insecure": true, "later": 1e400 } '
        assert (await home.ask(PULL, body)).json == SUCCESS
        assert seen == [body.replace(b"false", b"true")]


# --- together ---------------------------------------------------------------------------------------------------------


@virtual_time
async def test_clients_that_pull_one_model_share_one_pull_and_who_comes_late_sees_how_far_it_is() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        first = home.send(PULL, {"model": GEMMA})
        await begun(first.sink, 20)
        far = completed(first.sink)[-1]
        second = home.send(PULL, {"model": f"library/{GEMMA.upper()}"})
        third = home.send(PULL, {"name": GEMMA, "stream": False})
        await asyncio.gather(first.task, second.task, third.task)
        assert a.ollama.requests[PULL] == 1
        assert lines(first.sink)[-1] == lines(second.sink)[-1] == third.sink.json == SUCCESS
        assert completed(second.sink)[0] >= far > 0
        assert completed(second.sink) == sorted(completed(second.sink))
        assert lines(second.sink)[0] == {"status": "pulling manifest"}


@virtual_time
async def test_an_unnamed_pull_joins_one_under_way_and_a_named_one_goes_to_its_node() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], profile=SMALL)
        b = await home.node("b", [LLAMA], profile=BIG)
        sent = [home.send(PULL + "?node=a", {"model": GEMMA})]
        await under_way(a)
        sent += [home.send(PULL, {"model": GEMMA}), home.send(PULL + "?node=b", {"model": GEMMA})]
        await asyncio.gather(*(one.task for one in sent))
        assert [served_by(one.sink) for one in sent] == ["a", "a", "b"]
        assert (a.ollama.requests[PULL], b.ollama.requests[PULL]) == (1, 1)


@virtual_time
async def test_a_pull_asked_for_in_another_way_is_another_pull() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        sent = [home.send(PULL, {"model": GEMMA, "insecure": insecure}) for insecure in (False, True, None)]
        await asyncio.gather(*(one.task for one in sent))
        assert a.ollama.requests[PULL] == 2


@virtual_time
async def test_a_pull_goes_on_until_the_last_client_has_left_and_is_resumed_later() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        first, second = home.send(PULL, {"model": GEMMA}), home.send(PULL, {"model": GEMMA, "stream": False})
        await begun(first.sink, 20)
        await first.hang_up()
        await asyncio.sleep(5)
        assert a.ollama.cancelled == 0
        await second.hang_up()
        await a.ollama.until(lambda ollama: ollama.cancelled == 1)
        again = await pulled(home)
        assert (lines(again)[-1], a.ollama.requests[PULL]) == (SUCCESS, 2)
        assert completed(again)[0] > CATALOG[GEMMA].size / 100


@pytest.mark.parametrize("who", [0, 1])
@virtual_time
async def test_whoever_leaves_at_whatever_moment_the_other_gets_the_model(who: int) -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.ollama.registry.rate = AT_ONCE
        for when in range(60):
            sent = [home.send(PULL, {"model": GEMMA}), home.send(PULL, {"model": GEMMA})]
            await turns(when)
            await sent[who].hang_up()
            stays = sent[1 - who]
            await stays.task
            assert lines(stays.sink)[-1] == SUCCESS
            await home.ask("/api/delete", {"model": GEMMA}, method="DELETE")
        assert a.ollama.running == 0


@virtual_time
async def test_who_comes_in_the_moment_in_which_the_last_one_leaves_gets_the_model() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.ollama.registry.rate = AT_ONCE
        for when in range(40):
            first = home.send(PULL, {"model": GEMMA})
            await turns(40)
            first.task.cancel()
            await turns(when)
            assert lines(await pulled(home))[-1] == SUCCESS
            await home.ask("/api/delete", {"model": GEMMA}, method="DELETE")


class Slow(RecordingSink):
    """A client that reads two lines, and then nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if len(self.pieces) >= 2:
            await self.reads.wait()
        await super().write(data)


@virtual_time
async def test_a_client_that_does_not_read_holds_up_nobody_and_misses_only_what_was_said_anew() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        slow = Slow()
        lazy = home.send(PULL, {"model": GEMMA}, sink=slow)
        quick = await pulled(home)
        assert (lines(quick)[-1], len(slow.pieces)) == (SUCCESS, 2)
        slow.reads.set()
        await lazy.task
        assert len(slow.pieces) < 10 < len(quick.pieces)
        assert [line["status"] for line in lines(slow)][-3:] == [
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        assert completed(slow)[-1] == CATALOG[GEMMA].size


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["the link breaks", "the model server is gone", "the agent leaves"])
@virtual_time
async def test_a_node_that_is_lost_in_the_middle_is_an_error_for_all_who_follow(how: str) -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], grace=Seconds(0.0))
        sent = [home.send(PULL, {"model": GEMMA, "stream": stream}) for stream in (True, True, False)]
        await begun(sent[0].sink, 20)
        if how == "the link breaks":
            home.links.cut(a.id)
        elif how == "the agent leaves":
            await a.stop_agent()
        else:
            a.stop_server()
        await asyncio.gather(*(one.task for one in sent))
        for one in sent[:2]:
            assert (one.sink.status, one.sink.finished) == (200, True)
            assert list(lines(one.sink)[-1]) == ["error"]
        assert (sent[2].sink.status, sent[2].sink.json) == (500, lines(sent[0].sink)[-1])


@virtual_time
async def test_a_router_that_stops_ends_what_it_fetches() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        sent = home.send(PULL, {"model": GEMMA})
        await begun(sent.sink, 20)
        await home.restart_router()
        assert (a.ollama.cancelled, sent.sink.finished) == (1, False)
        await home.until_node("a", NodeState.READY)
        a.ollama.registry.rate = AT_ONCE
        assert lines(await pulled(home))[-1] == SUCCESS


@virtual_time
async def test_a_node_that_is_lost_before_it_said_anything_is_named() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.ollama.wedge()
        sent = [home.send(PULL, {"model": GEMMA}), home.send(PULL, {"model": GEMMA, "stream": False})]
        await under_way(a)
        home.links.cut(a.id)
        await asyncio.gather(*(one.task for one in sent))
        for one in sent:
            assert (one.sink.status, one.sink.json["error"].startswith("a did not answer")) == (502, True)


@virtual_time
async def test_a_node_that_cannot_be_reached_is_named() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.stop_server()
        answer = await pulled(home)
        assert (answer.status, answer.json["error"].startswith("a did not answer: cannot connect")) == (502, True)
