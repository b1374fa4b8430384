"""Whose turn it is: classes, then clients, then age."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.policy.turns import BATCH_SHARE, Turns
from herd.policy.values import Ticket
from herd.types import Priority, Seconds, TicketId


class Queue:
    """Turns, written with few words: `a1` is a ticket of client a that arrived at 1 s; in capitals it is batch's."""

    def __init__(self, *names: str) -> None:
        self.turns = Turns()
        self.come(*names)

    def come(self, *names: str) -> None:
        for name in names:
            priority = Priority.BATCH if name[0].isupper() else Priority.INTERACTIVE
            self.turns.add(name, Ticket(TicketId(name), name[0].lower(), Seconds(float(name[1:])), priority))

    def leave(self, *names: str) -> None:
        for name in names:
            self.turns.remove(name, granted=False)

    def grants(self, count: int = 10_000) -> str:
        """Who gets the next leases."""
        granted: list[str] = []
        while len(self.turns) and len(granted) < count:
            granted.append(self.turns.first())
            self.turns.remove(granted[-1], granted=True)
        return " ".join(granted)


def test_a_client_with_100_waiting_does_not_delay_anothers_one() -> None:
    queue = Queue(*(f"a{number}" for number in range(100)))
    queue.come("b100")
    assert queue.grants(2) == "a0 b100"


def test_clients_take_turns_and_one_that_comes_is_last_in_turn() -> None:
    queue = Queue("a1", "a2", "a3", "b4", "b5", "c6")
    assert queue.grants(2) == "a1 b4"
    queue.come("d7")
    assert queue.grants() == "c6 a2 b5 d7 a3"


def test_within_a_client_it_is_by_original_arrival() -> None:
    queue = Queue("a5", "a7", "b1", "a3", "a6")  # the third of a's was moved here, and is older
    assert queue.grants() == "a3 b1 a5 a6 a7"


def test_of_two_that_arrived_at_once_the_first_to_come_goes_first() -> None:
    queue = Queue("a1.0", "a1", "a01")
    assert queue.grants() == "a1.0 a1 a01"


def test_interactive_goes_before_batch_and_batch_is_not_starved() -> None:
    queue = Queue("B0", "B1", *(f"a{number}" for number in range(20)))
    granted = queue.grants().split()
    assert [number for number, name in enumerate(granted, 1) if name[0] == "B"] == [BATCH_SHARE, 2 * BATCH_SHARE]


def test_batch_gets_every_grant_when_nothing_interactive_waits_and_interactive_the_next_one() -> None:
    queue = Queue("B0", "B1", "C2")
    assert queue.grants(2) == "B0 C2"
    queue.come("a3")
    assert queue.grants() == "a3 B1"


def test_interactive_grants_before_batch_came_are_not_counted_against_them() -> None:
    queue = Queue(*(f"a{number}" for number in range(30)))
    queue.grants(20)
    queue.come("B30")
    assert queue.grants(BATCH_SHARE).split().index("B30") == BATCH_SHARE - 1


def test_a_batch_client_that_gives_up_and_comes_again_and_again_is_not_starved() -> None:
    queue = Queue(*(f"a{number}" for number in range(30)))
    for number in range(3):
        queue.come(f"B{number}")
        assert "B" not in queue.grants(2)
        queue.leave(f"B{number}")
    queue.come("B3")
    assert queue.grants(2)[-2:] == "B3"


def test_who_leaves_without_a_lease_takes_no_turn_wherever_in_line_it_stood() -> None:
    queue = Queue("a1", "a2", "a3", "b4", "b5", "C6", "C7")
    queue.leave("a2", "a1", "b5", "C6")
    assert queue.grants() == "a3 b4 C7"


def test_one_that_is_not_there_cannot_leave() -> None:
    with pytest.raises(KeyError):
        Queue("a1").leave("a2")


def test_nothing_is_remembered_of_those_who_are_gone() -> None:
    queue = Queue(*(f"{client}{number}" for client in "abcDEF" for number in range(3)))
    queue.leave("a0", "a1", "a2", "D0", "D1", "D2")
    assert [list(clients) for clients in queue.turns._lines.values()] == [["b", "c"], ["e", "f"]]
    queue.grants()
    assert (len(queue.turns), [list(clients) for clients in queue.turns._lines.values()]) == (0, [[], []])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcABC"), st.integers(0, 20)), max_size=60))
def test_nobody_is_passed_by_more_often_than_there_are_others(comers: list[tuple[str, int]]) -> None:
    """Of two clients of a class that wait all the time neither gets two grants more than the other."""
    names = list(dict.fromkeys(f"{client}{arrived}" for client, arrived in comers))
    queue = Queue(*names)
    granted = queue.grants().split()
    assert sorted(granted) == sorted(names)
    left = Counter(name[0] for name in names)
    had: Counter[str] = Counter()
    for name in granted:
        had[name[0]] += 1
        left[name[0]] -= 1
        of_class = [client for client in left if client.isupper() == name[0].isupper() and left[client]]
        assert (
            max((had[client] for client in of_class), default=0) - min((had[client] for client in of_class), default=0)
            <= 1
        )
