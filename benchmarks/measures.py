"""What is measured, in which order, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import psutil

from benchmarks.load import PATIENCE_S, Found, Plan
from benchmarks.programs import START_S, BenchmarkFailed, Programs, module
from benchmarks.targets import Target

MiB = 1024 * 1024

MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything a run does."""

    rounds: int
    seconds: float  # of small requests, for each number of connections
    flat_tokens: int  # of each stream that goes flat out
    paced_s: float  # that a paced stream takes
    memory_requests: int
    profiled_s: float  # of small requests; enough for some thousand samples
    crowd: float = 1.0  # share of the connections


FULL = Size(rounds=3, seconds=2.0, flat_tokens=5000, paced_s=8.0, memory_requests=100_000, profiled_s=15.0)
QUICK = replace(FULL, rounds=1, seconds=1.0, flat_tokens=2000, paced_s=2.0, memory_requests=10_000, profiled_s=3.0)
# Shows that everything works, and nothing else.
SMOKE = Size(rounds=1, seconds=0.1, flat_tokens=20, paced_s=0.2, memory_requests=200, profiled_s=0.2, crowd=0.02)


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is done in each of the three ways in turn."""

    name: str
    title: str
    unit: str  # request or token
    plan: Plan


def measures(size: Size) -> tuple[Measure, ...]:
    """All of them, as large as `size` says."""

    def small(connections: int) -> Measure:
        plan = Plan(connections=max(1, round(connections * size.crowd)), seconds=size.seconds)
        return Measure(f"small-{connections}", f"small requests, {connections} at once", "request", plan)

    def streams(count: int, rate: float) -> Measure:
        plan = Plan(connections=max(1, round(count * size.crowd)), tokens=max(2, round(size.paced_s * rate)), rate=rate)
        title = f"{count} streams at {rate:g} tokens/s"
        return Measure(f"streams-{count}", title, "token", plan)

    flat = Plan(connections=max(1, round(64 * size.crowd)), tokens=size.flat_tokens)
    return (
        small(1),
        small(32),
        small(256),
        Measure("flat-out", "64 streams flat out", "token", flat),
        streams(1000, 5.0),
        streams(256, 50.0),
    )


NAMES = (*(measure.name for measure in measures(SMOKE)), MEMORY)


def apply(programs: Programs, plan: Plan, target: Target) -> Found:
    """Carry out a plan in one way, from a process of its own.

    Raises:
        BenchmarkFailed: an answer was wrong or missing.
    """
    plan = replace(plan, port=target.port, watched=target.watched)
    timeout = plan.expected_s + PATIENCE_S + START_S
    answer = programs.run("load", [*module("load"), msgspec.json.encode(plan).decode()], timeout)
    found = msgspec.json.decode(answer, type=Found)
    if found.complaints:
        broken = f"{found.broken} of {plan.connections} connections broke"
        raise BenchmarkFailed("\n".join([f"{target.name}: {broken}:", *found.complaints]))
    return found


# --- memory -----------------------------------------------------------------------------------------------------------

MEMORY_SAMPLES = 10  # the first is the warm-up, the others show whether it goes on
MEMORY_CONNECTIONS = 32  # as many as keep both processes busy without a queue


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of one process in MiB: at the start, and after each tenth of the requests."""

    process: str
    resident: Sequence[float]

    @property
    def drift(self) -> float:
        """The farthest that it came from where it was after the first tenth, as a share of that."""
        warm = self.resident[1]
        return max(abs(later / warm - 1) for later in self.resident[1:])


def watch_memory(programs: Programs, target: Target, requests: int) -> tuple[Memory, ...]:
    """Send small requests through a fresh router and agent, and look at their memory as they go by."""
    processes = {name: psutil.Process(pid) for name, pid in target.watched.items() if name in {"router", "agent"}}
    resident = {name: [process.memory_info().rss / MiB] for name, process in processes.items()}
    plan = Plan(connections=MEMORY_CONNECTIONS, requests=requests // MEMORY_SAMPLES, seconds=PATIENCE_S)
    for _ in range(MEMORY_SAMPLES):
        apply(programs, plan, target)
        for name, process in processes.items():
            resident[name].append(process.memory_info().rss / MiB)
    return tuple(Memory(name, values) for name, values in resident.items())
