"""The relay that tells the Agent what runs."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from herd.actors.desk import ShownRequest
from herd.actors.noted import MAX_RUNNING, NotedRelay, RequestEnd, Work
from herd.actors.ports import Relay, Serving
from herd.errors import LinkClosed
from herd.protocols.messages import Failure, Head, Usage
from herd.runtime import remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, ModelName, Outcome, RequestId, Seconds, Tokens
from tests.actors.doubles import FakeServing, request_head, settled

SERVED, FAILED, CANCELLED = (RequestEnd(one) for one in (Outcome.SERVED, Outcome.FAILED, Outcome.CANCELLED))


class Teller:
    """In place of the Agent."""

    def __init__(self) -> None:
        self._heard: list[Any] = []

    def request_began(self, number: int, request: ShownRequest) -> None:
        self._heard.append((number, request))

    def request_ended(self, number: int, end: RequestEnd) -> None:
        self._heard.append((number, end))

    def heard(self) -> list[Any]:
        return self._heard


async def whole(serving: Serving, *, status: int = 200, failed: bool = False) -> None:
    body = b"".join([piece async for piece in serving.body()])
    await serving.send_head(Head(status))
    await serving.send(body)
    serving.end(Usage(completion=Tokens(7), failed=failed))


async def broken(serving: Serving) -> None:
    serving.reset(Failure("reset", "it broke"))


async def crashed(serving: Serving) -> None:
    raise ZeroDivisionError


async def left(serving: Serving) -> None:
    raise LinkClosed("nobody waits for this answer any more")


async def refused(serving: Serving) -> None:
    await whole(serving, status=500)


async def in_band(serving: Serving) -> None:
    await whole(serving, failed=True)


@virtual_time
async def test_work_that_is_not_counted_in_tokens_is_none_of_them() -> None:
    agent = remote(Teller).remote()
    noted = NotedRelay(whole, agent, LoopClock())
    await noted(FakeServing(replace(request_head(size=3), path="/v1/images/generations"), b"abc"))
    assert (await agent.heard.remote())[-1] == (1, SERVED)
    await stop(agent)


@pytest.mark.parametrize(
    ("relay", "end"),
    [
        (whole, RequestEnd(Outcome.SERVED, Tokens(7))),
        (refused, RequestEnd(Outcome.FAILED, Tokens(7))),
        (in_band, RequestEnd(Outcome.FAILED, Tokens(7))),
        (broken, FAILED),
        (crashed, FAILED),
        (left, CANCELLED),
    ],
)
@virtual_time
async def test_however_a_request_ends_it_ends_once(relay: Relay, end: RequestEnd) -> None:
    agent = remote(Teller).remote()
    noted = NotedRelay(relay, agent, LoopClock())
    serving = FakeServing(request_head(size=3), b"abc")
    try:
        await noted(serving)
    except (ZeroDivisionError, LinkClosed):
        assert relay in {crashed, left}
    began, ended = await agent.heard.remote()
    assert began[1] == ShownRequest(
        RequestId("r1"), ModelName(""), BackendId("ollama"), "/api/chat", LoopClock().wall()
    )
    assert (began[0], ended) == (1, (1, end))
    if relay is whole:
        assert serving.said == [Head(200), b"abc", Usage(completion=Tokens(7))]
    await stop(agent)


@virtual_time(serialize_messages=True)
async def test_a_request_that_is_cancelled_runs_no_more() -> None:
    agent = remote(Teller).remote()

    async def hang(serving: Serving) -> None:
        await asyncio.Event().wait()

    noted = NotedRelay(hang, agent, LoopClock())
    tasks = [asyncio.create_task(noted(FakeServing(request_head()))) for _ in range(2)]
    await settled()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [said for said in await agent.heard.remote() if said[1] == CANCELLED] == [(1, CANCELLED), (2, CANCELLED)]
    await stop(agent)


def request(number: int) -> ShownRequest:
    return ShownRequest(RequestId(f"r{number}"), ModelName("m"), BackendId("b"), "/api/chat", Seconds(number))


def test_what_runs_is_shown_the_oldest_first_and_what_ended_is_counted() -> None:
    work, now = Work(), Seconds(5.0)
    for number in range(100):
        work.began(number, request(number))
    for number, end in ((3, SERVED), (2, FAILED), (1, CANCELLED), (0, SERVED)):
        work.ended(number, end, now)
    work.ended(1000, SERVED, now)  # of the time before a crash
    shown = work.shown(now)
    assert [one.id for one in shown.running] == [f"r{number}" for number in range(4, 4 + MAX_RUNNING)]
    assert (shown.under_way, shown.served, shown.failed, shown.cancelled) == (96, 3, 1, 1)


def test_tokens_count_for_a_minute() -> None:
    work = Work()
    work.ended(1, RequestEnd(Outcome.SERVED, Tokens(90)), Seconds(0.0))
    work.ended(2, RequestEnd(Outcome.FAILED, Tokens(30)), Seconds(30.0))
    assert [work.shown(Seconds(now)).tokens_per_s for now in (30.0, 60.0, 90.0)] == [2.0, 0.5, 0.0]
