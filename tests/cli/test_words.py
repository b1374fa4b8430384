"""Words that several commands share."""

import math

import pytest

from herd.cli.words import clock_time, count_of, dated, ended, hour, meant, work, work_speed
from herd.types import Outcome


def test_every_end_of_a_request_has_a_word_and_a_colour_and_one_of_a_later_router_keeps_its_name() -> None:
    assert all(colour for _, colour in map(ended, [*Outcome, None]))
    assert ended(None)[0] == "under way"
    assert ended("abducted\n") == ("abducted\\n", "")


@pytest.mark.parametrize("moment", [math.nan, math.inf, 1e300])
def test_a_time_that_is_none_is_shown_as_none(moment: float) -> None:
    assert clock_time(moment) == "at no time"
    assert (hour(moment), hour(moment, 0.0)) == ("--:--:--", "--:--")


def test_a_number_goes_with_its_thing() -> None:
    assert [count_of(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]


def test_the_time_of_a_reason_stands_before_its_cause() -> None:
    assert (
        dated("is offline: the agent is gone: bye", " since 10:00") == "is offline since 10:00: the agent is gone: bye"
    )
    assert dated("is paused by hand", " until 10:00") == "is paused by hand until 10:00"
    assert dated("is offline: the agent is gone", "") == "is offline: the agent is gone"


def test_a_name_that_is_near_may_be_meant() -> None:
    assert meant("lama3.2:3b", ["llama3.2:3b", "phi4:14b"]) == ": did you mean llama3.2:3b?"
    assert meant("qwen", ["phi4:14b"]) == ""


@pytest.mark.parametrize(
    ("unit", "amount", "rate", "words"),
    [
        ("kilopixel-step", 4195, 476.2, ("4.2 megapixel-steps", "2.1 s per megapixel-step")),
        ("kilopixel-step", 4195, 1680.0, ("4.2 megapixel-steps", "0.60 s per megapixel-step")),
        ("audio-frame", 7400, 1400.0, ("74 s of sound", "14x real time")),
        ("audio-frame", 7400, 85.0, ("74 s of sound", "0.8x real time")),
        ("smell\n", 3, 2.0, ("3 smell\\ns", "2.0 smell\\ns/s")),  # of a later router
    ],
)
def test_work_that_is_not_counted_in_tokens_is_said_in_units_that_people_know(
    unit: str, amount: float, rate: float, words: tuple[str, str]
) -> None:
    assert (work(unit, amount), work_speed(unit, rate)) == words
