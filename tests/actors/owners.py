"""Stand-ins for what tells an agent of its owner."""

import asyncio

from herd.actors.desk import AgentStatus, HandPause
from herd.actors.sensor_ports import OwnerSample

REST = OwnerSample(camera=False, microphone=False, cpu=0.0, gpu=0.0)
CALL = OwnerSample(camera=True, microphone=False, cpu=0.0, gpu=0.0)


class FakeOwner:
    """The port `OwnerProbe`: sees what a test says, unless it hangs.

    Attributes:
        sample_now: what it sees.
        looks: how often it was asked.
    """

    def __init__(self, sample: OwnerSample = REST) -> None:
        self.sample_now = sample
        self.looks = 0
        self._free = asyncio.Event()
        self._free.set()

    def hang(self) -> None:
        """From now on it does not answer."""
        self._free.clear()

    def heal(self) -> None:
        self._free.set()

    async def sample(self) -> OwnerSample:
        self.looks += 1
        await self._free.wait()
        return self.sample_now


class FakeDesk:
    """The port `AgentDesk`.

    Attributes:
        asked: the pause that lies there.
        shown: what the agent has shown since the last time.
    """

    def __init__(self, asked: HandPause | None = None) -> None:
        self.asked = asked
        self.shown: list[AgentStatus] = []

    async def pause(self) -> HandPause | None:
        return self.asked

    def show(self, status: AgentStatus) -> None:
        self.shown.append(status)
