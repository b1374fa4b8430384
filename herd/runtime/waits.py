"""Who waits for whom. Pure."""

from collections import deque
from collections.abc import Hashable, Iterable
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def cycle_through(waiter: N, waited_for: N, edges: Iterable[tuple[N, N]]) -> tuple[N, ...]:
    """The shortest way from `waited_for` back to `waiter` along the edges (who waits, for whom).

    Returns:
        `waiter`, `waited_for`, and so on to the last one, which waits for `waiter`; empty if there is no way.
    """
    if waiter == waited_for:
        return (waiter,)
    neighbours: dict[N, list[N]] = {}
    for start, end in edges:
        neighbours.setdefault(start, []).append(end)
    came_from: dict[N, N] = {waited_for: waiter}
    queue = deque([waited_for])
    while queue:
        at = queue.popleft()
        for following in neighbours.get(at, ()):
            if following == waiter:
                way = [at]
                while way[-1] != waiter:
                    way.append(came_from[way[-1]])
                return tuple(reversed(way))
            if following not in came_from:
                came_from[following] = at
                queue.append(following)
    return ()
