"""What happens to a fleet, as lines."""

import time
from typing import Any

import pytest

from herd.cli.fleet.lines import SHOWN_AT_FIRST, Told, lines
from herd.errors import HerdError


def at(moment: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(moment))


def happenings(*moments: float) -> dict[str, Any]:
    told = [
        {"number": n, "at": moment, "kind": "joined", "text": f"n{moment:g} joined"} for n, moment in enumerate(moments)
    ]
    return {"happenings": told}


def request(name: str, **fields: Any) -> dict[str, Any]:
    known = {"id": name, "model": "m", "client": "10.0.0.7", "arrived": 100.0, "node": "studio", "outcome": "served"}
    return known | {"waited_s": 0.5, "first_token_s": 1.0, "total_s": 3.0, "completion": 50} | fields


def test_of_what_has_happened_before_the_last_is_told_and_then_each() -> None:
    told, said = lines(Told(), "happenings", happenings(*map(float, range(1, 21))))
    assert said == [f"{at(n)} n{n} joined" for n in range(21 - SHOWN_AT_FIRST, 21)]
    told, said = lines(told, "happenings", happenings(21.0, 22.0))
    assert said == [f"{at(21)} n21 joined", f"{at(22)} n22 joined"]


def test_a_stream_that_begins_anew_is_not_told_again() -> None:
    told, _ = lines(Told(), "happenings", happenings(1.0, 2.0))
    told, said = lines(told, "happenings", happenings(1.0, 2.0, 3.0))
    assert said == [f"{at(3)} n3 joined"]
    assert lines(told, "happenings", happenings())[1] == []


def test_requests_are_told_when_they_end() -> None:
    told, said = lines(Told(), "requests", {"requests": [request("old")]})
    assert said == []
    under_way = request("b", outcome=None)
    told, said = lines(told, "requests", {"requests": [under_way, request("a"), request("old")]})
    assert said == [
        f"{at(103)} m for 10.0.0.7 at studio: served after 3.00 s (waited 0.50 s, first token 1.00 s, 25.0 tok/s), a"
    ]
    told, said = lines(told, "requests", {"requests": [request("c"), request("b"), request("a")]})
    assert [line.rpartition(", ")[2] for line in said] == ["b", "c"]


def test_an_answer_that_came_in_one_piece_has_the_speed_of_all_of_it() -> None:
    told, _ = lines(Told(), "requests", {"requests": []})
    at_once = request("x", waited_s=1.0, first_token_s=2.9999)
    assert "25.0 tok/s" in lines(told, "requests", {"requests": [at_once]})[1][0]


def test_a_request_that_was_not_served_says_what_there_is_to_say() -> None:
    told, _ = lines(Told(), "requests", {"requests": []})
    poor = request("x", node=None, outcome="expired", waited_s=None, first_token_s=None, completion=None)
    assert lines(told, "requests", {"requests": [poor]})[1] == [f"{at(103)} m for 10.0.0.7: given up after 3.00 s, x"]
    aliased = request("y", served_model="m\x1b[2J")
    assert r": served" in lines(told, "requests", {"requests": [aliased]})[1][0]
    assert "\x1b" not in lines(told, "requests", {"requests": [aliased]})[1][0]


def test_other_topics_are_no_lines_and_other_documents_are_an_error() -> None:
    assert lines(Told(), "log", {"lines": []}) == (Told(), [])
    with pytest.raises(HerdError, match="another version"):
        lines(Told(), "requests", {"requests": 1})
