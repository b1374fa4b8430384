"""Rows put together cell by cell, and small pictures of numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from herd.cli.live.bars import bar, figure, gib, percent, seconds
from herd.cli.live.cells import Column, Line, Look, beside, clean, fitted, parts_line, placed, rule, table_line
from herd.types import GiB, MiB
from tests.cli.snapshot import text_of

COLUMNS: tuple[Column[str], ...] = (
    Column("name", lambda text, _: ((text, ""),), 4, 10, 0),
    Column("size", lambda text, _: ((str(len(text)), ""),), 4, 4, 2, right=True),
    Column("loud", lambda text, _: ((text.upper(), ""),), 6, 12, 1),
)


def line(width: int, *texts: str, look: Look | None = None) -> str:
    made = Line(look or Look(), width)
    for text in texts:
        made.add(text)
    return text_of([made.row()]).removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("studio", 8, "studio  "),
        ("studio", 6, "studio"),
        ("studio", 5, "stud…"),
        ("studio", 1, "…"),
        ("\u6f22\u5b57", 4, "\u6f22\u5b57"),
        ("\u6f22\u5b57", 3, "\u6f22…"),
        ("\u6f22\u5b57", 2, "… "),
        ("a\nb", 6, "a\\nb  "),
        ("u\u0308ber", 6, "\u00fcber  "),
    ],
)
def test_a_text_takes_the_cells_that_it_is_given(text: str, width: int, shown: str) -> None:
    assert fitted(text, width, plain=False, pad=True) == shown
    assert cell_len(shown) == width


def test_ascii_has_a_sign_for_what_it_cannot_say() -> None:
    assert fitted("\u6f22\u5b57", 4, plain=True, pad=True) == "??  "
    assert fitted("studio", 4, plain=True) == "stu~"
    assert clean("\u2764\ufe0f") == "\u2764"


@given(st.text(max_size=40), st.integers(1, 30), st.booleans(), st.booleans())
def test_any_text_fits(text: str, width: int, plain: bool, right: bool) -> None:
    assert cell_len(fitted(text, width, plain, True, right)) == width
    assert cell_len(fitted(text, width, plain)) <= width


def test_a_line_is_cut_where_its_row_ends() -> None:
    assert line(10, "studio", " is ready") == "studio is…"
    assert line(6, "studio", "more") == "studio"
    assert text_of([Line(Look(), 4).add("ab").row(whole=True)]) == "ab\n"
    assert sum(segment.cell_length for segment in Line(Look(), 4).add("ab").row(whole=True)) == 4


@given(st.integers(1, 60))
def test_columns_come_one_by_one_and_never_go_as_there_is_more_room(width: int) -> None:
    now, more = placed(COLUMNS, width, 1), placed(COLUMNS, width + 1, 1)
    assert {column.title for column, _ in now} <= {column.title for column, _ in more}
    assert sum(cells for _, cells in now) + len(now) - 1 <= width
    assert all(cells <= column.most for column, cells in now)
    shown = "".join(segment.text for segment in table_line(Line(Look(), width), now, "studio", 1).row())
    assert cell_len(shown) <= width


def test_columns_keep_their_order_and_the_less_important_go_first() -> None:
    titles = [[column.title for column, _ in placed(COLUMNS, width, 1)] for width in (3, 10, 11, 15, 16, 60)]
    two, three = ["name", "loud"], ["name", "size", "loud"]
    assert titles == [["name"], ["name"], two, two, three, three]
    assert [cells for _, cells in placed(COLUMNS, 60, 1)] == [10, 4, 12]


def test_of_a_sentence_the_least_important_parts_go_first() -> None:
    parts = [(0, (("herd", ""),)), (2, (("at home", ""),)), (1, (("3 nodes", ""),))]
    shown = [text_of([parts_line(Line(Look(), width), parts, ", ").row()])[:-1] for width in (24, 22, 21, 13, 12, 3)]
    assert shown == ["herd, at home, 3 nodes"] * 2 + ["herd, 3 nodes"] * 2 + ["herd", "he…"]


def test_blocks_stand_side_by_side_however_long_they_are() -> None:
    look = Look(plain=True)
    left, right = [Line(look, 4).add("ab").row()], [Line(look, 4).add(text).row() for text in ("x", "y")]
    assert text_of(beside(left, right, 4, look)) == "ab   | x\n     | y\n"


def test_a_rule_says_what_comes_and_what_there_is_more_where_there_is_room() -> None:
    look = Look(plain=True)
    assert text_of([rule(look, 20, "nodes", "+2 more")]) == "- nodes -- +2 more -\n"
    assert text_of([rule(look, 18, "nodes", "+2 more")]) == "- nodes ----------\n"


@given(st.none() | st.floats(), st.integers(0, 40), st.booleans())
def test_a_bar_is_as_wide_as_it_is_to_be(share: float | None, width: int, plain: bool) -> None:
    text = "".join(piece for piece, _ in bar(share, width, Look(plain=plain)))
    assert cell_len(text) == width
    assert text.isascii() or not plain


def test_a_bar_is_as_full_as_the_share() -> None:
    def shown(share: float | None) -> str:
        return "".join(text for text, _ in bar(share, 4, Look()))

    assert [shown(share) for share in (0.0, 0.5, 0.6, 1.0, 7.0, -1.0, None)] == [
        "────", "━━──", "━━╸─", "━━━━", "━━━━", "────", "····",
    ]  # fmt: skip
    assert [bar(share, 4, Look())[0][1] for share in (0.5, 0.9, 0.99)] == ["good", "warn", "bad"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), (math.nan, "-"), (0.0, "0.00 s"), (0.314, "0.31 s"), (9.994, "9.99 s"), (9.996, "10.0 s"),
        (99.94, "99.9 s"), (99.96, "1m40s"), (200.0, "3m20s"), (5999.0, "99m59s"), (6000.0, "1h40m"), (7512.0, "2h05m"),
        (400_000.0, "4d"), (-1.0, "0.00 s"),
    ],
)  # fmt: skip
def test_times_are_short(value: float | None, shown: str) -> None:
    assert seconds(value) == shown
    assert len(shown) <= 7


@given(st.none() | st.floats(max_value=1e9))
def test_figures_take_five_letters_and_times_seven(value: float | None) -> None:
    assert len(seconds(value)) <= 7
    assert len(figure(None if value is None else abs(value))) <= 5
    assert len(percent(value)) <= 4


def test_figures_have_as_many_digits_as_matter() -> None:
    assert [figure(value) for value in (0.0, 9.34, 99.94, 120.4, 9999.0, 12_345.0, 1e9)] == [
        "0.0", "9.3", "99.9", "120", "9999", "12k", "much",
    ]  # fmt: skip
    assert [percent(share) for share in (0.0, 0.804, 1.0, None, math.inf)] == ["0%", "80%", "100%", "?", "?"]
    assert [gib(size) for size in (0, 7782 * MiB, 8 * GiB, 10 * GiB, 63 * GiB + 700 * MiB)] == [
        "0G", "7.6G", "8G", "10G", "64G",
    ]  # fmt: skip
