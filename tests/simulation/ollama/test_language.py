from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from herd.simulation.ollama.language import (
    LONGEST,
    LONGEST_THOUGHT,
    SHORTEST,
    answer_length,
    answer_pieces,
    count_tokens,
    cut,
    seed_of,
    thought_length,
    thought_pieces,
)
from herd.types import Tokens


def test_an_answer_says_who_it_is_from() -> None:
    text = "".join(answer_pieces(seed_of("hello"), "mini-pc", Tokens(30)))
    assert text.startswith("Simulated answer from mini-pc: ")


@given(st.binary(min_size=32, max_size=32), st.integers(1, 300))
def test_an_answer_has_as_many_pieces_as_it_was_asked_for(seed: bytes, length: int) -> None:
    pieces = list(answer_pieces(seed, "mini-pc", Tokens(length)))
    assert len(pieces) == length
    assert all(pieces)
    assert pieces == list(answer_pieces(seed, "mini-pc", Tokens(length)))


def test_other_requests_get_other_answers() -> None:
    texts = ["".join(answer_pieces(seed_of(word), "mini-pc", Tokens(40))) for word in ("one", "two", "three")]
    assert all(first != second for first, second in pairwise(texts))


def test_parts_of_a_request_are_kept_apart() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")


@given(st.binary(min_size=32, max_size=32))
def test_a_free_answer_is_short_but_not_too_short(seed: bytes) -> None:
    assert SHORTEST <= answer_length(seed) <= LONGEST
    assert SHORTEST <= thought_length(seed) <= LONGEST_THOUGHT


@given(st.binary(min_size=32, max_size=32), st.integers(1, 100))
def test_thoughts_have_as_many_pieces_too_and_say_what_they_are(seed: bytes, length: int) -> None:
    thoughts = list(thought_pieces(seed, Tokens(length)))
    assert len(thoughts) == length
    assert "".join(thoughts)[:17] in "Simulated thoughts:"


@given(st.text(max_size=50))
def test_a_text_is_cut_into_the_tokens_that_are_counted(text: str) -> None:
    assert "".join(cut(text)) == text
    assert len(cut(text)) == count_tokens(text)
