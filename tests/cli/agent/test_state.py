"""Keys at an agent's dashboard."""

import pytest

from herd.cli.agent.state import AgentState, Wish, pressed, told
from tests.cli.agents import CUPBOARD, STUDIO


@pytest.mark.parametrize(("key", "wish"), [("q", Wish.QUIT), ("x", Wish.PAUSE), ("e", Wish.RESUME)])
def test_what_a_key_asks_for(key: str, wish: Wish) -> None:
    assert pressed(AgentState(), key, STUDIO) == (AgentState(), wish)


def test_a_message_stays_until_the_next_key() -> None:
    state = told(AgentState(), "this machine is paused")
    assert state.message == "this machine is paused"
    assert pressed(state, "left", STUDIO) == (AgentState(), None)


def test_help_comes_and_goes() -> None:
    for key in ("?", "esc", "enter", " "):
        state, _ = pressed(AgentState(), "?", STUDIO)
        assert state.helping
        assert pressed(state, key, STUDIO) == (AgentState(), None)


@pytest.mark.parametrize("key", ["p", " "])
def test_a_view_is_held_at_what_was_shown_and_let_go(key: str) -> None:
    state, _ = pressed(AgentState(), key, STUDIO)
    assert state.held == STUDIO
    assert pressed(state, "down", CUPBOARD)[0].held == STUDIO
    assert pressed(state, key, CUPBOARD) == (AgentState(), None)


def test_scrolling_ends_where_the_models_do() -> None:
    state, seen = AgentState(), []
    for key in ("up", "down", "page-down", "j", "k", "home", "end", "page-up"):
        state, _ = pressed(state, key, STUDIO, hidden=4)
        seen.append(state.scroll)
    assert seen == [0, 1, 4, 4, 3, 0, 4, 0]
