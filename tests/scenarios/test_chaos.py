"""Whole houses in which much goes wrong at once: by many seeds, what must be so is so, and what is not is noticed."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from herd.actors import delivery
from herd.actors.delivery import Delivery, Failed, WholeAnswer
from herd.actors.model_queue import ModelQueue
from herd.actors.node import Node
from herd.actors.ports import Sink
from herd.actors.scorer import Scorer
from herd.actors.store import Store
from herd.errors import RequestError, StreamFailed
from herd.policy.values import Lease, Ticket
from herd.protocols.messages import Failure, ModelInfo, Report
from herd.protocols.session import DataReceived, StreamEvent
from herd.simulation.chaos.invariants import Invariant
from herd.simulation.chaos.run import Chaos, chaos, replay, told
from herd.simulation.chaos.trouble import NODE_FAULTS
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.router_end import RouterStream
from herd.types import NodeId, ScorerKind, Seconds, TicketId

ROOT = Path(__file__).parents[2]
FEW, MANY = 14, 100
A_TICKET = TicketId("t20")
ENOUGH = 24  # seeds, of which one at least has what it takes to show a fault


@cache
def of(seed: int) -> Chaos:
    """What came of a seed; run once."""
    return chaos(seed)


@cache
def by_seconds(seed: int) -> Chaos:
    """The same, had the router ranked by seconds."""
    return chaos(seed, scorer=ScorerKind.COMPLETION_TIME)


def seeds(few: int, many: int) -> list[object]:
    """Some for every day, and more for when there is time."""
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(few, many))]


@pytest.mark.parametrize("seed", seeds(FEW, MANY))
def test_whatever_goes_wrong_the_invariants_hold(seed: int) -> None:
    result = of(seed)
    assert not result.violations, told(result)


@pytest.mark.parametrize("seed", seeds(4, 30))
def test_they_hold_whatever_nodes_are_ranked_by(seed: int) -> None:
    result = by_seconds(seed)
    assert not result.violations, told(result)


def test_another_scorer_tells_another_story() -> None:
    assert any(by_seconds(seed).log != of(seed).log for seed in range(4))


def test_some_seeds_are_calm_and_some_wild_and_all_kinds_of_trouble_happen() -> None:
    counts = [of(seed).counts for seed in range(FEW)]
    kinds = [fault.name for fault in NODE_FAULTS]
    troubles = [sum(one.get(kind, 0) for kind in kinds) for one in counts]
    assert min(troubles) == 0
    assert max(troubles) > 20
    total = sum(map(Counter, counts), Counter[str]())
    assert [kind for kind in kinds if not total[kind]] == []
    outcomes = ("served", "failed", "refused", "hung up", "cut by the router's stop")
    assert sum(total[outcome] for outcome in outcomes) == total["requests"]
    assert total["served"] > total["requests"] / 2
    for what in (*outcomes, "router restarts", "clock jumps"):
        assert total[what], what


# --- The same again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2, 5, 11])
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert chaos(seed) == of(seed)


async def told_by_a_process(seed: int, hash_seed: int) -> bytes:
    """The log of a seed as another interpreter has it, with its own order of sets."""
    code = f"from herd.simulation.chaos.run import chaos; print(*chaos({seed}).log, sep='\\n')"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out


@pytest.mark.parametrize("seed", [7, pytest.param(12, marks=pytest.mark.slow)])
async def test_the_same_seed_tells_the_same_story_under_every_hash_seed(seed: int) -> None:
    first, second = await asyncio.gather(told_by_a_process(seed, hash_seed=1), told_by_a_process(seed, hash_seed=2))
    assert first.count(b"\n") > 100
    assert first == second


@pytest.mark.parametrize("seed", seeds(6, 30))
def test_wall_clocks_that_jump_by_days_decide_nothing(seed: int) -> None:
    assert of(seed).log == chaos(seed, clocks=False).log


def test_another_seed_tells_another_story() -> None:
    assert of(0).log != of(1).log


# --- What is wrong is noticed -----------------------------------------------------------------------------------------

Doctor = Callable[[pytest.MonkeyPatch], None]


def grants_everything(patch: pytest.MonkeyPatch) -> None:
    async def acquire(self: ModelQueue, ticket: Ticket, moved: bool = False) -> Lease:
        return Lease(ticket.id, Seconds(0.0))

    patch.setattr(ModelQueue, "acquire", acquire)


def keeps_a_lease(patch: pytest.MonkeyPatch) -> None:
    right = ModelQueue.release
    patch.setattr(ModelQueue, "release", lambda self, ticket: None if ticket == A_TICKET else right(self, ticket))


def ends_no_answer(patch: pytest.MonkeyPatch) -> None:
    async def send(self: WholeAnswer, sink: Sink) -> None:
        await sink.start(self.status, self.headers)
        await sink.write(self.body)

    patch.setattr(WholeAnswer, "send", send)


def alters_a_byte(patch: pytest.MonkeyPatch) -> None:
    right = RouterStream.push

    def push(self: RouterStream, event: StreamEvent) -> None:
        if isinstance(event, DataReceived):
            event = replace(event, data=event.data.replace(b"machine", b"machina"))
        right(self, event)

    patch.setattr(RouterStream, "push", push)


def loses_a_piece(patch: pytest.MonkeyPatch) -> None:
    right = RouterStream.push

    def push(self: RouterStream, event: StreamEvent) -> None:
        if not (isinstance(event, DataReceived) and b"queue" in event.data):
            right(self, event)

    patch.setattr(RouterStream, "push", push)


def ends_broken_streams_cleanly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delivery, "error_event", lambda *_, **__: b"")


def takes_all_for_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delivery, "_ended_itself", lambda _: True)


def retries_after_the_first_byte(patch: pytest.MonkeyPatch) -> None:
    right = Delivery.run

    async def run(self: Delivery) -> Any:
        try:
            return await right(self)
        except StreamFailed as error:
            return Failed(Failure("reset", str(error)))

    patch.setattr(Delivery, "run", run)


def believes_in_models_that_are_gone(patch: pytest.MonkeyPatch) -> None:
    right = Node.reported
    seen: dict[NodeId, dict[str, ModelInfo]] = {}

    def reported(self: Node, report: Report) -> None:
        models = seen.setdefault(self._id, {})
        models.update({model.name: model for model in report.models})
        right(self, replace(report, models=tuple(models.values())))

    patch.setattr(Node, "reported", reported)


def knows_no_pause(patch: pytest.MonkeyPatch) -> None:
    right = Node.reported
    patch.setattr(Node, "reported", lambda self, report: right(self, replace(report, pauses=())))


def turns_nobody_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ModelQueue, "turn_away", lambda self, reason: None)


def gives_up_what_runs(patch: pytest.MonkeyPatch) -> None:
    right = Delivery.run

    async def run(self: Delivery) -> Any:
        try:
            async with asyncio.timeout(0.5):
                return await right(self)
        except TimeoutError as error:
            raise RequestError("it took too long", status=504) from error

    patch.setattr(Delivery, "run", run)


def crashes(patch: pytest.MonkeyPatch) -> None:
    right = Scorer.released
    patch.setattr(Scorer, "released", lambda self, ticket: {}[ticket] if ticket == A_TICKET else right(self, ticket))


def forgets_over_a_restart(patch: pytest.MonkeyPatch) -> None:
    async def load(self: Store) -> tuple[()]:
        self._opened()
        return ()

    patch.setattr(Store, "load", load)


WRONGS: list[tuple[Doctor, Invariant]] = [
    (ends_no_answer, Invariant.OUTCOME),
    (grants_everything, Invariant.LEASES),
    (keeps_a_lease, Invariant.LEASES),
    (alters_a_byte, Invariant.BYTES),
    (loses_a_piece, Invariant.BYTES),
    (ends_broken_streams_cleanly, Invariant.BYTES),
    (takes_all_for_whole, Invariant.BYTES),
    (retries_after_the_first_byte, Invariant.AGAIN),
    (believes_in_models_that_are_gone, Invariant.MODEL),
    (knows_no_pause, Invariant.STANDING),
    (turns_nobody_away, Invariant.STANDING),
    (gives_up_what_runs, Invariant.STANDING),
    (crashes, Invariant.CRASH),
    (forgets_over_a_restart, Invariant.HELD),
]


def first_violation(invariant: Invariant) -> str | None:
    """What one of some seeds says of an invariant."""
    for seed in range(ENOUGH):
        for violation in chaos(seed).violations:
            if violation.startswith(f"invariant {invariant}"):
                return violation
    return None


@pytest.mark.slow  # some twenty seeds for each
@pytest.mark.parametrize(("doctor", "invariant"), WRONGS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_wrong_is_noticed_and_named(
    doctor: Doctor, invariant: Invariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor(monkeypatch)
    assert first_violation(invariant) is not None


@pytest.mark.slow
def test_a_wall_clock_that_decides_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoopClock, "monotonic", LoopClock.wall)
    assert any(chaos(seed).log != chaos(seed, clocks=False).log for seed in range(ENOUGH))


def test_a_seed_that_fails_says_what_and_how_to_see_it_again() -> None:
    result = Chaos(17, ("invariant 2 (leases) at 3.000 s: a lease is out",), (), {})
    assert told(result).splitlines() == [f"seed 17, see `{replay(17)}`:", *result.violations]
    assert replay(17) == "herd simulate --chaos 1 --seed 17"
    assert replay(17, ScorerKind.COMPLETION_TIME) == f"{replay(17)} --scorer completion-time"
    assert "hold" in told(replace(result, violations=()))
