"""Stages 1 and 2 together: rank the nodes for one request."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from herd.policy.breaker import breaker_reason, openness
from herd.policy.edits import edits
from herd.policy.elimination import lacking, unable
from herd.policy.loads import NO_LOAD, NodeLoad
from herd.policy.prospects import Prospect
from herd.policy.scoring import Crowded, Moment, Outlook, look, made_to_end, points
from herd.policy.values import Ask, Candidate, Decision, Edit, Eliminated, Reason, made
from herd.types import NodeId, Seconds, Tokens, Unit

# Two scores nearer than this say the same, if the answers would also be there at about the same time: the load decides
# then, so that equal nodes share evenly.
TIE_POINTS = 2.0
TIE_COMPLETION = 0.1

NOT_LOADED = Tokens(0)

# Kinds of reasons that stay as they are while a request waits.
FOR_GOOD = ("dialect", "capability", "too-large")

# How a router ranks its nodes: `place` below or, in simulations that compare, one of `baselines`.
Ranking = Callable[[Ask, Iterable[Prospect | Eliminated], Mapping[NodeId, NodeLoad], Moment], Decision]

# What nodes are sorted by, the least first (what decides; seconds until the answer is there; the node), and the rest.
Row = tuple[float, float, NodeId, Candidate, Outlook]
# Makes candidates of outlooks, of which there is one at least.
Order = Callable[[Ask, list[Outlook], Moment], tuple[Candidate, ...]]


def place(
    ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
) -> Decision:
    """Rank nodes for `ask` by the seven signals, best first; as `decided` does."""
    return decided(ask, looked_at, loads, moment, _by_points)


def decided(
    ask: Ask,
    looked_at: Iterable[Prospect | Eliminated],
    loads: Mapping[NodeId, NodeLoad],
    moment: Moment,
    order: Order,
) -> Decision:
    """Eliminate nodes for `ask`, and rank the others.

    A request that is hopeless only because every build of the model lacks an ability goes to one of them all the same:
    its server refuses it in its own words, which clients know. Unless another model may serve it, or it is for an image
    or a recording: that may be an upload of gigabytes.

    Args:
        ask: what the request needs.
        looked_at: every node the router knows, online or not; their order does not matter to the result.
        loads: the ledger's view of each node; a missing one has no load.
        moment: when, and for whom.
        order: puts those that can serve it in order, the best first.
    """
    if not ask.needs:  # as most requests are
        return _decided(ask, looked_at, loads, moment, order)
    known = tuple(looked_at)
    decision = _decided(ask, known, loads, moment, order)
    if ask.api.unit is not Unit.TOKEN:
        return replace(decision, unequipped=_unequipped(ask, known))
    if ask.replaceable:
        return decision
    if hopeless(decision) and any(out.reason.kind == "capability" for out in decision.eliminated):
        return _decided(replace(ask, needs=()), known, loads, moment, order)
    return decision


def _unequipped(ask: Ask, known: Iterable[Prospect | Eliminated]) -> bool:
    """Whether no node has anything for what is asked, whichever model, as far as is known of those that are away."""
    return not any(ask.api in (one.media if isinstance(one, Eliminated) else one.node.media) for one in known)


def _decided(
    ask: Ask,
    looked_at: Iterable[Prospect | Eliminated],
    loads: Mapping[NodeId, NodeLoad],
    moment: Moment,
    order: Order,
) -> Decision:
    found: list[Outlook] = []
    crowded: list[Crowded] = []
    eliminated: list[Eliminated] = []
    picky = bool(ask.excluded or ask.needs or ask.part)  # most requests are not, and nodes are many
    for one in looked_at:
        if isinstance(one, Eliminated):
            # A node that is back, or free, some day will lack then what it lacks now: nobody should wait for it.
            # Of one that has not reported since the router started nothing is known but names.
            never = lacking(ask, one.model) if one.model is not None and one.model.apis else None
            eliminated.append(one if never is None else one._replace(reason=never))
            continue
        node = one.node
        there: Outlook | Crowded | Reason | None = None
        if picky or ask.api not in one.model.apis:
            there = unable(ask, node, one.model)
        if moment.tried and node.id in moment.tried:
            there = there or breaker_reason(node, one.model, outstanding=1)
        if there is None:
            there = look(ask, one, loads.get(node.id, NO_LOAD), moment)
        if isinstance(there, Outlook):
            found.append(there)
        elif isinstance(there, Crowded):
            crowded.append(there)
        else:
            eliminated.append(Eliminated(node.id, node.name, there))
    retry_in = None
    if found or not crowded:
        turned_away = crowded
    else:  # somebody has to make room, if nobody does so by itself
        turned_away = [there for there in crowded if moment.waited < there.patience]
        found = [made_to_end(there, moment.now) for there in crowded if moment.waited >= there.patience]
        if not found:
            retry_in = Seconds(min([there.patience for there in crowded]) - moment.waited)
    for there in turned_away:
        node = there.outlook.one.node
        eliminated.append(Eliminated(node.id, node.name, there.reason))
    return Decision(order(ask, found, moment) if found else (), tuple(eliminated), retry_in=retry_in)


def soonest(found: list[Outlook]) -> tuple[float, float]:
    """Seconds until the best of them would have answered, and the second best; infinite when there is none."""
    answered = sorted([there.wait + there.work for there in found])
    return answered[0], answered[1] if len(answered) > 1 else math.inf


def _by_points(ask: Ask, found: list[Outlook], moment: Moment) -> tuple[Candidate, ...]:
    """By the sum of all signals. Less than `TIE_POINTS` is no difference."""
    rows: list[Row] = []
    best, second = soonest(found)
    for there in found:
        one, held, _, wait, work, _, _, _, _, _, load = there
        parts = points(ask, there, second if wait + work == best else best, moment.favourite)
        score = sum(parts)
        # `edits` and `trial` are made out for the best one only.
        rest = (parts, score, (), held.outstanding, wait, work, load, False, ())
        candidate = made(Candidate, one.who + rest)
        rows.append((-score, wait + work, one.who[0], candidate, there))
    return best_first(ask, rows, TIE_POINTS)


def best_first(ask: Ask, rows: list[Row], tie: float) -> tuple[Candidate, ...]:
    """In order of the rows. Of those tied with the first: least outstanding, then least recently chosen, then by id.

    But first of all the node that a part of a batch is meant for, unless the model has left its memory.

    Args:
        ask: the request.
        rows: in any order; one at least.
        tie: two rows that differ by less are tied if the answers would also be there at about the same time.
    """
    rows.sort()  # ids are unique: candidates are never compared
    first, completion = rows[0], rows[0][1]
    tied = [first]
    for row in rows[1:]:
        if row[0] - first[0] >= tie:
            break
        if abs(row[1] - completion) <= TIE_COMPLETION * completion:
            tied.append(row)
    if len(tied) > 1:
        first = min(tied, key=lambda row: (row[4].held.outstanding, row[4].held.last_chosen, row[2]))
    if ask.part is not None:
        first = next((row for row in rows if row[2] == ask.part.node and row[3].load is None), first)
    winner, there = first[3], first[4]
    best = winner._replace(edits=_edits(ask, there), trial=openness(there.one.node, there.one.model) == 1)
    return (best, *[row[3] for row in rows if row is not first])


def _edits(ask: Ask, there: Outlook) -> tuple[Edit, ...]:
    """What has to be edited for what the request finds on a node."""
    loaded = there.context if there.load is None else NOT_LOADED
    return edits(ask, there.one.model, loaded, there.one.context, home=there.one.facts.home)


def edited(
    ask: Ask,
    placed: Candidate,
    looked_at: Iterable[Prospect | Eliminated],
    loads: Mapping[NodeId, NodeLoad],
    moment: Moment,
) -> Candidate:
    """The candidate with the edits that it takes now. While the request waited others may have had the model reloaded.

    Args:
        ask: what the request needs.
        placed: where it has waited; as it is when the model is not there any more, or there is no memory for it.
        looked_at: what there is to say of the model on each node.
        loads: the ledger's view of each node.
        moment: when.
    """
    for one in looked_at:
        if isinstance(one, Eliminated) or one.node.id != placed.node:
            continue
        there = look(ask, one, loads.get(placed.node, NO_LOAD), moment)
        if isinstance(there, Outlook) and (one.model.name, one.model.backend) == (placed.model, placed.backend):
            return placed._replace(edits=_edits(ask, there))
    return placed


def hopeless(decision: Decision) -> Reason | None:
    """Why no change that a request could wait for would help it, or None when one might.

    Nodes have the model, and every one of them lacks what is asked for good.
    """
    having = [out.reason for out in decision.eliminated if out.reason.kind != "no-model"]
    if decision.candidates or not having or any(reason.kind not in FOR_GOOD for reason in having):
        return None
    return having[0]


def why_hopeless(decision: Decision) -> str:
    """What every node that has the model lacks for good, in words for the client; of a decision that is hopeless."""
    having = [out for out in decision.eliminated if out.reason.kind != "no-model"]
    if len(having) == 1:
        return f"the one that has it {having[0].reason.text}"
    if len({out.reason.text for out in having}) == 1:
        return f"each of the {len(having)} that have it {having[0].reason.text}"
    return f"of the {len(having)} that have it, " + "; ".join(f"{out.name} {out.reason.text}" for out in having)


def in_one_line(decision: Decision) -> str:
    """A decision for the log: every candidate with its score and what that is made of, best first, and who is out."""
    ranked = [
        f"{candidate.name} {candidate.score:.3f} = "
        + " ".join([f"{signal.name} {signal.points:+.3f}" for signal in candidate.signals])
        for candidate in decision.candidates
    ]
    out = [f"not {eliminated.name}, which {eliminated.reason.text}" for eliminated in decision.eliminated]
    refused = ["no node, for the fleet's retries are used up"] if decision.over_budget else []
    return "; ".join([*refused, *ranked, *out]) or "no node has joined"


def why_none(decision: Decision) -> str:
    """Every node's reason in one line, for the client that gets none."""
    if not decision.eliminated:
        return "no node has joined"
    return "; ".join(f"{out.name} {out.reason.text}" for out in decision.eliminated)
