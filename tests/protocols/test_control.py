"""What a person says to the router: durations, and what is none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.control import LONGEST_S, duration, pause_of
from herd.types import Seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("2d", 172_800), ("1d1h1m1s", 90_061)],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == Seconds(seconds)
    assert pause_of(f"for={text}", b"") == Seconds(seconds)
    assert pause_of("", f'{{"for": "{text}"}}'.encode()) == Seconds(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "-2h", "2 h", "1.5h", "30m1h", "0s", "367d", "2H", "٢h", "1" * 300 + "h", "2h\n", 7, True, [], {}],
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(RequestError, match="such as 90s, 30m, 2h or 1h30m") as refused:
        duration(text)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 200


@given(st.text("0123456789dhms ", max_size=12))
@example("366d")
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        found = duration(text)
    except RequestError:
        return
    assert 0 < found <= LONGEST_S


def test_without_a_word_it_is_until_the_node_is_resumed() -> None:
    assert pause_of("", b"") is None
    assert pause_of("", b"{}") is None
    assert pause_of("", b'{"for": null}') is None
    assert pause_of("for=1h", b'{"for": "2h"}') == Seconds(7200)  # the body counts


@pytest.mark.parametrize("body", [b"for=2h", b'"2h"', b"[]", b"{", b"\xff"])
def test_a_body_that_says_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="2h"):
        pause_of("", body)
