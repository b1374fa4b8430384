"""The Dashboard: when its view comes back, when it does not, and what it is told. In virtual time, over a view that
tests end as they like.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from herd.actors.dashboard import ASK_AGAIN_S, TRIES, DashboardOptions, running_dashboard
from herd.errors import HerdError
from herd.runtime import ActorUnavailableError
from herd.runtime.testing import virtual_time
from herd.types import Seconds

AGAIN = "herd top opens it again"


class FakeView:
    """A view; `diary` has what happens to it."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.opened_at: list[float] = []
        self.refusals = 0  # how often it cannot be opened
        self.room = asyncio.Event()  # clear: it is stopped, and takes nothing
        self.room.set()
        self._ended: Callable[[int], None] | None = None

    async def open(self, ended: Callable[[int], None]) -> None:
        if self.refusals:
            self.refusals -= 1
            self.diary.append("refuses")
            raise HerdError("no room")
        self.diary.append("opens")
        self.opened_at.append(asyncio.get_running_loop().time())
        self._ended = ended

    async def send(self, line: bytes) -> None:
        if self._ended is None:
            raise HerdError("the view is gone")
        await self.room.wait()
        self.diary.append(line.decode())

    async def close(self) -> None:
        self.diary.append("closes")
        self._ended = None

    async def ends(self, status: int) -> None:
        """And what follows at once."""
        ended, self._ended = self._ended, None
        assert ended is not None, "it does not run"
        ended(status)
        await asyncio.sleep(0.01)


class LoopClock:
    """Virtual time."""

    def monotonic(self) -> Seconds:
        return Seconds(asyncio.get_running_loop().time())

    def wall(self) -> Seconds:
        return self.monotonic()


@asynccontextmanager
async def shown(documents: Callable[[], AsyncGenerator[bytes]] | None = None) -> AsyncIterator[FakeView]:
    view = FakeView()
    async with running_dashboard(view, LoopClock(), DashboardOptions(AGAIN, documents)):
        await asyncio.sleep(0.01)
        yield view


@virtual_time
async def test_it_opens_the_view_and_gives_the_terminal_back_at_the_end() -> None:
    async with shown() as view:
        assert view.diary == ["opens"]
    assert view.diary == ["opens", "closes"]


@virtual_time
async def test_what_the_person_closes_stays_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "herd.actors.dashboard")
    async with shown() as view:
        await view.ends(0)
        await asyncio.sleep(3600)
        assert view.diary == ["opens"]
    assert caplog.messages == [f"the dashboard is closed; {AGAIN}"]


@virtual_time
async def test_what_ctrl_c_ends_is_for_the_process_to_say(caplog: pytest.LogCaptureFixture) -> None:
    for status in (130, -2):
        async with shown() as view:
            await view.ends(status)
            await asyncio.sleep(3600)
            assert view.diary == ["opens"]
    assert caplog.messages == []


@virtual_time
async def test_what_is_killed_comes_back_until_that_happens_too_often(caplog: pytest.LogCaptureFixture) -> None:
    async with shown() as view:
        for status in (-9, 1, -11, -9):
            await view.ends(status)
            await asyncio.sleep(5)
        waits = [later - before - 5 for before, later in pairwise(view.opened_at)]
        assert waits == sorted(waits)
        await asyncio.sleep(3600)
        assert view.diary == ["opens"] * (1 + TRIES.max_restarts)
    assert caplog.messages == [
        "the dashboard was ended by signal 9: it is opened again",
        "the dashboard ended with exit status 1: it is opened again",
        "the dashboard was ended by signal 11: it is opened again",
        f"the dashboard was ended by signal 9 again and again: it is given up; {AGAIN}",
    ]


@virtual_time
async def test_one_death_now_and_then_is_none_too_many() -> None:
    async with shown() as view:
        for _ in range(10):
            await view.ends(-9)
            await asyncio.sleep(2 * TRIES.window)
        assert view.diary == ["opens"] * 11


@virtual_time
async def test_a_view_that_cannot_be_opened_is_tried_as_often() -> None:
    view = FakeView()
    view.refusals = 2
    async with running_dashboard(view, LoopClock(), DashboardOptions(AGAIN)):
        await asyncio.sleep(60)
        assert view.diary == ["refuses", "refuses", "opens"]
    view.diary.clear()
    view.refusals = 100
    async with running_dashboard(view, LoopClock(), DashboardOptions(AGAIN)):
        await asyncio.sleep(3600)
        assert view.diary == ["refuses"] * (1 + TRIES.max_restarts)


class Agent:
    """Has lines to tell, and crashes when it is told to."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.asked = 0
        self.crashing = False

    async def documents(self) -> AsyncGenerator[bytes]:
        self.asked += 1
        if self.crashing:
            self.crashing = False
            raise ActorUnavailableError("it starts again")
        yield b"first"
        while True:
            yield await self.lines.get()


@virtual_time
async def test_the_view_is_told_each_line_once_it_has_room() -> None:
    agent = Agent()
    async with shown(agent.documents) as view:
        assert view.diary == ["opens", "first"]
        view.room.clear()
        for line in (b"second", b"third"):
            agent.lines.put_nowait(line)
        await asyncio.sleep(3600)
        assert view.diary == ["opens", "first"]
        assert agent.lines.qsize() == 1  # what is not yet taken is not yet asked for
        view.room.set()
        await asyncio.sleep(0.01)
        assert view.diary == ["opens", "first", "second", "third"]
    assert view.diary[4:] == ["closes"]


@virtual_time
async def test_one_that_comes_back_is_told_from_the_beginning_and_nothing_twice() -> None:
    agent = Agent()
    async with shown(agent.documents) as view:
        await view.ends(-9)
        await asyncio.sleep(1)
        agent.lines.put_nowait(b"second")
        await asyncio.sleep(1)
        assert view.diary == ["opens", "first", "opens", "first", "second"]


@virtual_time
async def test_an_agent_that_starts_again_is_asked_again() -> None:
    agent = Agent()
    agent.crashing = True
    async with shown(agent.documents) as view:
        assert view.diary == ["opens"]
        await asyncio.sleep(ASK_AGAIN_S)
        assert view.diary == ["opens", "first"]


@virtual_time
async def test_a_closed_view_is_told_nothing_by_an_agent_that_comes_back() -> None:
    agent = Agent()
    agent.crashing = True
    async with shown(agent.documents) as view:
        await view.ends(0)
        await asyncio.sleep(10 * ASK_AGAIN_S)
        assert (view.diary, agent.asked) == (["opens"], 1)
