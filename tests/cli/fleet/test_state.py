"""What keys make of what a person wants to see."""

import pytest

from herd.cli.fleet.seen import Seen, heard
from herd.cli.fleet.state import (
    MAX_FILTER,
    Action,
    Drain,
    Panel,
    Quit,
    Resume,
    Shown,
    Sort,
    TopState,
    listed,
    pressed,
    told,
)
from herd.types import GiB
from tests.cli.fleets import HOUSE, PAUSED, house, node, status_of


def after(state: TopState, *keys: str, seen: Seen | None = None, shown: Shown | None = None) -> TopState:
    for key in keys:
        state, action = pressed(state, key, seen or house(), shown or Shown())
        assert action is None
    return state


def last(state: TopState, *keys: str) -> tuple[TopState, Action | None]:
    return pressed(after(state, *keys[:-1]), keys[-1], house())


def names(state: TopState, seen: Seen | None = None) -> list[str]:
    return [node.name for node in listed(state, seen or house())]


def test_arrows_choose_a_node_and_stay_within_the_list() -> None:
    state = after(TopState(), "down")
    assert state.selected == "attic"
    assert after(state, "up", "up").selected == "attic"
    assert after(state, "j", "j", "k").selected == "cellar"
    assert after(state, "end").selected == "studio"
    assert after(state, "end", "down", "home").selected == "attic"
    assert after(TopState(), "end").selected == "studio"
    assert after(TopState(), "down", seen=Seen()).selected is None


def test_pages_are_as_long_as_the_last_picture_showed() -> None:
    assert after(TopState(), "down", "page-down", shown=Shown(page=2)).selected == "gaming-pc"
    assert after(TopState(), "end", "page-up", shown=Shown(page=2)).selected == "laptop-anna"


def test_a_choice_sticks_to_the_name_however_the_rows_move() -> None:
    state = after(TopState(), "down", "down")
    assert state.selected == "cellar"
    assert after(state, "s", "s", "r").selected == "cellar"
    away = heard(house(), "status", status_of([one for one in HOUSE if one["name"] != "cellar"]))
    assert after(state, "s", seen=away).selected == "cellar"  # it may come back
    assert after(state, "down", seen=away).selected == "attic"  # but one that is away has no neighbour


@pytest.mark.parametrize(
    ("presses", "sort", "order"),
    [
        (0, Sort.NAME, ["attic", "cellar", "gaming-pc", "laptop-anna", "laptop-ben", "studio"]),
        (1, Sort.STATE, ["attic", "laptop-anna", "laptop-ben", "cellar", "gaming-pc", "studio"]),
        (2, Sort.RUNNING, ["studio", "cellar", "gaming-pc", "attic", "laptop-anna", "laptop-ben"]),
        (3, Sort.WAITING, ["cellar", "studio", "attic", "gaming-pc", "laptop-anna", "laptop-ben"]),
        (4, Sort.MEMORY, ["laptop-ben", "laptop-anna", "cellar", "gaming-pc", "studio", "attic"]),
        (5, Sort.SPEED, ["gaming-pc", "studio", "cellar", "attic", "laptop-anna", "laptop-ben"]),
    ],
)
def test_nodes_are_sorted_by_each_column_with_most_of_it_first(presses: int, sort: Sort, order: list[str]) -> None:
    state = after(TopState(), *["s"] * presses)
    assert state.sort is sort
    assert names(state) == order
    turned = after(state, "r")
    assert turned.reverse
    assert names(turned) != order
    assert names(after(turned, "r")) == order


def test_sorting_goes_round_and_begins_each_column_in_its_own_order() -> None:
    state = after(TopState(), "r", "s")
    assert not state.reverse
    assert after(state, *["s"] * 5).sort is Sort.NAME


def test_numbers_in_names_count_as_numbers() -> None:
    seen = heard(
        Seen(), "status", status_of([node(name) for name in ("n10", "n9", "N1", "n", "1", "n9b", "\u00b2", "9" * 40)])
    )
    assert names(TopState(), seen) == ["1", "9" * 40, "n", "N1", "n9", "n9b", "n10", "\u00b2"]


def test_unknown_states_and_figures_can_be_sorted() -> None:
    odd = {
        "nodes": [{"name": "b", "state": "new"}, {"name": "a", "state": "ready", "memory_total": GiB}, {"name": "c"}]
    }
    seen = heard(Seen(), "status", odd)
    for sort in Sort:
        assert sorted(names(TopState(sort=sort), seen)) == ["a", "b", "c"]
    assert names(TopState(sort=Sort.MEMORY), seen) == ["a", "b", "c"]


def test_a_filter_is_typed_edited_kept_and_cleared() -> None:
    state = after(TopState(), "/", "G", "A", "x", "backspace")
    assert (state.typing, state.filter) == (True, "GA")
    assert names(state) == ["gaming-pc"]
    kept = after(state, "enter")
    assert (kept.typing, kept.filter) == (False, "GA")
    assert after(kept, "esc").filter == ""
    assert after(state, "esc") == TopState()
    assert after(state, *"q?dups").filter == "GAq?dups"  # letters are letters while it is typed
    assert len(after(state, *["x"] * 100).filter) == MAX_FILTER
    assert after(state, "page-up", "tab", "left").filter == "GA"


def test_a_filter_looks_into_names_states_and_models_in_memory() -> None:
    assert names(TopState(filter="paused")) == ["laptop-anna", "laptop-ben"]
    assert names(TopState(filter="QWEN")) == ["gaming-pc"]
    assert names(TopState(filter="xyzzy")) == []
    assert after(TopState(filter="paused"), "down", "down", "down").selected == "laptop-ben"


@pytest.mark.parametrize(("key", "order"), [("d", Drain("attic")), ("u", Resume("attic"))])
def test_orders_are_asked_about_before_they_are_given(key: str, order: Action) -> None:
    asked = after(TopState(), "down", key)
    assert asked.asking == order
    assert after(asked, "down", "x", " ") == asked  # other keys answer nothing
    state, action = pressed(asked, "y", house())
    assert (state.asking, action) == (None, order)
    for no in ("n", "esc", "q"):
        state, action = pressed(asked, no, house())
        assert (state.asking, action, state.message) == (None, None, "attic stays as it is")


def test_orders_are_for_the_node_that_is_shown_or_chosen_and_is_there() -> None:
    assert after(TopState(), "d").message == "choose a node first, with the arrow keys"
    assert after(TopState(selected="nobody"), "u").asking is None
    assert after(TopState(), "enter").focused is None
    assert after(TopState(), "down", "enter", "right", "d").asking == Drain("cellar")


def test_a_node_is_shown_whole_scrolled_and_left() -> None:
    state = after(TopState(), "down", "enter", "down", "down", shown=Shown(bottom=9))
    assert (state.focused, state.selected, state.scroll) == ("attic", "attic", 2)
    assert after(state, "up", "up", "up").scroll == 0
    assert after(state, "end", "page-down", shown=Shown(bottom=9)).scroll == 9
    neighbour = after(state, "right")
    assert (neighbour.focused, neighbour.scroll) == ("cellar", 0)
    assert after(neighbour, "left", "left").focused == "attic"
    assert after(state, "esc") == TopState(selected="attic")


def test_panels_take_turns_and_esc_goes_back_step_by_step() -> None:
    state, seen = TopState(), []
    for _ in range(5):
        state = after(state, "tab")
        seen.append(state.panel)
    assert seen == [Panel.NODES, Panel.REQUESTS, Panel.QUEUES, Panel.HAPPENINGS, Panel.ALL]
    requests = after(TopState(), "tab", "tab", "down", "down", shown=Shown(bottom=1))
    assert (requests.panel, requests.scroll, requests.selected) == (Panel.REQUESTS, 1, None)
    assert after(requests, "esc") == TopState()
    state = after(TopState(), "/", "a", "enter", "down", "tab", "enter")
    assert (state.focused, state.panel) == ("attic", Panel.NODES)
    steps = [state := after(state, "esc") for _ in range(4)]
    assert [(step.focused, step.panel, step.filter, step.selected) for step in steps] == [
        (None, Panel.NODES, "a", "attic"),
        (None, Panel.ALL, "a", "attic"),
        (None, Panel.ALL, "", "attic"),
        (None, Panel.ALL, "", None),
    ]


@pytest.mark.parametrize("key", ["p", " "])
def test_a_paused_picture_is_the_one_that_was_there(key: str) -> None:
    before = house()
    state = after(TopState(), key, seen=before)
    now = heard(heard(before, "status", status_of([])), "node", {"name": "studio"})
    assert state.picture(now).nodes == before.nodes
    assert state.picture(now).detail == {"name": "studio"}  # what is asked for now is shown
    assert after(state, "down", seen=now).selected == "attic"
    assert after(state, key, seen=now).held is None
    assert TopState().picture(now) is now


def test_help_is_left_by_any_key_which_does_nothing_else() -> None:
    state = after(TopState(), "?")
    assert state.help
    assert after(state, "q") == TopState()


def test_q_quits_and_only_where_it_is_no_letter() -> None:
    assert last(TopState(), "q")[1] == Quit()
    assert last(TopState(), "down", "enter", "q")[1] == Quit()
    assert last(TopState(), "/", "q")[1] is None


def test_a_message_stays_until_the_next_key() -> None:
    state = told(TopState(), "attic drains")
    assert state.message == "attic drains"
    assert after(state, "ctrl-l").message == "attic drains"
    assert after(state, "x") == TopState()


def test_paused_nodes_can_be_resumed() -> None:
    seen = heard(Seen(), "status", status_of([node("solo", "paused", reasons=[PAUSED])]))
    state = after(TopState(), "down", "u", seen=seen)
    assert pressed(state, "Y", seen)[1] == Resume("solo")
