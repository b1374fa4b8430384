"""What it costs to decide where a request goes, beside a bare loop over the same nodes.

    python benchmarks/placement.py [--quick] [--only NODES] [--json FILE]

Takes half a minute. Every fleet has 20 models on each node, some in memory, some being loaded, most on disk alone, and
requests under way everywhere. Any other work on the machine is in the figures: "processor" says how much of the time
that passed this program was given.
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks.talk import machine, progress, writable
from herd.actors.latency_learner import Lesson
from herd.actors.scorer import Scorer
from herd.cli.process import spare_collector
from herd.policy.loads import NO_LOAD
from herd.policy.pace import Learned, Observed, learned
from herd.policy.scorers import SCORERS
from herd.policy.values import Ask, Decision, Hardware, Memory, MemoryKind, ModelView, NodeView, Ticket
from herd.runtime import remote, stop
from herd.types import (
    Api,
    BackendId,
    Bytes,
    Dialect,
    GiB,
    ModelName,
    NodeId,
    NodeName,
    NodeState,
    ScorerKind,
    Seconds,
    TicketId,
    Tokens,
)

SIZES = (1, 10, 50, 200, 1000)
MODELS = 20
AIM_NODES, AIM_US = 50, 200.0
AIM_RATIO = 2.0  # of the second scorer's placement to the first's

EVERY = 7  # so many nodes, one has a request for a model under way: some three for each node, of which half run
LIMIT = 2  # requests that a model runs at once

# Machines of a large house, in turn: how much memory, what kind, how fast.
MACHINES = ((24, MemoryKind.VIDEO, 936e9), (64, MemoryKind.UNIFIED, 400e9), (16, MemoryKind.RAM, 51e9))

BARE, PLACE, SECONDS, AFTER = "bare loop", "place", "place by seconds", "place after a change"
RELEASE, LEARNED, CHANGED = "release", "learned", "node_changed"
MEASURES = (BARE, PLACE, SECONDS, AFTER, RELEASE, LEARNED, CHANGED)


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a run does."""

    rounds: int
    placements: int  # of each fleet in each round, about; fewer in a larger fleet


FULL, QUICK, SMOKE = Amount(10, 2000), Amount(3, 400), Amount(1, 4)


@dataclass(slots=True)
class Row:
    """What was measured in one fleet. Seconds, until it is shown."""

    nodes: int
    mix: dict[str, int] = field(default_factory=dict)  # candidates of all placements, by where the model was
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    processor: float = 0.0  # that this program was given while it measured
    wall: float = 0.0

    def document(self) -> dict[str, Any]:
        """For JSON: microseconds."""
        return {
            "nodes": self.nodes,
            "candidates": self.mix,
            "processor": round(self.processor / self.wall, 3),
            **{
                name: {"min_us": round(min(times) * 1e6, 2), "median_us": round(median(times) * 1e6, 2)}
                for name, times in self.times.items()
            },
        }


class Pen:
    """Whom the Scorer wakes."""

    def unlocked(self, models: tuple[tuple[str, int], ...], version: int) -> None:
        """Nobody is held here."""


class MeasuredScorer(Scorer):
    """The product's Scorer, called from within: messages to it are measured elsewhere (`benchmarks/runtime.py`)."""

    def fill(self, nodes: int) -> None:
        """Have so many nodes join, and place what is under way."""
        self.views = [node(number) for number in range(nodes)]
        self.numbers = itertools.count()
        for view in self.views:
            self.node_changed(view)
        for number in range(MODELS):
            decision = self.place(ask(number), self.ticket())
            now = Seconds(time.monotonic())
            for at, candidate in enumerate(decision.candidates[number % EVERY :: EVERY]):
                one = self.ticket()
                self._ledger.place(one, ask(number), candidate, now)
                if at % 2:
                    self.started(one.id, candidate.node)

    def ticket(self) -> Ticket:
        """A new one."""
        return Ticket(TicketId(f"t{next(self.numbers)}"), "client", Seconds(time.monotonic()))

    def measure(self, row: Row, placements: int) -> None:
        """Place, and release, again and again; and the same after a report and a lesson."""
        began, processor = time.perf_counter(), time.process_time()
        for number in range(placements):
            wanted = ask(number)
            self.settled(wanted)
            one = self.ticket()
            timed(row, BARE, self.bare, wanted)
            note_mix(row, timed(row, PLACE, self.place, wanted, one))
            timed(row, RELEASE, self.released, one.id)
            self._ranking = SCORERS[ScorerKind.COMPLETION_TIME]
            timed(row, SECONDS, self.place, wanted, one)
            self._ranking = SCORERS[ScorerKind.SEVEN_SIGNALS]
            self.released(one.id)
            view = self.views[number % len(self.views)] = replace(self.views[number % len(self.views)])
            lesson = Lesson(view.id, wanted.model, LESSON, 200.0 + number % 10)
            timed(row, CHANGED, self.node_changed, view)
            timed(row, LEARNED, self.learned, lesson)
            two = self.ticket()
            timed(row, AFTER, self.place, wanted, two)
            self.released(two.id)
        row.wall += time.perf_counter() - began
        row.processor += time.process_time() - processor

    def settled(self, wanted: Ask) -> None:
        """Have all that there is to say of the model worked out."""
        one = self.ticket()
        self.place(wanted, one)
        self.released(one.id)

    def bare(self, wanted: Ask) -> NodeId | None:
        """The least that a router could do: who is up and has it, and of those who has the fewest requests."""
        loads = self._ledger.loads
        best, fewest = None, 1 << 30
        for view in self.views:
            if view.state is NodeState.READY and wanted.model in view.models:
                outstanding = loads.get(view.id, NO_LOAD).outstanding
                if outstanding < fewest:
                    best, fewest = view.id, outstanding
        return best


def timed(row: Row, name: str, call: Callable[..., Any], *args: Any) -> Any:
    """The call's result; the processor's time for it goes into the row: no other program's turn is in that."""
    began = time.thread_time()
    result = call(*args)
    row.times[name].append(time.thread_time() - began)
    return result


def note_mix(row: Row, decision: Decision) -> None:
    """Count the candidates by where the model is."""
    for candidate in decision.candidates:
        where = "resident" if candidate.points[0] == 50 else "loading" if candidate.points[0] == 40 else "cold"
        row.mix[where] = row.mix.get(where, 0) + 1
    row.mix["out"] = row.mix.get("out", 0) + len(decision.eliminated)


def node(number: int) -> NodeView:
    """A node with every model on disk, and three of them in memory."""
    memory, kind, bandwidth = MACHINES[number % len(MACHINES)]
    models = {name: model(at, resident=(at - number) % MODELS < 3) for at, name in enumerate(map(key, range(MODELS)))}
    taken = sum(view.size_resident for view in models.values())
    name = f"node-{number:04}"
    return NodeView(
        NodeId(name),
        NodeName(name),
        NodeState.READY,
        models,
        memory=Memory(Bytes(memory * GiB), Bytes(max(0, memory * GiB - taken)), Bytes(64 * GiB), Bytes(32 * GiB)),
        hardware=Hardware(kind, bandwidth),
    )


def key(number: int) -> str:
    """A model's canonical name."""
    return f"model-{number % MODELS}:latest"


def model(number: int, *, resident: bool) -> ModelView:
    """From 1 to 6 GiB; three fit into the smallest machine, or nearly."""
    size = Bytes((1 + number % 6) * GiB)
    return ModelView(
        ModelName(key(number)),
        BackendId("ollama"),
        (Dialect.OLLAMA, Dialect.OPENAI),
        size,
        resident,
        Tokens(8192 if resident else 0),
        ("completion", "tools"),
        LIMIT,
        LIMIT,
        size_resident=Bytes(size + GiB // 2) if resident else Bytes(0),
        kv_per_token=Bytes(32_768),
        context_max=Tokens(131_072),
        apis=(Api.OLLAMA_CHAT, Api.OLLAMA_GENERATE, Api.CHAT),
    )


def ask(number: int) -> Ask:
    """A chat of usual length in a conversation of its own."""
    return Ask(key(number), Api.OLLAMA_CHAT, key(number), prompt_tokens=Tokens(800), session=f"s{number % 97}")


LESSON = learned(
    Learned(),
    Observed(NodeId(""), "", Tokens(800), Tokens(200), Seconds(2.0), Seconds(1.0), Seconds(4.0)),
    Seconds(0.0),
)


class Wall:
    """The port `Clock`."""

    def monotonic(self) -> Seconds:
        """Seconds."""
        return Seconds(time.monotonic())

    def wall(self) -> Seconds:
        """Seconds since 1970."""
        return Seconds(time.time())


async def measure(sizes: Sequence[int], amount: Amount) -> list[Row]:
    """All fleets in turn, in every round, so that what else the machine does weighs on all of them."""
    rows = [Row(size) for size in sizes]
    pen = remote(Pen).remote()
    scorers = [remote(MeasuredScorer).remote(pen, Wall()) for _ in rows]
    for scorer, row in zip(scorers, rows, strict=True):
        await scorer.fill.remote(row.nodes)
    spare_collector()  # as the router does once it is up
    for number in range(amount.rounds):
        progress(f"round {number + 1} of {amount.rounds}")
        for scorer, row in zip(scorers, rows, strict=True):
            fewer = max(4, amount.placements // max(1, row.nodes // 10))
            await scorer.measure.remote(row, fewer)
    for actor in (*scorers, pen):
        await stop(actor)
    return rows


def table(rows: Sequence[Row]) -> str:
    """For a person, in Markdown."""
    head = "| nodes | " + " | ".join(MEASURES) + " | place a node | processor |"
    lines = [head, "|---:" * (len(MEASURES) + 3) + "|"]
    for row in rows:
        cells = [f"{min(times) * 1e6:,.1f} / {median(times) * 1e6:,.1f}" for times in row.times.values()]
        each = median(row.times[PLACE]) / row.nodes * 1e6
        lines.append(f"| {row.nodes:,} | " + " | ".join(cells) + f" | {each:.1f} | {row.processor / row.wall:.0%} |")
    return "\n".join(["µs, least / median:", "", *lines])


def verdict(rows: Sequence[Row]) -> str:
    """What became of the aim, where it was measured."""
    for row in rows:
        if row.nodes == AIM_NODES:
            found = median(row.times[PLACE]) * 1e6
            word = "met" if found < AIM_US else "missed"
            ratio = median(row.times[SECONDS]) * 1e6 / found
            second = f"{'met' if ratio < AIM_RATIO else 'missed'}, {ratio:.2f} times"
            return "\n".join(
                [
                    f"aim: under {AIM_US:g} µs for {AIM_NODES} nodes: {word}, {found:.0f} µs",
                    f"aim: by seconds under {AIM_RATIO:g} times as long: {second}",
                ]
            )
    return ""


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="placement.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer placements: a few seconds")
    parser.add_argument("--smoke", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument("--only", action="append", type=int, choices=SIZES, metavar="NODES", help="one size of fleet")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write all that was found to FILE")
    options = parser.parse_args(arguments)
    amount = SMOKE if options.smoke else QUICK if options.quick else FULL
    where = machine()  # before the load is this program's own
    rows = asyncio.run(measure(options.only or SIZES, amount))
    print(*filter(None, [where, table(rows), verdict(rows)]), sep="\n\n")
    if options.json:
        found = {"machine": where, "fleets": [row.document() for row in rows]}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
