"""The OwnerWatch: when it looks, and what it tells the Agent."""

import asyncio
from dataclasses import replace

import pytest

from herd.actors.desk import HandPause
from herd.actors.owner_watch import LONGEST_LOOK_S, LOOK_S, OwnerPorts, OwnerWatch
from herd.actors.sensor_ports import OwnerSample
from herd.policy.owner import UNKNOWN_S, Owner, Terms
from herd.runtime import ActorHandle, kill, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.types import Bytes, GiB, Seconds, Workload
from tests.actors.doubles import Witness, settled
from tests.actors.owners import CALL, REST, FakeDesk, FakeOwner

TERMS = Terms(memory=Bytes(16 * GiB))


class Watching:
    """An OwnerWatch, and the agent that it tells."""

    def __init__(self, owner: FakeOwner | None, desk: FakeDesk | None = None, *, max_restarts: int = 0) -> None:
        self.agent: ActorHandle = remote(Witness).remote()
        watch = remote(OwnerWatch).options(max_restarts=max_restarts)
        self.watch: ActorHandle = watch.remote(OwnerPorts(LoopClock(), owner, desk), TERMS, self.agent)

    async def told(self) -> list[Owner]:
        """What the agent was told since the last time."""
        await settled()
        return [args[0] for _, args in await self.agent.heard.remote()]

    async def kinds(self) -> list[list[str]]:
        return [[pause.kind for pause in owner.pauses] for owner in await self.told()]

    async def end(self) -> None:
        await stop(self.watch)
        await stop(self.agent)


@virtual_time
async def test_it_looks_at_once_and_every_3_seconds_and_tells_what_changes() -> None:
    owner = FakeOwner()
    watching = Watching(owner)
    assert await watching.told() == [Owner((), Workload.IDLE, 0.0)]
    await asyncio.sleep(3 * LOOK_S + 1)
    assert (owner.looks, await watching.told()) == (4, [])
    owner.sample_now = CALL
    await asyncio.sleep(LOOK_S)
    ((pause,),) = [one.pauses for one in await watching.told()]
    assert (pause.kind, pause.since) == ("meeting", EPOCH + 4 * LOOK_S)
    owner.sample_now = replace(REST, cpu=0.5)
    await asyncio.sleep(LOOK_S)
    (told,) = await watching.told()
    assert told.load == 0.5
    await asyncio.sleep(LOOK_S)
    assert await watching.kinds() == [[]]
    await watching.end()


@virtual_time
async def test_a_probe_that_hangs_is_asked_one_thing_at_a_time_and_what_it_would_say_is_unknown_soon() -> None:
    owner, desk = FakeOwner(CALL), FakeDesk()
    watching = Watching(owner, desk)
    assert await watching.kinds() == [["meeting"]]
    owner.hang()
    await asyncio.sleep(LOOK_S + 1)
    desk.asked = HandPause(Seconds(EPOCH))
    await asyncio.sleep(LONGEST_LOOK_S - 2)
    assert owner.looks == 2
    assert await watching.kinds() == [["manual", "meeting"]]  # by hand all the same
    await asyncio.sleep(UNKNOWN_S + LONGEST_LOOK_S)
    assert (await watching.kinds())[-1] == ["manual"]
    owner.heal()
    await asyncio.sleep(LONGEST_LOOK_S + LOOK_S)
    assert (await watching.kinds())[-1] == ["manual", "meeting"]
    await watching.end()


@virtual_time
async def test_a_pause_by_hand_lasts_as_long_as_it_was_asked_for() -> None:
    desk = FakeDesk()
    watching = Watching(None, desk)
    desk.asked = HandPause(Seconds(EPOCH - 1), Seconds(EPOCH + 20))
    await asyncio.sleep(LOOK_S)
    ((pause,),) = [one.pauses for one in await watching.told()]
    assert (pause.kind, pause.since, pause.until) == ("manual", EPOCH - 1, EPOCH + 20)
    await asyncio.sleep(20 - LOOK_S + LOOK_S)
    assert await watching.kinds() == [[]]
    desk.asked = HandPause(Seconds(EPOCH + 30))
    await asyncio.sleep(LOOK_S)
    assert await watching.kinds() == [["manual"]]
    desk.asked = None
    await asyncio.sleep(LOOK_S)
    assert await watching.kinds() == [[]]
    await watching.end()


@virtual_time
async def test_a_clock_that_was_set_back_makes_no_pause_by_hand_longer() -> None:
    desk = FakeDesk(HandPause(Seconds(EPOCH + 3600), Seconds(EPOCH + 3630)))
    watching = Watching(None, desk)
    ((pause,),) = [one.pauses for one in await watching.told()]
    assert (pause.since, pause.until) == (EPOCH, EPOCH + 30)
    await asyncio.sleep(30 - 1)
    assert await watching.told() == []
    await asyncio.sleep(1 + LOOK_S)
    assert await watching.kinds() == [[]]
    await watching.end()


@virtual_time
async def test_an_agent_that_has_lost_what_it_knew_is_told_again() -> None:
    watching = Watching(FakeOwner(CALL))
    assert await watching.kinds() == [["meeting"]]
    watching.watch.introduce.tell()
    assert await watching.kinds() == [["meeting"]]
    await watching.end()


class BrokenOwner(FakeOwner):
    """Breaks its promise to raise nothing, from the second look on."""

    async def sample(self) -> OwnerSample:
        self.looks += 1
        if self.looks > 1:
            raise ZeroDivisionError
        return self.sample_now


@virtual_time(allow_lost=True)
async def test_a_watch_that_crashes_again_and_again_leaves_no_pause_behind() -> None:
    watching = Watching(BrokenOwner(CALL), max_restarts=1)
    assert await watching.kinds() == [["meeting"]]
    await asyncio.sleep(60)
    assert (await watching.kinds())[-1] == []
    kill(watching.watch)
    await stop(watching.agent)


@virtual_time
async def test_pauses_that_begin_and_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    owner = FakeOwner(CALL)
    watching = Watching(owner)
    await settled()
    owner.sample_now = REST
    await asyncio.sleep(3 * LOOK_S)
    assert [record.getMessage() for record in caplog.records if record.name == "herd.actors.owner_watch"] == [
        "a pause begins: this machine is in a meeting: its camera is in use",
        "a pause is over (meeting)",
    ]
    await watching.end()
