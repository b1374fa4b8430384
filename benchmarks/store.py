"""What the router's database weighs after a month, how long a router takes to start with it, and what writing costs.

    python benchmarks/store.py [--quick] [--json FILE]

Takes a minute or two. Ten nodes with twenty models each, every one of which was used on every node, and 3,000 requests
a day: twenty people who send one every three minutes of a working day make as many. Then the same with 20,000 a day, to
show what the bounds do: such a fleet remembers fewer days, not a larger file.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks.talk import machine, progress, writable
from herd.actors.fleet import RouterIdentity
from herd.actors.latency_learner import ANSWER, ANYWHERE, DECODE, FIRST_TOKEN, LOAD, PREFILL
from herd.actors.router import RouterOptions, RouterPorts, running_router
from herd.actors.store import PRUNE_AFTER
from herd.actors.trace_rows import row_of
from herd.net.clock import SystemClock
from herd.policy.pace import CROWDS
from herd.policy.values import ALWAYS_SHOWN, SIGNALS
from herd.protocols.stories import CandidateEntry, Placed, RequestEntry
from herd.simulation.fleet.house import InMemoryListener
from herd.simulation.fleet.links import InMemoryLinks
from herd.store.database import Database
from herd.store.executor import ThreadExecutor
from herd.store.records import (
    KnownCalibration,
    KnownEstimate,
    KnownKeep,
    KnownLimit,
    KnownNode,
    KnownResidency,
    KnownService,
    KnownSlot,
    KnownTrace,
    KnownUnload,
    Record,
)
from herd.store.tables import DAY_S, MAX_TRACES
from herd.types import Bytes, MiB, NodeId, NodeName, RouterId, Seconds, Tokens

NODES, MODELS, CLIENTS = 10, 20, 20
DAYS = 30
AIM_MB, AIM_START_S = 50.0, 1.0

# Requests of one transaction. In a router it is those of half a second, so one or two; here as many as make the month
# pass in a minute. What is in the file then is the same.
BATCH = 64
FLUSHES = 200  # that are timed, each of one request


@dataclass(frozen=True, slots=True)
class Load:
    """What a fleet is asked for."""

    a_day: int
    days: int = DAYS


FULL, QUICK, SMOKE = (Load(3_000), Load(20_000)), (Load(3_000),), (Load(40, 3),)


@dataclass(slots=True)
class Row:
    """What was measured of one load. Times in seconds."""

    load: Load
    size: int = 0  # bytes, the log of committed pages included
    traces: int = 0
    start: float = 0.0
    empty_start: float = 0.0  # with a new file
    flush: list[float] = field(default_factory=list)
    prune: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "requests_a_day": self.load.a_day,
            "days": self.load.days,
            "size_mb": round(self.size / 1e6, 2),
            "traces": self.traces,
            "start_s": round(self.start, 4),
            "empty_start_s": round(self.empty_start, 4),
            "flush_ms": {"median": round(median(self.flush) * 1e3, 3), "most": round(max(self.flush) * 1e3, 3)},
            "prune_ms": {"median": round(median(self.prune) * 1e3, 3), "most": round(max(self.prune) * 1e3, 3)},
        }


NODE_IDS = [NodeId(f"{number:016x}") for number in range(1, NODES + 1)]
NODE_NAMES = [NodeName(f"studio-{number}") for number in range(NODES)]
MODEL_NAMES = [f"family{number}.{number % 4}:{1 + 7 * number}b-instruct-q4_K_M" for number in range(MODELS)]


def learned(at: Seconds, chance: random.Random) -> Iterator[Record]:
    """All that can be known of the fleet beside its requests."""
    for number, node in enumerate(NODE_IDS):
        yield KnownNode(node, NODE_NAMES[number], tuple(MODEL_NAMES), at)
        for slot in range(168):
            yield KnownSlot(node, slot, chance.random(), chance.random(), chance.random() * 20, at)
        for model in MODEL_NAMES:
            yield from estimates(node, model, at, chance)
            yield calibration(node, model, at, chance)
            yield KnownLimit(node, model, chance.randint(1, 8), at)
            yield KnownService(node, model, chance.random() * 100, at)
            yield KnownKeep(node, model, chance.random() < 0.1, at)
            yield KnownUnload(node, model, at)
    for model in MODEL_NAMES:
        yield KnownResidency(model, Bytes(chance.randint(1, 60) << 30), Tokens(32_768), 4, at)


def estimates(node: NodeId, model: str, at: Seconds, chance: random.Random) -> Iterator[KnownEstimate]:
    """Every estimate that there can be of a pair."""
    kinds = [(LOAD, 0), (FIRST_TOKEN, 0), *[(what, streams) for what in (PREFILL, DECODE) for streams in CROWDS]]
    for what, streams in kinds:
        yield KnownEstimate(node, model, what, streams, chance.gauss(3, 1), chance.random() * 20, at)
    yield KnownEstimate(ANYWHERE, model, ANSWER, 0, chance.gauss(5, 1), chance.random() * 20, at)


def calibration(node: NodeId, model: str, at: Seconds, chance: random.Random) -> KnownCalibration:
    """How predictions for a pair came true."""
    return KnownCalibration(node, model, chance.gauss(0, 0.3), chance.random(), chance.random() * 100, at)


def trace(at: float, chance: random.Random) -> KnownTrace:
    """A request that was placed with all nodes as candidates, as the router keeps it."""
    candidates: list[CandidateEntry] = []
    for name in chance.sample(NODE_NAMES, NODES):
        signals = {signal: chance.uniform(-20, 50) for signal in SIGNALS[:ALWAYS_SHOWN]}
        candidates.append({"node": name, "score": sum(signals.values()), "signals": signals, "predicted_s": None})
    placed: Placed = {
        "kind": "placed",
        "at": 0.000_2,
        "node": candidates[0]["node"],
        "candidates": candidates,
        "eliminated": [],
        "candidates_left_out": 0,
        "eliminated_left_out": 0,
    }
    request: RequestEntry = {
        "id": f"req_{chance.getrandbits(96):024x}",
        "model": chance.choice(MODEL_NAMES),
        "client": f"192.168.178.{chance.randrange(CLIENTS):03}",
        "arrived": round(at, 3),
        "node": candidates[0]["node"],
        "outcome": "served",
        "status": 200,
        "waited_s": round(chance.expovariate(1.0), 6),
        "first_token_s": round(chance.expovariate(1.0), 6),
        "total_s": round(chance.expovariate(0.1), 6),
        "attempts": 1,
        "score": candidates[0]["score"],
        "prompt": chance.randrange(8000),
        "completion": chance.randrange(1000),
        "edited": (),
        "predicted_s": round(chance.expovariate(0.1), 6),
        "took_s": round(chance.expovariate(0.1), 6),
        "served_model": None,
    }
    return row_of(request, (placed,))


def served(at: float, chance: random.Random) -> tuple[Record, ...]:
    """What one request leaves."""
    node, model, now = chance.choice(NODE_IDS), chance.choice(MODEL_NAMES), Seconds(at)
    changed = [one for one in estimates(node, model, now, chance) if one.streams in {0, 1} and one.what != LOAD]
    checked = calibration(node, model, now, chance)
    return (trace(at, chance), KnownService(node, model, 5.0, now), checked, *changed)


def fill(path: Path, load: Load, row: Row, now: float) -> None:
    """A database as it is after so many days, the last of which ends now."""
    chance = random.Random(load.a_day)
    database = Database(path)
    database.save(learned(Seconds(now), chance))
    for day in range(load.days):
        began = now - (load.days - day) * DAY_S
        times = [began + number * DAY_S / load.a_day for number in range(load.a_day)]
        written = 0
        for first in range(0, len(times), BATCH):
            batch = [record for at in times[first : first + BATCH] for record in served(at, chance)]
            database.save(batch)
            written += len(batch)
            if written >= PRUNE_AFTER:
                written = 0
                _prune(database, Seconds(times[first]), row)
    _prune(database, Seconds(now), row)
    for number in range(FLUSHES):
        _timed(row.flush, partial(database.save, served(now + number / FLUSHES, chance)))
    database.save(learned(Seconds(now), chance))
    row.size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    row.traces = len(database.traces(2 * MAX_TRACES))
    database.close()


def _prune(database: Database, now: Seconds, row: Row) -> None:
    while _timed(row.prune, partial(database.prune, now)):
        pass


def _timed(times: list[float], call: Any) -> Any:
    began = time.perf_counter()
    result = call()
    times.append(time.perf_counter() - began)
    return result


async def start(path: Path) -> float:
    """Seconds until a router with this file takes requests and knows all that is there, its program's start aside."""
    links = InMemoryLinks()
    options = RouterOptions(RouterIdentity(RouterId("measured"), ""), 0, Seconds(30.0), Bytes(256 * MiB))
    ports = RouterPorts(
        SystemClock(), InMemoryListener(), links, links, links, None, partial(Database, path), ThreadExecutor()
    )
    began = time.perf_counter()
    async with running_router(options, ports) as router:
        await router.parts.scorer.pins.remote()  # which it answers once it has begun
        await router.parts.traces.under_way.remote()
        return time.perf_counter() - began


def measure(load: Load) -> Row:
    """Fill a file, and start with it."""
    row = Row(load)
    with tempfile.TemporaryDirectory(prefix="herd-store-") as directory:
        path = Path(directory) / "herd.db"
        fill(path, load, row, time.time())
        row.start = min(asyncio.run(start(path)) for _ in range(3))
        row.empty_start = min(asyncio.run(start(Path(directory) / f"new-{number}.db")) for number in range(3))
    return row


def table(rows: Sequence[Row]) -> str:
    """For a person, in Markdown."""
    names = ("requests a day", "days", "remembered", "file", "start", "start, new file", "one flush", "one prune")
    lines = ["| " + " | ".join(names) + " |", "|---:" * len(names) + "|"]
    for row in rows:
        cells = (
            f"{row.load.a_day:,}",
            f"{row.load.days}",
            f"{row.traces:,} requests",
            f"{row.size / 1e6:.1f} MB",
            f"{row.start:.2f} s",
            f"{row.empty_start:.2f} s",
            f"{median(row.flush) * 1e3:.1f} / {max(row.flush) * 1e3:.1f} ms",
            f"{median(row.prune) * 1e3:.1f} / {max(row.prune) * 1e3:.1f} ms",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(["Of flushes and prunes: median / most.", "", *lines])


def verdict(rows: Sequence[Row]) -> str:
    """What became of the aims."""
    size, slowest = max(row.size for row in rows) / 1e6, max(row.start for row in rows)
    met = size < AIM_MB and slowest < AIM_START_S
    found = f"{size:.1f} MB, {slowest:.2f} s"
    return f"aim: under {AIM_MB:g} MB and {AIM_START_S:g} s: {'met' if met else 'missed'}, {found}"


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="store.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smaller load alone")
    parser.add_argument("--smoke", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write all that was found to FILE")
    options = parser.parse_args(arguments)
    where = machine()
    rows = []
    for load in SMOKE if options.smoke else QUICK if options.quick else FULL:
        progress(f"{load.days} days of {load.a_day:,} requests")
        rows.append(measure(load))
    print(where, table(rows), verdict(rows), sep="\n\n")
    if options.json:
        found = {"machine": where, "loads": [row.document() for row in rows]}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
