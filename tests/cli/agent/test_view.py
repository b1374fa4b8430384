"""The dashboard of one machine as a picture, at the sizes that terminals have, and under all that an agent may say."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.actors.desk import AgentDocument, ShownServer, ShownWeek
from herd.cli.agent.state import AgentState, pressed, told
from herd.cli.agent.view import AgentFrame, frame
from herd.cli.live.bars import age
from herd.cli.live.cells import Look, Size
from herd.policy.values import Reason
from herd.types import BackendId, Seconds
from tests.cli.agents import CUPBOARD, NEW, STUDIO, model, nasty
from tests.cli.fleets import NOW
from tests.cli.pictures import holds, looks, words
from tests.cli.snapshot import matches_snapshot, text_of

SMALL, MIDDLE, LARGE = Size(80, 24), Size(120, 40), Size(200, 60)


pytestmark = pytest.mark.usefixtures("in_utc")


def drawn(size: Size, document: AgentDocument | None = STUDIO, *keys: str, plain: bool = False) -> AgentFrame:
    state, look = AgentState(), Look(plain=plain, colour=not plain)
    picture = frame(state, document, size, now=NOW, look=look)
    for key in keys:
        state, _ = pressed(state, key, document, picture.hidden)
        picture = frame(state, document, size, now=NOW, look=look)
    return picture


def lines(size: Size, document: AgentDocument | None = STUDIO, *keys: str) -> list[str]:
    return text_of(drawn(size, document, *keys).rows).splitlines()


def lines_in(state: AgentState, document: AgentDocument) -> list[str]:
    return text_of(frame(state, document, SMALL, now=NOW).rows).splitlines()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("agent-80x24", lambda: drawn(SMALL)),
        ("agent-120x40", lambda: drawn(MIDDLE)),
        ("agent-200x60", lambda: drawn(LARGE)),
        ("agent-80x24-ascii", lambda: drawn(SMALL, plain=True)),
        ("agent-40x12", lambda: drawn(Size(40, 12))),
        ("agent-20x5", lambda: drawn(Size(20, 5))),
        ("agent-away-80x24", lambda: drawn(SMALL, CUPBOARD)),
        ("agent-new-80x24", lambda: drawn(SMALL, NEW)),
        ("agent-help-80x24", lambda: drawn(SMALL, STUDIO, "?")),
    ],
)
def test_snapshot(name: str, make: Callable[[], AgentFrame]) -> None:
    matches_snapshot(name, text_of(make().rows))


def test_before_the_agent_has_said_anything_the_picture_waits() -> None:
    assert lines(SMALL, None)[1] == "  waiting for the agent"


def test_what_does_not_answer_stands_before_what_does() -> None:
    servers = [line for line in lines(SMALL, CUPBOARD) if "127.0.0.1" in line and "http" in line]
    assert servers[0].endswith("http://127.0.0.1:8080 · connection refused")
    assert servers[1].endswith("ollama 0.33.0 · http://127.0.0.1:11434")


def test_a_model_that_makes_an_image_shows_how_far_it_is() -> None:
    document = replace(STUDIO, models=(replace(model("z-image-turbo", 12.0, resident=True), step=4, steps=9),))
    assert any(line.strip().startswith("z-image-turbo, step 4 of 9 ") for line in lines(SMALL, document))


def test_every_pause_is_told() -> None:
    pauses = (Reason("manual", "is paused by hand", Seconds(NOW - 60.0), Seconds(NOW + 3600.0)), *STUDIO.pauses)
    shown = lines(MIDDLE, replace(STUDIO, pauses=pauses))
    assert " paused   is paused by hand since 07:59 until 09:00" in shown
    assert "          is in a meeting since 07:45: its camera is in use" in shown


def test_the_models_that_there_is_no_room_for_come_by_the_arrow_keys_and_no_more() -> None:
    assert not any("gemma11" in line for line in lines(SMALL))
    assert any("gemma11" in line for line in lines(SMALL, STUDIO, "end"))
    assert lines(SMALL, STUDIO, *["down"] * 99) == lines(SMALL, STUDIO, "end")
    assert lines(SMALL, STUDIO, "end", *["up"] * 99) == lines(SMALL, STUDIO, "end", "home") == lines(SMALL)


def test_a_held_view_stays_and_says_so() -> None:
    state, _ = pressed(AgentState(), "p", STUDIO)
    shown = lines_in(state, CUPBOARD)
    assert "view held" in shown[0]
    assert any("llama3.3" in line for line in shown)
    state, _ = pressed(state, "p", CUPBOARD)
    assert any("looking for" in line for line in lines_in(state, CUPBOARD))


def test_the_last_row_says_what_came_of_a_key() -> None:
    assert lines_in(told(AgentState(), "this machine is paused"), STUDIO)[-1] == " this machine is paused"


def test_very_many_servers_leave_room_for_the_rest() -> None:
    servers = tuple(ShownServer(BackendId(str(one)), f"http://127.0.0.1:{one}", "ollama") for one in range(40))
    shown = lines(SMALL, replace(STUDIO, servers=servers))
    assert any("and 36 more" in line for line in shown)
    assert any("requests" in line for line in shown)


def test_a_week_of_which_nothing_is_known_is_not_drawn() -> None:
    for week in (ShownWeek((), ()), ShownWeek((0.5,) * 168, (0.5,) * 3), ShownWeek((None,) * 168, (0.0,) * 168)):
        assert any("nothing is known of it yet" in line for line in lines(MIDDLE, replace(STUDIO, week=week)))


agents = st.builds(
    nasty,
    words,
    st.integers(0, 90),
    st.sampled_from((0.0, -1e300, 1e300, math.nan, math.inf, NOW)),
)
keys = st.sampled_from(("up", "down", "page-down", "end", "home", "?", "p", "x", "j", "esc"))


@given(agents, st.builds(Size, st.integers(1, 300), st.integers(1, 100)), looks, st.lists(keys, max_size=6))
@settings(max_examples=60)
def test_any_agent_fits_any_screen_whatever_is_pressed(
    document: AgentDocument, size: Size, look: Look, pressing: list[str]
) -> None:
    state, hidden = AgentState(), 0
    for key in pressing:
        state, _ = pressed(state, key, document, hidden)
        hidden = frame(state, document, size, now=NOW, look=look).hidden
    holds(frame(state, document, size, now=NOW, look=look), size, look)


def test_ages_are_told_in_words_that_do_not_change_all_the_time() -> None:
    told_as = {-5.0: "0 s", 12.9: "12 s", 150.0: "2 min", 7500.0: "2 h", 400_000.0: "4 d", 1e300: "?", math.nan: "?"}
    assert {value: age(value) for value in told_as} == told_as
