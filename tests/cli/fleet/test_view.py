"""The dashboard of a fleet as a picture, at the sizes that terminals have."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from herd.cli.fleet.seen import Seen, heard, lost
from herd.cli.fleet.state import TopState, pressed, told
from herd.cli.fleet.view import Frame, frame
from herd.cli.live.cells import Look, Size
from tests.cli.fleets import HOUSE, NOW, detail, house, node, status_of
from tests.cli.snapshot import matches_snapshot, text_of

SMALL, MIDDLE, LARGE = Size(80, 24), Size(120, 40), Size(200, 60)


pytestmark = pytest.mark.usefixtures("in_utc")


def after(*keys: str, seen: Seen | None = None) -> TopState:
    state = TopState()
    for key in keys:
        state, _ = pressed(state, key, seen or house())
    return state


def crowded() -> Seen:
    return heard(
        house(), "status", status_of([node(f"node-{number}", resident=["qwen3:32b"]) for number in range(100)])
    )


def drawn(size: Size, *keys: str, seen: Seen | None = None, look: Look | None = None) -> Frame:
    seen = seen or house()
    return frame(after(*keys, seen=seen), seen, size, now=NOW, look=look or Look())


def lines(size: Size, *keys: str, seen: Seen | None = None, look: Look | None = None) -> list[str]:
    return text_of(drawn(size, *keys, seen=seen, look=look).rows).splitlines()


REFUSED = (
    "the fleet is changed on the router's own machine only: go there, send its admin key (herd --admin-key), or start "
    "it with --lan-admin, which lets the whole local network"
)


@pytest.mark.parametrize("why", ["refused", "lost"])
def test_a_sentence_that_says_what_to_do_is_there_to_its_end(why: str) -> None:
    seen = house() if why == "refused" else lost(house(), REFUSED, NOW)
    state = told(after(seen=seen), REFUSED) if why == "refused" else after(seen=seen)
    made = text_of(frame(state, seen, SMALL, now=NOW, look=Look()).rows).splitlines()
    assert len(made) == SMALL.height
    assert " ".join(" ".join(made[-3:]).split()) == REFUSED
    low = text_of(frame(state, seen, Size(80, 8), now=NOW, look=Look()).rows).splitlines()
    assert len(low) == 8
    assert low[-1].startswith(" the fleet is changed")


def test_one_of_anything_is_one() -> None:
    status = status_of([node("den")])
    status["totals"]["models"] = 1
    assert "1 node, 1 serving · 1 model · " in lines(MIDDLE, seen=heard(house(), "status", status))[0]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("fleet-80x24", lambda: drawn(SMALL)),
        ("fleet-120x40", lambda: drawn(MIDDLE)),
        ("fleet-200x60", lambda: drawn(LARGE)),
        ("fleet-80x24-ascii", lambda: drawn(SMALL, "down", look=Look(plain=True, colour=False))),
        ("fleet-40x12", lambda: drawn(Size(40, 12))),
        ("fleet-20x5", lambda: drawn(Size(20, 5))),
        ("crowd-80x24", lambda: drawn(SMALL, *["down"] * 50, seen=crowded())),
        ("crowd-200x60", lambda: drawn(LARGE, "s", seen=crowded())),
        ("node-80x24", lambda: drawn(SMALL, *["down"] * 6, "enter", seen=whole())),
        ("node-120x40", lambda: drawn(MIDDLE, *["down"] * 6, "enter", seen=whole())),
        ("node-120x40-ascii", lambda: drawn(MIDDLE, *["down"] * 6, "enter", seen=whole(), look=Look(plain=True))),
        ("requests-80x24", lambda: drawn(SMALL, "tab", "tab")),
        ("help-80x24", lambda: drawn(SMALL, "?")),
        ("empty-80x24", lambda: drawn(SMALL, seen=heard(Seen(), "status", status_of([])))),
    ],
)
def test_snapshot(name: str, make: Callable[[], Frame]) -> None:
    matches_snapshot(name, text_of(make().rows))


def whole() -> Seen:
    return heard(house(), "node", detail(HOUSE[0]))


def test_a_model_that_makes_an_image_shows_how_far_it_is() -> None:
    drawing = {"name": "z-image-turbo", "resident": True, "limit": 1, "size": 0, "step": 4, "steps": 9}
    seen = heard(Seen(), "status", status_of([{**HOUSE[0], "models": [drawing]}]))
    assert "  z-image-turbo, step 4 of 9" in lines(SMALL, "down", "enter", seen=seen)


def test_before_the_router_has_said_anything_the_picture_says_what_it_waits_for() -> None:
    shown = lines(SMALL, seen=Seen(url="http://studio.local:11435"))
    assert "waiting for what the router at http://studio.local:11435 says" in shown[2]
    assert shown[0].endswith("connecting")


def test_a_lost_router_is_told_of_above_what_was_seen_of_it() -> None:
    seen = lost(house(), "http://studio.local:11435 does not answer", NOW - 75.0)
    shown = lines(SMALL, seen=seen)
    assert shown[0].endswith("○ lost for 75 s")
    assert shown[-1] == " http://studio.local:11435 does not answer"
    assert any("gaming-pc" in line for line in shown)


def test_a_paused_picture_stays_and_says_so() -> None:
    state = after("p")
    later = heard(house(), "status", status_of([node("newcomer")]))
    shown = text_of(frame(state, later, SMALL, now=NOW).rows)
    assert "paused ● live" in shown
    assert "gaming-pc" in shown
    assert "newcomer" not in shown
    state, _ = pressed(state, "p", later)
    assert "newcomer" in text_of(frame(state, later, SMALL, now=NOW).rows)


def test_the_last_line_asks_tells_and_takes_the_filter() -> None:
    assert lines(SMALL, "down", "d")[-1].startswith(" (y/n) drain attic?")
    assert lines(SMALL, "down", "u")[-1].startswith(" (y/n) resume attic?")
    assert lines(SMALL, "/", "g", "a", "m")[-1].startswith(" filter: gam")
    state = told(TopState(), "attic is draining")
    assert text_of(frame(state, house(), SMALL, now=NOW).rows).splitlines()[-1] == " attic is draining"
    assert lines(SMALL)[-1].endswith("? help  q quit")


def test_a_filter_leaves_the_others_out_and_says_how_many() -> None:
    shown = "\n".join(lines(SMALL, "/", "G", "A", "M", "enter"))
    assert "1 of 6 match 'GAM'" in shown
    assert "gaming-pc" in shown
    assert "laptop-ben" not in shown
    assert "none of 6 nodes matches" in "\n".join(lines(SMALL, "/", "x", "y", "enter"))


def test_what_has_no_room_is_counted() -> None:
    shown = lines(SMALL, seen=crowded())
    nodes = [line for line in shown if line.startswith("  node-")]
    assert f"+{100 - len(nodes)} more" in shown[1]
    assert 8 <= len(nodes) < 20
    few = lines(Size(30, 6), seen=crowded())
    assert "  +98 more" in few


def test_the_chosen_node_is_always_in_the_picture() -> None:
    seen = crowded()
    state = TopState(selected="node-77")
    for size in (Size(20, 5), SMALL, MIDDLE, LARGE):
        assert "▸ node-77" in text_of(frame(state, seen, size, now=NOW).rows)


def test_the_chosen_node_says_in_a_second_line_what_has_no_column() -> None:
    shown = lines(SMALL, *["down"] * 3)
    at = next(number for number, line in enumerate(shown) if line.startswith("▸ gaming-pc"))
    assert shown[at + 1] == "    qwen3:32b · RTX 4090 24G · GPU 22/24G · 60% free now, 25% next hour"
    assert not any("RTX 4090" in line for line in lines(SMALL))
    assert sum("RTX 4090" in line for line in lines(LARGE, "down")) == 1


def test_a_page_is_as_long_as_the_list_in_the_picture() -> None:
    seen = crowded()
    first = drawn(LARGE, "down", seen=seen)
    state, _ = pressed(after("down", seen=seen), "page-down", seen, first.shown)
    assert state.selected == f"node-{first.shown.page}"


def test_a_node_is_scrolled_to_its_end_and_no_further() -> None:
    seen, state = whole(), after(*["down"] * 6, "enter")
    shown = frame(state, seen, SMALL, now=NOW).shown
    for key in ("end", "page-down", "down"):
        state, _ = pressed(state, key, seen, shown)
    assert state.scroll == shown.bottom
    assert "not known yet" in text_of(frame(state, seen, SMALL, now=NOW).rows).splitlines()[-2]
    state, _ = pressed(state, "up", seen, shown)
    assert state.scroll == shown.bottom - 1


def test_a_node_that_has_gone_or_is_told_of_in_another_way_is_said_to_be_so() -> None:
    state = TopState(selected="nobody", focused="nobody")
    assert "not in the fleet any more" in text_of(frame(state, house(), SMALL, now=NOW).rows)
    odd = heard(Seen(), "status", {"nodes": [{"name": "odd", "state": "ready"}]})
    state = TopState(selected="odd", focused="odd")
    assert "is it of another version?" in text_of(frame(state, odd, SMALL, now=NOW).rows)


def test_unknown_figures_are_shown_as_such() -> None:
    seen = heard(Seen(), "status", {"nodes": [{"name": "studio", "state": "ready"}]})
    row = next(line for line in lines(LARGE, seen=seen) if "studio" in line).split()
    assert row == ["studio", "●", "ready", "?", "?", "-", "·" * 9, "?", "-", "?", "?", "?", "nothing", "in", "memory"]


def test_what_fails_is_marked_and_told() -> None:
    broken = {"state": "open", "failures": 3, "since": NOW - 9.0, "until": NOW + 60.0}
    one = node("cellar", resident=["qwen3:32b", "llama3.3:70b"], breaker=broken)
    one["models"][1]["breaker"] = {**broken, "state": "half-open"}
    one["models"][2]["breaker"] = {**broken, "state": "closed"}
    seen = heard(Seen(), "status", status_of([one]))
    shown = "\n".join(lines(LARGE, seen=seen))
    assert "  llama3.3:70b*, qwen3:32b!  " in shown
    assert "its link fails: left alone until 08:01" in shown
    assert "its link fails: left alone until 08:01" in "\n".join(lines(SMALL, seen=seen))
    assert "its link failed 3 times in a row, and it is left alone" in "\n".join(
        lines(SMALL, "down", "enter", seen=seen)
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (HOUSE[0], "M2 Ultra 192G"),
        (HOUSE[1], "RTX 4090 24G"),
        (HOUSE[4], "i5-6500 16G"),
        (node("two", gpus=[HOUSE[1]["gpus"][0]] * 2), "2x RTX 4090 48G"),
        (node("board", memory=(8, 1)), "8 cores 8G"),
        (node("simulated", cpu_name="8-core processor, dual-channel DDR5-5600", memory=(32, 1)), "8 cores 32G"),
    ],
)
def test_the_class_of_a_machine_is_said_in_a_word_or_two(entry: dict[str, object], said: str) -> None:
    seen = heard(Seen(), "status", {"nodes": [entry]})
    assert f"  {said}  " in next(line for line in lines(LARGE, seen=seen) if f"  {entry['name']} " in line)


def test_names_are_no_markup_obey_nothing_and_take_the_cells_that_they_take() -> None:
    nasty = [
        "[red]x[/red]",
        "a\x1b[2Jb",
        "back\bspace",
        "\u6f22\u5b57\u6f22\u5b57",
        "u\u0308ber",
        "\u2764\ufe0f",
        "\u202egnp.exe",
    ]
    shown = text_of(drawn(LARGE, seen=heard(Seen(), "status", status_of([node(name) for name in nasty]))).rows)
    for said in (
        "[red]x[/red]",
        "a\\x1b[2Jb",
        "back\\x08space",
        "\u6f22\u5b57\u6f22\u5b57",
        "\u00fcber",
        "\u2764 ",
        "\\u202egnp.exe",
    ):
        assert f"  {said} " in shown
    assert "\x1b" not in shown


def test_without_colours_there_are_none_and_ascii_is_ascii() -> None:
    seen = heard(whole(), "status", status_of([*HOUSE, node("\u6f22\u5b57")]))
    for keys in ((), ("down",), ("down", "enter"), ("down", "d"), ("?",), ("/",), ("tab", "tab", "tab")):
        shown = drawn(MIDDLE, *keys, seen=seen, look=Look(plain=True, colour=False))
        assert text_of(shown.rows).isascii()
        assert [part for row in shown.rows for part in row if part.style is not None and part.style.color] == []
    coloured = {part.text.strip(): part.style for row in drawn(MIDDLE).rows for part in row}
    style = coloured["◐ paused"]
    assert style is not None
    assert style.color is not None
    assert style.color.name == "yellow"


def test_a_picture_is_a_renderable_of_rich() -> None:
    console = Console(width=80, height=24, record=True, file=io.StringIO(), color_system=None)
    console.print(drawn(SMALL))
    assert console.export_text(styles=False).splitlines()[0] == lines(SMALL)[0]
