"""Tokens a second."""

from herd.actors.throughput import MAX_NODES, WINDOW_S, Throughput
from herd.types import Seconds


def test_a_minutes_tokens_count_and_no_others() -> None:
    made = Throughput()
    made.answered("a", 600, Seconds(0.0))
    made.answered("b", 30, Seconds(30.0))
    made.answered("a", 60, Seconds(59.0))
    assert made.rates(Seconds(59.0)) == {"a": 11.0, "b": 0.5}
    assert made.rates(Seconds(60.0)) == {"a": 1.0, "b": 0.5}
    assert made.rates(Seconds(59.0 + WINDOW_S)) == {}


def test_however_many_answers_there_are_all_count_of_as_many_nodes_as_there_can_be() -> None:
    made = Throughput()
    for _ in range(10_000):
        made.answered("a", 60, Seconds(0.0))
    for number in range(2 * MAX_NODES):
        made.answered(f"n{number}", 60, Seconds(0.5))
    rates = made.rates(Seconds(0.0))
    assert (rates["a"], len(rates)) == (10_000.0, MAX_NODES)


def test_what_a_model_server_makes_up_takes_nothing_away() -> None:
    made = Throughput()
    made.answered("a", 60, Seconds(0.0))
    made.answered("a", -(2**63), Seconds(0.0))
    assert made.rates(Seconds(0.0)) == {"a": 1.0}
