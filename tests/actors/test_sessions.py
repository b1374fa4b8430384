"""Where conversations were served last, and what of them is cached there."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors import sessions
from herd.actors.sessions import Sessions
from herd.policy.values import Ask
from herd.types import Api, NodeId, Tokens

A, B = NodeId("a"), NodeId("b")
FIRST = Ask("m", Api.CHAT, prompt_tokens=Tokens(100), session="talk")
NEXT = replace(FIRST, prompt_tokens=Tokens(250), continues=True)
ANYBODY = Ask("m", Api.CHAT, prompt_tokens=Tokens(30))


def test_a_conversation_goes_on_where_it_was_served_last() -> None:
    known = Sessions()
    known.placed(FIRST, A)
    known.placed(NEXT, B)

    turn = known.turn(NEXT)
    assert turn is not None
    assert (turn.node, known.cached(turn, "m", slots=1)) == (B, 250)


def test_nothing_is_known_of_a_first_request_nor_of_strangers() -> None:
    known = Sessions()
    known.placed(FIRST, A)

    assert known.turn(FIRST) is None  # whatever begins anew has nothing in common with what was said
    assert known.turn(replace(NEXT, session="other")) is None
    assert known.turn(replace(NEXT, model="other")) is None
    assert known.turn(replace(ANYBODY, continues=True)) is None


@given(slots=st.integers(1, 4), others=st.integers(0, 6))
def test_each_slot_of_a_server_keeps_its_latest_prompt(slots: int, others: int) -> None:
    known = Sessions()
    known.placed(FIRST, A)
    for _ in range(others):
        known.placed(ANYBODY, A)
        known.placed(ANYBODY, B)  # another node's slots are its own
        known.placed(replace(ANYBODY, model="other"), A)  # and so are another model's

    turn = known.turn(NEXT)
    assert turn is not None
    assert known.cached(turn, "m", slots) == (100 if others < slots else 0)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    monkeypatch.setattr(sessions, "MAX_PAIRS", 2)
    known = Sessions()
    for number in range(5):
        known.placed(replace(FIRST, session=f"talk-{number}"), NodeId(f"n{number}"))

    kept = [number for number in range(5) if known.turn(replace(NEXT, session=f"talk-{number}")) is not None]
    assert kept == [3, 4]
    turn = known.turn(replace(NEXT, session="talk-3"))
    assert turn is not None
    assert known.cached(turn, "m", slots=1) == 100
