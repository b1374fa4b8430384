"""What of this machine's load is the owner's: all but that of model servers and of Herd.

Processor time is measured from above: what all processors did, less what our processes used, and what the kernel did
for whoever it was. Where one of ours cannot be measured, or may not have been seen, nothing is said at all: the fleet's
own work must never look like the owner's.
"""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from herd.actors.ports import Clock
from herd.net.owner.listeners import Listeners
from herd.net.owner.model_servers import Role, role_of, role_of_name
from herd.net.sensing import SensorFailed
from herd.types import Bytes, KiB

# A process that was begun by a shell may replace itself by a server; one that is older than this does so no more, or is
# found by its port.
SETTLED_S = 30.0
# Herd's own helpers, programs that are asked for some number, end all the time and use less than this.
TRIFLE_S = 0.5
# Families of processes are not so deep; on Windows a parent's number may be somebody else's by now.
MAX_DEPTH = 64

_SERVING = (Role.MANAGER, Role.SERVER)
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Processes:
    """Whose the processes of this machine are, and what the owner's take."""

    cpu: float | None  # share of all processors since the look before, 0 to 1
    memory: Bytes | None
    ours: frozenset[int]  # model servers and Herd
    computing: frozenset[int]  # those of them that may run models
    alive: frozenset[int]  # all
    hidden: bool  # a model server runs in a process that is not known


@dataclass(slots=True)
class _Seen:
    """What is kept of a process. Nothing by which a person could tell what it is."""

    parent: psutil.Process | None
    since: float  # on the monotonic clock
    role: Role | None = None
    spent: float | None = None  # seconds of processor time; of ours only


class LoadMeter:
    """Looks at all processes, and remembers what it saw. Its calls block: some 10 ms for 500 processes.

    Args:
        backend_urls: of the model servers beside the agent.
        clock: how old something is.
        me: this process, which is Herd.
        proc: where Linux shows its memory.
    """

    def __init__(self, backend_urls: Collection[str], clock: Clock, me: int | None = None, proc: Path = _PROC) -> None:
        self._listeners = Listeners(backend_urls)
        self._clock = clock
        self._me = os.getpid() if me is None else me
        self._proc = proc
        self._seen: dict[psutil.Process, _Seen] = {}
        self._times: tuple[float, float] | None = None

    def sample(self) -> Processes:
        """One look. The first has nothing to compare with, and knows no share.

        Raises:
            SensorFailed: the system does not show its processes.
        """
        try:
            return self._sample()
        except (psutil.Error, OSError) as error:  # whose text names a process
            raise SensorFailed(f"the processes of this machine cannot be read: {type(error).__name__}") from None

    def _sample(self) -> Processes:
        before, times_before = self._seen, self._times
        times, seen = _processor_times(), self._look(before)
        self._seen, self._times = seen, times
        ours = {process: entry for process, entry in seen.items() if entry.role is not None}
        spent = _spent(ours, before)
        hidden = self._listeners.hidden
        cpu = None
        if times_before is not None and spent is not None and not hidden and not _missed(before, seen):
            cpu = _share(times_before, times, spent)
        return Processes(
            cpu=cpu,
            memory=None if hidden else self._memory(ours),
            ours=frozenset([process.pid for process, entry in ours.items() if entry.role is not Role.KERNEL]),
            computing=frozenset([process.pid for process, entry in ours.items() if entry.role is Role.SERVER]),
            alive=frozenset([process.pid for process in seen]),
            hidden=hidden,
        )

    def _look(self, before: Mapping[psutil.Process, _Seen]) -> dict[psutil.Process, _Seen]:
        """Every process that is alive, with its role. Once ours, always ours."""
        now = self._clock.monotonic()
        seen: dict[psutil.Process, _Seen] = {}
        for pid in psutil.pids():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                known = before.get(process)
                seen[process] = _Seen(_parent(process), now) if known is None else _copy(known)
                if seen[process].role is None and now - seen[process].since <= SETTLED_S:
                    seen[process].role = Role.HERD if pid == self._me else _role(process)
        listening = self._listeners.look({process: entry.role for process, entry in seen.items()}, now)
        for process in listening:
            if seen[process].role in {None, Role.HERD} and process.pid != self._me:
                seen[process].role = Role.SERVER
        _pass_on_roles(seen)
        return seen

    def _memory(self, ours: Mapping[psutil.Process, _Seen]) -> Bytes | None:
        """What the owner's processes hold.

        On Linux: the memory of all processes that no file backs, less that of ours. Weights that are mapped from a file
        are in neither, nor is what a driver holds for a GPU. Elsewhere no system says what of the memory in use is a
        driver's, so nothing is known beside a model server.
        """
        private = anonymous_memory(self._proc / "meminfo")
        if private is None:
            if any(seen.role in _SERVING for seen in ours.values()):
                return None
            machine = psutil.virtual_memory()
            private = machine.total - machine.available
        for process in [process for process, seen in ours.items() if seen.role is not Role.KERNEL]:
            try:
                memory = process.memory_info()
            except psutil.NoSuchProcess:
                continue
            except psutil.Error:
                return None
            private -= memory.rss - getattr(memory, "shared", 0)
        return Bytes(max(0, private))


def anonymous_memory(meminfo: Path) -> int | None:
    """Bytes of memory, of all processes, that no file backs; None where the system does not say (all but Linux)."""
    with suppress(OSError, ValueError):
        for line in meminfo.read_text("ascii").splitlines():
            key, _, value = line.partition(":")
            if key == "AnonPages":
                return int(value.removesuffix("kB")) * KiB
    return None


def _copy(seen: _Seen) -> _Seen:
    return _Seen(seen.parent, seen.since, seen.role)


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.AccessDenied:
        return None


def _role(process: psutil.Process) -> Role | None:
    """The role of a process, by the words it was started with."""
    with suppress(psutil.AccessDenied):
        if words := process.cmdline():
            return role_of(words)
    with suppress(psutil.AccessDenied):
        return role_of_name(process.name())
    return None


def _pass_on_roles(seen: Mapping[psutil.Process, _Seen]) -> None:
    """The children of ours are ours."""
    for process, entry in seen.items():
        line: list[_Seen] = []
        ancestor: psutil.Process | None = process
        role = None
        while ancestor is not None and len(line) < MAX_DEPTH and (met := seen.get(ancestor)) is not None:
            role = met.role
            if role is not None:
                break
            line.append(met)
            ancestor = met.parent
        if role is not None and entry.role is None:
            for child in line:
                child.role = Role.SERVER if role is Role.MANAGER else role


def _spent(ours: Mapping[psutil.Process, _Seen], before: Mapping[psutil.Process, _Seen]) -> float | None:
    """Seconds of processor time that our processes used since the look before; None if that cannot be told.

    On Linux what a process that came and went between two looks used is in the count of its parent's children.
    """
    total = 0.0
    known = True
    for process, seen in ours.items():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # it ended while we looked
            known = known and seen.role not in _SERVING
            continue
        except psutil.Error:
            known = False
            continue
        seen.spent = times.user + times.system + times.children_user + times.children_system
        earlier = before.get(process)
        if earlier is None:
            total += seen.spent
        elif earlier.spent is None:  # it has only now turned out to be ours
            known = False
        else:
            total += seen.spent - earlier.spent
    return total if known else None


def _missed(before: Mapping[psutil.Process, _Seen], now: Mapping[psutil.Process, _Seen]) -> bool:
    """Whether one of ours ended since the look before: what it used until then nobody knows."""
    ended = [seen for process, seen in before.items() if process not in now]
    return any(seen.role in _SERVING or (seen.role is Role.HERD and (seen.spent or 0.0) > TRIFLE_S) for seen in ended)


def _processor_times() -> tuple[float, float]:
    """Seconds that all processors worked, and seconds that there were, since the machine began.

    To wait for a disk is no work, interrupts are for whoever it was, and what a hypervisor took away is nobody's here.
    A guest's time is part of `user`.
    """
    times = psutil.cpu_times()._asdict()
    busy = sum(times.get(kind, 0.0) for kind in ("user", "nice", "system"))
    return busy, busy + sum(times.get(kind, 0.0) for kind in ("idle", "iowait", "irq", "softirq", "steal"))


def _share(before: tuple[float, float], now: tuple[float, float], spent: float) -> float | None:
    """The owner's share of all processors between two moments, of which ours used `spent` seconds."""
    busy, there = now[0] - before[0], now[1] - before[1]
    return min(1.0, max(0.0, (busy - spent) / there)) if there > 0 else None
