"""The dashboard of a fleet under all that a fleet may be: as many rows as the screen has, none wider than it."""

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from herd.cli.fleet.seen import Seen, connected, heard, lost
from herd.cli.fleet.state import Shown, TopState, pressed
from herd.cli.fleet.view import frame
from herd.cli.live.cells import Look, Size
from tests.cli.fleets import NOW, REQUESTS, crowd, detail, request
from tests.cli.pictures import NASTY, holds, looks, words

KEYS = (
    "up",
    "down",
    "left",
    "right",
    "enter",
    "esc",
    "backspace",
    "tab",
    "page-up",
    "page-down",
    "home",
    "end",
    *"srdupyn/?xj",
)
sizes = st.builds(Size, st.integers(20, 300), st.integers(5, 100))
fleets = st.tuples(words, st.integers(0, 100), st.integers(0, 2**32))  # words, how many nodes, and a seed


def heard_of(words: Sequence[str], count: int, seed: int) -> Seen:
    """A fleet of so many machines, and requests and happenings with the same words in them."""
    status = crowd([f"{words[number % len(words)]}{number or ''}" for number in range(count)], seed)
    seen = heard(connected(Seen(url=words[0]), NOW), "status", status)
    asked = [
        request(number, word, None, model=word, client=word, arrived=1e300, total_s=1e300, first_token_s=float("nan"))
        for number, word in enumerate(words)
    ]
    seen = heard(seen, "requests", {"requests": asked + REQUESTS})
    told = [{"number": number, "at": -1e300, "kind": word, "text": word} for number, word in enumerate(words)]
    seen = heard(seen, "happenings", {"happenings": told})
    return heard(seen, "node", detail(status["nodes"][0])) if status["nodes"] else seen


@given(fleets, sizes, looks, st.lists(st.sampled_from(KEYS), max_size=8))
@settings(max_examples=60)
def test_any_fleet_fits_any_screen_whatever_is_pressed(
    fleet: tuple[list[str], int, int], size: Size, look: Look, keys: list[str]
) -> None:
    seen, state, shown = heard_of(*fleet), TopState(), Shown()
    for key in keys:
        state, _ = pressed(state, key, seen, shown)
        shown = frame(state, seen, size, now=NOW, look=look).shown
    holds(frame(state, seen, size, now=NOW, look=look), size, look)
    holds(frame(state, lost(seen, "".join(fleet[0]), NOW), size, now=NOW, look=look), size, look)


def test_a_hundred_nodes_that_join_leave_and_flap_break_nothing_and_the_choice_stays() -> None:
    chosen = random.Random(7)  # the same every time
    everyone = [f"{NASTY[number % len(NASTY)]} {number}" for number in range(100)]
    state, seen = TopState(selected=everyone[7]), connected(Seen(), NOW)
    there = set(everyone)
    for step in range(40):
        there ^= set(chosen.sample(everyone, 30))
        seen = heard(seen, "status", crowd([name for name in everyone if name in there], step))
        size = Size(chosen.randint(60, 300), chosen.randint(8, 100))
        state, _ = pressed(state, chosen.choice("srpp"), seen)
        picture = frame(state, seen, size, now=NOW)
        holds(picture, size, Look())
        assert state.selected == everyone[7]
        listed = any(node.name == state.selected for node in state.picture(seen).nodes)
        marks = [row for row in picture.rows if row and row[0].text == "\u25b8 "]
        assert len(marks) == listed
