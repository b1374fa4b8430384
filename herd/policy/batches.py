"""A batch of texts that are to become vectors: whether parts of it run on several nodes, and how large each is.

The parts are sized so that all of them end at once. With `wait` seconds until a node could begin and `work` seconds
that it would need for the whole batch, a node that has a share s of it is done at wait + s x work. All are done at T
where the shares (T - wait) / work of those that can begin before T add up to 1: the level of water in vessels whose
grounds are the waits, and whose widths are the speeds.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from herd.policy.prewarming import LEAST_AVAILABILITY
from herd.policy.prospects import Prospect
from herd.policy.values import Candidate, Circuit, Decision, Eliminated
from herd.types import NodeId, NodeName, NodeState, Seconds

# Indexers send texts by tens and hundreds, people search with one: below this a batch is neither.
LEAST_INPUTS = 8
# Texts of a part, at least: a model server reads 512 tokens in one step, which is two or three pieces of a document.
# Less than two steps is not worth a part of its own.
LEAST_SHARE = 4
# Parts, at most. The slowest of them decides when the answer is there, and each is one more that can be it, while the
# eighth node takes no more than another eighth off the time.
MOST_PARTS = 8
# A split has to take less than so much of the time that one node takes: half of the predictions are off by a tenth and
# more, and a split keeps several nodes from doing something else.
CLEARLY = 0.75
# And it has to save so much: a part costs the router and an agent some milliseconds each, and the answer has to be put
# together.
LEAST_SAVED_S = 0.05


@dataclass(frozen=True, slots=True)
class Place:
    """A node that could run a part, or all, of a batch."""

    node: NodeId
    name: NodeName
    wait: float  # seconds until it could begin
    work: float  # seconds that it would then need for all of it, as placements predict them
    ratio: float | None = None  # how many times as long as predicted batches took there; None: none was seen


@dataclass(frozen=True, slots=True)
class Spread:
    """Where parts of a batch could run: all of the places have the build of this digest in memory."""

    model: str  # canonical name
    digest: str
    best: Place  # where the batch would run in one piece, whatever build that has
    places: tuple[Place, ...]  # two or more, the best first


@dataclass(frozen=True, slots=True)
class Share:
    """A run of the batch's inputs: `first` to `last`, exclusive."""

    place: Place
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Split:
    """A batch in parts, in the order of its inputs, all for the build of this digest."""

    digest: str
    shares: tuple[Share, ...]
    seconds: Seconds  # until all of them are expected to be done
    alone: Seconds


def spread(decision: Decision, looked_at: Iterable[Prospect | Eliminated]) -> Spread | None:
    """Which nodes could share a batch, or None when there are not two.

    Two builds of a model make vectors that cannot be compared, and one answer holds vectors of one build: that whose
    nodes would be done first together. Servers that name no digest are alike by nothing that is known. No node loads a
    model for a part, tries a breaker with one, or has its owner disturbed by one.

    Args:
        decision: of the batch in one piece.
        looked_at: what there is to say of its model on each node.
    """
    best = decision.chosen
    if best is None or len(decision.candidates) < 2:
        return None
    known = {one.node.id: one for one in looked_at if isinstance(one, Prospect)}
    sharing = [one for one in decision.candidates if one.load is None and _may_share(known[one.node])]
    # Of a ranking that works nothing out nobody can say what a share would take.
    if len(sharing) < 2 or not all(0.0 < one.work < math.inf for one in sharing):
        return None
    builds: dict[str, list[Place]] = {}
    for one in sharing:
        prospect = known[one.node]
        builds.setdefault(prospect.model.digest, []).append(_place(one, prospect))
    shared = [(_level(places), digest) for digest, places in builds.items() if len(places) > 1]
    if not shared:
        return None
    digest = min(shared)[1]
    there = known[best.node]
    return Spread(there.key, digest, _place(best, there), tuple(builds[digest]))


def _place(candidate: Candidate, there: Prospect) -> Place:
    took = there.facts.learned.batches if there.facts.learned is not None else None
    ratio = None if took is None else took.value
    return Place(candidate.node, candidate.name, candidate.wait, candidate.work, ratio)


def _may_share(one: Prospect) -> bool:
    node, model = one.node, one.model
    return (
        model.digest != ""
        and model.resident
        and node.state is NodeState.READY
        and node.breaker.circuit is Circuit.CLOSED
        and model.breaker.circuit is Circuit.CLOSED
        and node.availability >= LEAST_AVAILABILITY
    )


def split(found: Spread, sizes: Sequence[int]) -> Split | None:
    """The batch in parts, or None when one node alone is about as fast.

    What model servers say of a batch has no speed in it from which the router would learn what a node does, so that
    predictions for batches are from data sheets: what they were worth has to be seen. A node of which nothing was seen
    is taken to be as far off as the others are.

    Args:
        found: where parts could run.
        sizes: of the inputs in their order, in any unit that grows with the work for each.
    """
    total = sum(sizes)
    most = min(MOST_PARTS, len(sizes) // LEAST_SHARE)
    if len(sizes) < LEAST_INPUTS or most < 2 or total <= 0:
        return None
    # The best in what is left is the one that would have done all of it first; what cannot help is out.
    logs = [math.log(place.ratio) for place in found.places if place.ratio is not None]
    usual = math.exp(sum(logs) / len(logs)) if logs else 1.0

    def corrected(place: Place) -> Place:
        return replace(place, work=place.work * (usual if place.ratio is None else place.ratio))

    best = corrected(found.best)
    alone = best.wait + best.work
    places = sorted(map(corrected, found.places), key=lambda place: place.wait + place.work)[:most]
    sums = [0]
    for size in sizes:
        sums.append(sums[-1] + size)
    while len(places) > 1:
        shares = _cut(places, _level(places), sums)
        lacking = [share.place for share in shares if share.last - share.first < LEAST_SHARE]
        if not lacking:
            seconds = max(_done(share, sums) for share in shares)
            if seconds >= CLEARLY * alone or seconds > alone - LEAST_SAVED_S:
                return None
            return Split(found.digest, tuple(shares), Seconds(seconds), Seconds(alone))
        places.remove(max(lacking, key=lambda place: place.wait + place.work))
    return None


def _level(places: Iterable[Place]) -> float:
    """Seconds until all places together have done everything; those that could only begin later have no share."""
    level, begun, speed = math.inf, 1.0, 0.0
    for place in sorted(places, key=lambda place: place.wait):
        if place.wait >= level:
            break
        begun += place.wait / place.work
        speed += 1.0 / place.work
        level = begun / speed
    return level


def _cut(places: Sequence[Place], level: float, sums: Sequence[int]) -> list[Share]:
    """A run of inputs for each place, in order, as near to its share as whole inputs allow. May be empty."""
    shares: list[Share] = []
    first, target, total = 0, 0.0, sums[-1]
    for place in places:
        target += total * max(0.0, level - place.wait) / place.work
        last = len(sums) - 1 if place is places[-1] else _nearest(sums, target, first)
        shares.append(Share(place, first, last))
        first = last
    return shares


def _nearest(sums: Sequence[int], target: float, first: int) -> int:
    """The number of inputs, `first` at least, that together come nearest to the target."""
    after = max(first, bisect_left(sums, target, first, len(sums) - 1))
    if after > first and target - sums[after - 1] < sums[after] - target:
        return after - 1
    return after


def _done(share: Share, sums: Sequence[int]) -> float:
    return share.place.wait + share.place.work * (sums[share.last] - sums[share.first]) / sums[-1]
