"""A simulation in words and tables, as a terminal shows it."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from herd.cli.simulate.view import clock, doing, picture, tables
from herd.simulation.machine.owners import OwnerState
from herd.simulation.runs.measures import Disturbance, Loads, Sample, SampleOutcome, summary
from herd.simulation.runs.report import NodeReport, Report, report
from herd.simulation.runs.run import Moment, NodeMoment, Result, Scenario
from herd.types import Priority, Seconds, Tokens

HOUR = 3600.0
SERVED = Sample(
    at=Seconds(10.0),
    client="anna",
    model="llama3.2:3b",
    priority=Priority.INTERACTIVE,
    outcome=SampleOutcome.SERVED,
    first_token=1.5,
    completion=4.25,
    prompt=Tokens(9),
    tokens=Tokens(5),
    node="studio",
    queue=0.5,
    ideal=2.0,
)
FAILED = replace(SERVED, outcome=SampleOutcome.FAILED, first_token=math.inf, completion=math.inf)


def shown(*parts: RenderableType, width: int = 80) -> str:
    """What a terminal of so many columns shows, with single spaces."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in parts:
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "Mon 00:00"),
        (59.9, "Mon 00:00"),
        (24 * HOUR + 14 * HOUR + 5 * 60, "Tue 14:05"),
        (7 * 24 * HOUR - 1, "Sun 23:59"),
        (7 * 24 * HOUR, "week 2 Mon 00:00"),
        (20 * 24 * HOUR, "week 3 Sun 00:00"),
    ],
)
def test_a_time_of_a_run_is_a_day_and_an_hour(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("owner", "word"),
    [
        (OwnerState(), "idle"),
        (OwnerState(cpu=0.1), "at work"),
        (OwnerState(gpu=0.1), "at work"),
        (OwnerState(gpu=0.9), "heavy use"),
        (OwnerState(gpu=0.9, meeting=True), "meeting"),
        (OwnerState(asleep=True), "asleep"),
    ],
)
def test_what_an_owner_does_is_a_word(owner: OwnerState, word: str) -> None:
    assert word in doing(owner)


def moment(at: float, *samples: Sample) -> str:
    scenario = Scenario((), (), Seconds(100.0), start_slot=25)
    node = NodeMoment("studio", "Apple", 2, 3, ("llama3.2:3b", "qwen3:8b"), OwnerState(meeting=True))
    return shown(picture(Moment(scenario, Seconds(at), 5, samples, (node, replace(node, running=0, waiting=0)))))


def test_a_moment_shows_the_time_the_requests_and_the_machines() -> None:
    text = moment(61.0, SERVED, SERVED, FAILED)
    assert "Tue 01:01 5 asked, 2 under way, 2 served, 1 not" in text
    assert "studio 2 3 meeting llama3.2:3b, qwen3:8b" in text
    assert "studio meeting llama3.2:3b, qwen3:8b" in text  # what is none is not a number to read
    assert text.splitlines()[0].endswith("2 served, 1 not")
    assert moment(61.0, SERVED).splitlines()[0].endswith("1 served")


def made(*samples: Sample, decisions: str = "0123456789abcdefXYZ") -> Report:
    loads, disturbed = Loads(3, Seconds(200.4)), Disturbance(Seconds(60.0), Seconds(3601.0))
    node = NodeReport("studio", "mac-studio", "Apple", 7, loads, 4000.0, disturbed)
    figures = summary(samples, loads=loads, duration=Seconds(HOUR / 2))
    return Report(9, figures, disturbed, (node,), decisions, 1800.0)


def test_the_tables_show_what_clients_saw_and_what_machines_did() -> None:
    text = shown(*tables(made(SERVED, replace(SERVED, client="bob", predicted=5.0))))
    assert "time to first token 1.50 1.50 1.50 1.50" in text
    assert "whole answer 4.25 4.25 4.25 4.25" in text
    assert "waited in a queue 0.50 0.50 0.50 0.50" in text
    assert "slowdown (times the time alone) 2.12 2.12 2.12 2.12" in text
    assert "studio 7 3 0:03:20 1:06:40 1:01:01" in text
    assert "2 requests: 2 served, 0 failed, 0 refused, 0 given up" in text
    assert "within the limit of their class: 100.0 %, 4 an hour" in text
    assert "cold loads: 3, 0:03:20 in all; in their owners' way: 1:01:01" in text
    assert "the lightest one, anna, is slowed 1.00 times" in text.replace("\n", " ")
    assert "predictions off by 17.6 % (median)" in text
    assert text.endswith("seed 9, decision log 0123456789abcdef: the same every time")


def test_what_does_not_exist_or_never_came_says_so() -> None:
    text = shown(*tables(made(FAILED, SERVED, decisions="")))
    assert "time to first token 1.50 1.50 never never" in text
    assert "predictions" not in text
    assert "decision log" not in text
    assert "waited in a queue - - - -" in shown(*tables(made(FAILED)))


def of(client: str, outcome: SampleOutcome, completion: float) -> Sample:
    return replace(SERVED, client=client, outcome=outcome, first_token=1.0, completion=completion, ideal=1.0)


def as_one_line(*samples: Sample, width: int = 80) -> str:
    """The figures of a run without machines, on a terminal of a width."""
    figures = report(Scenario((), (), Seconds(1.0)), Result(samples, (), "", Seconds(1.0)))
    return " ".join(shown(*tables(figures), width=width).split())


def test_the_words_explain_figures_that_are_no_numbers() -> None:
    served = [of(name, SampleOutcome.SERVED, 2.0) for name in ("ann", "bob")]
    assert "never" not in as_one_line(*served)
    text = as_one_line(*served, of("abe", SampleOutcome.FAILED, 2.0))
    assert "never: so many were not served" in text
    assert "the lightest one, abe, got no answer" in text
    assert "fairness" not in as_one_line(served[0])
    assert "the lightest" not in as_one_line(*[of(name, SampleOutcome.FAILED, 2.0) for name in ("ann", "bob")])


@pytest.mark.parametrize("width", [200, 80, 60])
def test_a_narrow_terminal_breaks_words_and_loses_no_figure(width: int) -> None:
    text = as_one_line(of("ann", SampleOutcome.SERVED, 12345.67), width=width)
    assert text.count("12345.67") == 8  # of the answer and its slowdown
