"""Who waits for whom: a cycle is found if there is one."""

from hypothesis import given
from hypothesis import strategies as st

from herd.runtime.waits import find_cycle

Edges = list[tuple[int, int]]

nodes = st.integers(0, 6)


def reached(start: int, edges: Edges) -> set[int]:
    """All who are waited for from `start` on; `start` itself if it is in a cycle."""
    found: set[int] = set()
    todo = [start]
    while todo:
        node = todo.pop()
        fresh = {waited_for for waiter, waited_for in edges if waiter == node} - found
        found |= fresh
        todo += fresh
    return found


@given(st.lists(st.tuples(nodes, nodes), max_size=20))
def test_a_cycle_is_found_if_there_is_one_that_can_be_reached(edges: Edges) -> None:
    waits = find_cycle(0, edges)
    reachable = {0, *reached(0, edges)}
    assert bool(waits.cycle) == any(node in reached(node, edges) for node in reachable)
    if waits.cycle:
        assert set(zip(waits.cycle, (*waits.cycle[1:], waits.cycle[0]), strict=True)) <= set(edges)
        assert {0, *waits.cycle} <= waits.waiters <= reachable
        assert all(waits.cycle[0] in reached(node, edges) for node in waits.waiters)


def test_many_ways_to_the_same_place_are_looked_along_once() -> None:
    """There are some trillions of them."""
    edges = [(number, number + step) for number in range(60) for step in (1, 2)]
    assert find_cycle(0, edges).cycle == ()
