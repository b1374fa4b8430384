"""Thoughts within a text, told from it however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.translation.thoughts import ThoughtSplitter


def split(*pieces: str) -> tuple[str, str]:
    splitter = ThoughtSplitter()
    found = [*[splitter.feed(piece) for piece in pieces], splitter.end()]
    return "".join(thought for thought, _ in found), "".join(text for _, text in found)


CASES = [
    ("Hi", ("", "Hi")),
    ("<think>hm</think>Hi", ("hm", "Hi")),
    ("\n<think>\nhm\n</think>\n\nHi there", ("hm\n", "Hi there")),
    ("<think>\n\n</think>\n\nHi", ("", "Hi")),
    ("<think>hm", ("hm", "")),
    ("<think>hm</thi", ("hm</thi", "")),
    ("<thi", ("", "<thi")),
    ("  Hi", ("", "  Hi")),
    ("The tag <think> opens </think> thoughts", ("", "The tag <think> opens </think> thoughts")),
    ("<think>a</think>b<think>c</think>d", ("a", "b<think>c</think>d")),
    ("", ("", "")),
    ("\n" * 40 + "<think>hm</think>", ("", "\n" * 40 + "<think>hm</think>")),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_what_is_thought_and_what_is_text(text: str, parts: tuple[str, str]) -> None:
    assert split(text) == parts
    assert split(*text) == parts


def test_white_space_without_end_is_not_waited_for() -> None:
    splitter = ThoughtSplitter()
    assert "".join(text for _, text in [splitter.feed("\n") for _ in range(100)]).count("\n") == 100


@given(st.lists(st.sampled_from(("<think>", "</think>", "<", "th", " ", "\n", "a"))), st.lists(st.integers(1, 4)))
def test_it_does_not_matter_how_a_text_is_cut(words: list[str], cuts: list[int]) -> None:
    text = whole = "".join(words)
    pieces = []
    for length in cuts:
        pieces.append(text[:length])
        text = text[length:]
    assert split(*pieces, text) == split(whole)


@given(st.text())
def test_a_text_without_tags_goes_through_unchanged(text: str) -> None:
    assert split(*text) == ("", text)
