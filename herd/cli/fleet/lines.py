"""What happens to a fleet as plain lines, for a pipe, a file or a terminal that cannot be drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from herd.cli.fleet.panels import speed
from herd.cli.fleet.seen import Happening, Request, Seen, heard
from herd.cli.process import printable
from herd.cli.words import asked_for, clock_time, ended

SHOWN_AT_FIRST = 10  # of what had happened before, as `tail` has it


@dataclass(frozen=True, slots=True)
class Told:
    """What was told already. None: nothing yet."""

    happened: float | None = None  # the time of the latest
    ended: frozenset[str] | None = None  # requests of the last document that had ended


def lines(told: Told, topic: str, document: Any) -> tuple[Told, list[str]]:
    """What is new in a document of a topic, a line each. Raises HerdError where it cannot be read."""
    seen = heard(Seen(), topic, document)
    if topic == "happenings":
        return _happenings(told, seen.happenings)
    if topic == "requests":
        return _requests(told, seen.requests)
    return told, []


def _happenings(told: Told, happenings: Sequence[Happening]) -> tuple[Told, list[str]]:
    # A stream that is opened again begins with what is known already; numbers begin anew with each router.
    new = [one for one in happenings if told.happened is None or (one.at or 0.0) > told.happened]
    if told.happened is None:
        new = new[-SHOWN_AT_FIRST:]
    latest = max([one.at or 0.0 for one in happenings], default=0.0)
    return replace(told, happened=max(told.happened or 0.0, latest)), [_happening(one) for one in new]


def _happening(one: Happening) -> str:
    return f"{clock_time(one.at or 0.0)} {printable(one.text)}"


def _requests(told: Told, requests: Sequence[Request]) -> tuple[Told, list[str]]:
    ended = [request for request in requests if request.outcome is not None]
    new = [] if told.ended is None else [request for request in ended if request.id not in told.ended]
    # The latest comes first in a document.
    return replace(told, ended=frozenset(request.id for request in ended)), [_request(one) for one in reversed(new)]


def _request(request: Request) -> str:
    """`11-30 03:12:04 llama3.2:3b for 10.0.0.7 at studio: served after 2.10 s (first token 0.40 s), req_1`."""
    model = f"{asked_for(request.model, request.served_model)}{',' if request.served_model is not None else ''}"
    at = "" if request.node is None else f" at {request.node}"
    total = request.total_s or 0.0
    times = [("waited", request.waited_s), ("first token", request.first_token_s)]
    parts = [f"{name} {seconds:.2f} s" for name, seconds in times if seconds is not None]
    if (rate := speed(request)) is not None:
        parts.append(f"{rate:.1f} tok/s")
    details = f" ({', '.join(parts)})" if parts else ""
    text = f"{model} for {request.client}{at}: {ended(request.outcome)[0]} after {total:.2f} s{details}, {request.id}"
    return f"{clock_time((request.arrived or 0.0) + total)} {printable(text)}"
