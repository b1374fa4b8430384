"""Who waits for whom. Pure."""

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

N = TypeVar("N", bound=Hashable)


class Waits(NamedTuple, Generic[N]):
    """What was found from one place on."""

    cycle: tuple[N, ...]  # each waits for the next, the last one for the first; empty if there is none
    waiters: frozenset[N]  # the place looked from, the cycle, and who is between them


def find_cycle(start: N, edges: Iterable[tuple[N, N]]) -> Waits[N]:
    """Look along the edges (who waits, for whom) for some who wait for one another, from `start` on."""
    neighbours: dict[N, dict[N, None]] = {}
    for waiter, waited_for in edges:
        neighbours.setdefault(waiter, {})[waited_for] = None
    path: dict[N, None] = {start: None}  # in order
    seen: dict[N, None] = {start: None}
    ways = [iter(neighbours.get(start, ()))]
    while ways:
        following = next(ways[-1], None)
        if following is None:
            ways.pop()
            path.popitem()
        elif following in path:
            nodes = list(path)
            return Waits(tuple(nodes[nodes.index(following) :]), frozenset(nodes))
        elif following not in seen:
            seen[following] = path[following] = None
            ways.append(iter(neighbours.get(following, ())))
    return Waits((), frozenset())
