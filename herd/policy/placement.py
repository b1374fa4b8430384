"""Stages 1 and 2 together: rank the nodes for one request."""

from collections.abc import Iterable, Mapping

from herd.policy.breaker import openness
from herd.policy.edits import edits
from herd.policy.elimination import eliminate
from herd.policy.scoring import score
from herd.policy.values import Ask, Candidate, Decision, Eliminated, Load, NodeView, Reason
from herd.types import NodeId

# Two scores nearer than this say the same; the load decides then, so that equal nodes share evenly.
TIE_POINTS = 2.0

NO_LOAD = Load()

# Kinds of reasons that stay as they are while a request waits.
FOR_GOOD = ("dialect", "capability")


def place(ask: Ask, nodes: Iterable[NodeView], loads: Mapping[NodeId, Load]) -> Decision:
    """Rank `nodes` for `ask`, best first.

    Args:
        ask: what the request needs.
        nodes: every node the router knows, online or not; their order does not matter to the result.
        loads: the ledger's view of each node; a missing one has no load.
    """
    candidates: list[Candidate] = []
    eliminated: list[Eliminated] = []
    for node in nodes:
        load = loads.get(node.id, NO_LOAD)
        reason = eliminate(ask, node, load.trials)
        if reason is not None:
            eliminated.append(Eliminated(node.id, node.name, reason))
            continue
        model = node.models[ask.model]
        candidates.append(
            Candidate(
                node.id,
                node.name,
                model.name,
                model.backend,
                score(ask, node, model, load),
                edits(ask, model),
                load.node,
                trial=openness(node, model) == 1,
            )
        )
    return Decision(_ranked(candidates, loads), tuple(eliminated))


def hopeless(decision: Decision) -> Reason | None:
    """Why no change that a request could wait for would help it, or None when one might.

    Nodes have the model, and every one of them lacks what is asked for good.
    """
    having = [out.reason for out in decision.eliminated if out.reason.kind != "no-model"]
    if decision.candidates or not having or any(reason.kind not in FOR_GOOD for reason in having):
        return None
    return having[0]


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


def _ranked(candidates: list[Candidate], loads: Mapping[NodeId, Load]) -> tuple[Candidate, ...]:
    """Best first. Among those tied with the best: least outstanding, then least recently chosen, then by id."""
    if len(candidates) < 2:
        return tuple(candidates)
    best = max(candidate.score for candidate in candidates)

    def order(candidate: Candidate) -> tuple[float, int, int, str]:
        points = candidate.score
        level = best if best - points < TIE_POINTS else points
        return (-level, candidate.outstanding, loads.get(candidate.node, NO_LOAD).last_chosen, candidate.node)

    return tuple(sorted(candidates, key=order))
