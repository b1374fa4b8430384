"""What links have carried is added up over all connections of a node."""

from dataclasses import dataclass, field

import pytest

from herd.net import link_traffic
from herd.net.link_traffic import LinkTraffic, TrafficBook
from herd.types import NodeId

A, B = NodeId("a"), NodeId("b")


@dataclass
class Connection:
    node: NodeId | None
    received: int = 0
    sent: int = 0
    exchanges: list[int] = field(default_factory=list)


def test_what_a_living_connection_has_carried_counts_and_what_former_ones_have() -> None:
    book = TrafficBook()
    book.joined(A)
    first = Connection(A, 10, 20, [1, 2])
    assert book.totals([first]) == (LinkTraffic(A, 10, 20, joins=1, streams=2),)
    first.received = 15
    book.left(first)
    assert book.totals([]) == (LinkTraffic(A, 15, 20, joins=1),)
    book.joined(A)
    second = Connection(A, 1, 2, [3])
    assert book.totals([second]) == (LinkTraffic(A, 16, 22, joins=2, streams=1),)


def test_a_node_that_connects_anew_before_its_old_link_is_gone_has_both() -> None:
    book = TrafficBook()
    book.joined(A)
    book.joined(A)
    old, new = Connection(A, 1, 1, [1]), Connection(A, 2, 2, [2])
    assert book.totals([old, new]) == (LinkTraffic(A, 3, 3, joins=2, streams=2),)
    book.left(old)
    assert book.totals([new]) == (LinkTraffic(A, 3, 3, joins=2, streams=1),)


def test_nodes_are_told_apart_and_strangers_count_for_none() -> None:
    book = TrafficBook()
    book.joined(A)
    book.joined(B)
    stranger = Connection(None, 7, 7)
    book.left(stranger)
    found = book.totals([Connection(B, 5, 6), stranger])
    assert found == (LinkTraffic(A, joins=1), LinkTraffic(B, 5, 6, joins=1))


def test_of_ever_new_nodes_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_traffic, "MAX_NODES", 2)
    book = TrafficBook()
    for name in ("a", "b", "c"):
        book.joined(NodeId(name))
    assert [one.node for one in book.totals([Connection(A, 5, 5)])] == ["b", "c"]
