"""How many bytes the links have carried, node by node."""

from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Protocol

from herd.actors.tables import keep_latest
from herd.types import NodeId

# As many nodes as a router knows at once.
MAX_NODES = 1024


@dataclass(frozen=True, slots=True)
class LinkTraffic:
    """What the links of one node have carried since the router's start."""

    node: NodeId
    received: int = 0  # bytes, as TCP delivers them
    sent: int = 0  # bytes, handed to TCP
    joins: int = 0  # links of this node so far
    streams: int = 0  # that are open now


class Carrier(Protocol):
    """One connection of an agent."""

    node: NodeId | None
    received: int
    sent: int

    @property
    def exchanges(self) -> Sized:
        """The streams that are open."""


class TrafficBook:
    """Adds up what connections carry that come and go."""

    def __init__(self) -> None:
        self._past: dict[NodeId, LinkTraffic] = {}

    def joined(self, node: NodeId) -> None:
        """A connection of this node was let in."""
        past = self._past.pop(node, LinkTraffic(node))
        self._past[node] = LinkTraffic(node, past.received, past.sent, past.joins + 1)
        keep_latest(self._past, MAX_NODES)

    def left(self, carrier: Carrier) -> None:
        """A connection is gone."""
        past = self._past.get(carrier.node) if carrier.node is not None else None
        if past is not None:
            self._past[past.node] = _with(past, carrier, streams=0)

    def totals(self, living: Iterable[Carrier]) -> tuple[LinkTraffic, ...]:
        """Every node that was ever there, as of now."""
        totals = dict(self._past)
        for carrier in living:
            past = totals.get(carrier.node) if carrier.node is not None else None
            if past is not None:
                totals[past.node] = _with(past, carrier, streams=past.streams + len(carrier.exchanges))
        return tuple(totals.values())


def _with(past: LinkTraffic, carrier: Carrier, streams: int) -> LinkTraffic:
    return LinkTraffic(past.node, past.received + carrier.received, past.sent + carrier.sent, past.joins, streams)
