"""Words that several commands share."""

import math

import pytest

from herd.cli.words import clock_time, count_of, ended, hour, meant
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


def test_a_name_that_is_near_may_be_meant() -> None:
    assert meant("lama3.2:3b", ["llama3.2:3b", "phi4:14b"]) == ": did you mean llama3.2:3b?"
    assert meant("qwen", ["phi4:14b"]) == ""
