"""A machine that its owner uses while its model server runs: what the one takes is not there for the other."""

import asyncio
from collections.abc import Callable, Iterator

from herd.actors.sensor_ports import MachineSample, OwnerSample
from herd.protocols.messages import Gpu, Machine
from herd.simulation.machine.owners import HOUR, SLOTS, OwnerState, memory_left, speed_left
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, GiB, Seconds

SYSTEM = 2 * GiB  # of its memory a machine keeps for itself: an assumption
CORES = 8  # nothing depends on them


class Occupancy:
    """Lets an owner's changes happen to a model server when their time has come, and keeps the record.

    Args:
        ollama: the server.
        machine: it runs on this.
        changes: as `owners.week` gives them.
        changed: called after each with the state before and the state from now on.
        speed: so many seconds of the owner's week pass in one of the loop's.

    Attributes:
        owner: as it is now.
        owned: what the owner did, from which second of its week on.
        working: from when to when the machine computed, in the same seconds.
    """

    def __init__(
        self,
        ollama: FakeOllama,
        machine: MachineProfile,
        changes: Iterator[tuple[Seconds, OwnerState]],
        changed: Callable[[OwnerState, OwnerState], None] = lambda _before, _now: None,
        speed: float = 1.0,
    ) -> None:
        self.owner = OwnerState()
        self.owned: list[tuple[Seconds, OwnerState]] = []
        self.working: list[tuple[float, float]] = []
        self._ollama = ollama
        self._machine = machine
        self._changes = changes
        self._changed = changed
        self._speed = speed
        self._began = 0.0
        self._open = False  # the record
        self._working_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        ollama.observe(self._look)

    @property
    def now(self) -> Seconds:
        """Seconds of the owner's week since `start`."""
        return Seconds((asyncio.get_running_loop().time() - self._began) * self._speed)

    def start(self) -> None:
        """The week begins, and with it whatever happens at its first moment."""
        self._began, self._open = asyncio.get_running_loop().time(), True
        self._look()
        self._wait(next(self._changes, None))

    def stop(self) -> None:
        """The record is closed."""
        if self._timer is not None:
            self._timer.cancel()
        self._note(working=False)
        self._open = False

    def _wait(self, change: tuple[Seconds, OwnerState] | None) -> None:
        """For the owner's next change; those that are due happen at once."""
        while change is not None and change[0] <= self.now:
            self._happen(change[1])
            change = next(self._changes, None)
        if change is not None:
            delay = (change[0] - self.now) / self._speed
            self._timer = asyncio.get_running_loop().call_later(delay, self._due, change[1])

    def _due(self, state: OwnerState) -> None:
        """Its time has come: what the clock still lacks of it is its rounding."""
        self._happen(state)
        self._wait(next(self._changes, None))

    def _happen(self, state: OwnerState) -> None:
        before, self.owner = self.owner, state
        self.owned.append((self.now, state))
        if state.asleep and not before.asleep:
            self._ollama.sleep()
        elif before.asleep and not state.asleep:
            self._ollama.wake()
        self._ollama.share(speed_left(state, self._machine), memory_left(state, self._machine))
        self._changed(before, state)

    def _look(self) -> None:
        """The server may have begun or ended something."""
        if self._open:
            self._note(self._ollama.at_work and not self.owner.asleep)

    def _note(self, working: bool) -> None:
        if working and self._working_since is None:
            self._working_since = self.now
        elif not working and self._working_since is not None:
            self.working.append((self._working_since, self.now))
            self._working_since = None


def gpus(machine: MachineProfile, ollama: FakeOllama) -> tuple[Gpu, ...]:
    """The GPU of a machine that has one: what its model server may take of it, and what is left of that."""
    if not machine.gpu:
        return ()
    vendor = "nvidia" if machine.own_video_memory else "apple"
    return (
        Gpu(
            "gpu-0",
            machine.chip,
            vendor,
            machine.model_memory,
            ollama.memory_free,
            unified=not machine.own_video_memory,
            bandwidth=int(machine.bandwidth),
        ),
    )


def owner_sample(owner: OwnerState, machine: MachineProfile) -> OwnerSample:
    """What the sensors for its owner would say of a machine."""
    return OwnerSample(
        camera=owner.meeting,
        microphone=owner.meeting,
        cpu=owner.cpu,
        gpu=owner.gpu if machine.gpu else None,
        memory=Bytes(SYSTEM + owner.memory),
    )


class IdleMachine:
    """The port `MachineProbe` of a machine on which nothing but its model server runs."""

    def __init__(self, machine: MachineProfile, ollama: FakeOllama) -> None:
        self._machine = machine
        self._ollama = ollama

    def machine(self) -> Machine:
        return Machine("simulated", "", self._machine.chip, CORES, self._machine.memory)

    def sample(self) -> MachineSample:
        machine = self._machine
        free = Bytes(machine.memory - SYSTEM) if machine.gpu else self._ollama.memory_free
        return MachineSample(0.1, machine.memory, free, 0, gpus(machine, self._ollama))


class OccupiedMachine:
    """The port `MachineProbe` of a machine with an owner.

    Args:
        machine: what it is.
        ollama: its model server.
        occupancy: its owner.
        start_slot: hour of the local week at which the owner's week begins here.
    """

    def __init__(self, machine: MachineProfile, ollama: FakeOllama, occupancy: Occupancy, start_slot: int = 0) -> None:
        self._machine = machine
        self._ollama = ollama
        self._occupancy = occupancy
        self._start_slot = start_slot

    def machine(self) -> Machine:
        return Machine("simulated", "", self._machine.chip, CORES, self._machine.memory)

    def sample(self) -> MachineSample:
        owner, memory = self._occupancy.owner, self._machine.memory
        week_slot = int(self._start_slot + self._occupancy.now // HOUR) % SLOTS
        taken = Bytes(0) if self._machine.own_video_memory else self._ollama.taken
        free = Bytes(max(0, memory - SYSTEM - owner.memory - taken))
        if not self._machine.gpu:  # its memory is where models run: what the server may take of it is what counts
            free = self._ollama.memory_free
        return MachineSample(owner.cpu, memory, free, week_slot, gpus(self._machine, self._ollama))
