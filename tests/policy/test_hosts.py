from dataclasses import replace
from itertools import permutations

from herd.policy.hosts import Host, best_host, holders
from herd.types import BackendId, Bytes, GiB, NodeId, NodeName, NodeState


def host(name: str, total: int = 16, free: int = 8, model: str = "", state: NodeState = NodeState.READY) -> Host:
    return Host(
        NodeId(name), NodeName(name), BackendId("ollama"), state, Bytes(total * GiB), Bytes(free * GiB), model=model
    )


def best(*hosts: Host) -> str | None:
    """Whoever is chosen, which must not depend on the order."""
    chosen = {found.name if (found := best_host(order)) else None for order in permutations(hosts)}
    assert len(chosen) == 1
    return chosen.pop()


def test_a_model_goes_where_it_is_already_else_to_the_most_memory_then_the_most_that_is_free() -> None:
    assert best(host("a", 8, model="m"), host("b", 64)) == "a"
    assert best(host("a", 8), host("b", 64, 1), host("c", 32, 32)) == "b"
    assert best(host("a", 64, 1), host("b", 64, 2)) == "b"
    assert best(host("b"), host("a"), host("c")) == "a"


def test_machines_that_take_nothing_new_are_left_alone() -> None:
    away = [host(state.value, 64, model="m", state=state) for state in (NodeState.PAUSED, NodeState.DRAINING)]
    assert best(*away) is None
    assert best(*away, host("slow", 8, state=NodeState.DEGRADED)) == "slow"
    assert best_host([]) is None


def test_those_that_have_a_model_are_asked_the_listed_build_first_and_the_paused_last() -> None:
    shown = replace(host("d", model="m"), digest="new")
    paused = host("a", model="m", state=NodeState.PAUSED)
    order = holders([host("c", model="m"), paused, host("b"), shown], "new")
    assert [one.name for one in order] == ["d", "c", "a"]
