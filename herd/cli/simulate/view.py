"""A simulation as a person sees it: a picture of each moment, and tables at the end."""

import math

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from herd.simulation.machine.owners import OwnerState
from herd.simulation.runs.measures import Fairness, SampleOutcome, Spread
from herd.simulation.runs.report import Report
from herd.simulation.runs.run import Moment

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOUR, _DAY = 3600, 86_400
FIGURE = 7  # letters of a figure: a time such as 3:26:02


def picture(moment: Moment) -> RenderableType:
    """A run at one moment."""
    served = sum(1 for sample in moment.samples if sample.outcome is SampleOutcome.SERVED)
    ended = len(moment.samples)
    line = Text.assemble(
        (clock(moment.scenario.start_slot * _HOUR + moment.at), "bold"),
        f"  {moment.sent} asked, {moment.sent - ended} under way, ",
        (f"{served} served", "green"),
        (f", {ended - served} not" if ended > served else "", "red"),
    )
    nodes = _table("machine", "runs", "waits")
    for name in ("owner", "in memory"):
        nodes.add_column(name, no_wrap=True)
    for node in moment.nodes:
        models = ", ".join(node.loaded)
        nodes.add_row(node.name, str(node.running or ""), str(node.waiting or ""), doing(node.owner), models)
    whole = moment.scenario.duration
    return Group(line, ProgressBar(total=whole, completed=min(moment.at, whole), width=60), nodes)


def clock(seconds: float) -> str:
    """A time of a run, for a person: `Tue 14:05`."""
    day, rest = divmod(int(seconds), _DAY)
    week = f"week {day // 7 + 1} " if day >= len(_DAYS) else ""
    return f"{week}{_DAYS[day % 7]} {rest // _HOUR:02}:{rest % _HOUR // 60:02}"


def doing(owner: OwnerState) -> str:
    """What an owner does, in a word."""
    if owner.asleep:
        return "[dim]asleep[/dim]"
    if owner.meeting:
        return "[red]meeting[/red]"
    if owner.heavy:
        return "[red]heavy use[/red]"
    return "at work" if max(owner.cpu, owner.gpu) > 0 else "[dim]idle[/dim]"


def tables(report: Report) -> list[RenderableType]:
    """The figures of a run."""
    return [_requests(report), _nodes(report), _words(report)]


def _requests(report: Report) -> Table:
    summary = report.summary
    table = _table("seconds, as clients saw them", "mean", "p50", "p95", "p99")
    for name, figures in (
        ("time to first token", summary.first_token),
        ("whole answer", summary.completion),
        ("waited in a queue", summary.queue),
        ("slowdown (times the time alone)", summary.slowdown),
    ):
        table.add_row(name, *_cells(figures))
    return table


def _table(first: str, *others: str) -> Table:
    """A table that a terminal of 80 columns holds; in a narrower one the words are broken, and no figure is lost."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold", min_width=FIGURE)
    return table


def _cells(figures: Spread) -> tuple[str, ...]:
    return tuple(_figure(value) for value in (figures.mean, figures.p50, figures.p95, figures.p99))


def _nodes(report: Report) -> Table:
    table = _table("machines", "served", "cold loads", "loading", "at work", "in its owner's way")
    for node in report.nodes:
        times = (node.loads.seconds, node.working_s, node.disturbance.total)
        table.add_row(node.name, str(node.served), str(node.loads.count), *map(span, times))
    return table


def _words(report: Report) -> Text:
    summary = report.summary
    counts, goodput, prediction = summary.counts, summary.goodput, summary.prediction
    unserved = any("never" in _cells(one) for one in (summary.first_token, summary.completion, summary.slowdown))
    requests = (
        f"{counts.requests} requests: {counts.served} served, {counts.failed} failed, {counts.refused} refused, "
        f"{counts.timed_out} given up by their clients; {counts.retried} took more than one attempt"
    )
    costs = (
        f"cold loads: {summary.loads.count}, {span(summary.loads.seconds)} in all; "
        f"in their owners' way: {span(report.disturbance.total)}"
    )
    lines = (
        "never: so many were not served" if unserved else "",
        requests,
        f"within the limit of their class: {_percent(goodput.share)}, {goodput.per_second * _HOUR:.0f} an hour",
        costs,
        _evenness(summary.fairness),
        f"predictions off by {_percent(prediction.median)} (median)" if prediction.count else "",
        f"seed {report.seed}, decision log {report.decisions[:16]}: the same every time" if report.decisions else "",
    )
    return Text("\n".join(filter(None, lines)))


def _evenness(fairness: Fairness) -> str:
    if fairness.clients < 2:  # whom should one be compared with?
        return ""
    text = (
        f"fairness between {fairness.clients} clients (Jain's index, 1.00 is even): {_figure(fairness.slowdown)} of "
        f"their slowdowns, {_figure(fairness.served)} of the shares served"
    )
    ratio = fairness.lightest_ratio
    if ratio is None:
        return text
    if math.isinf(ratio):
        return f"{text}; the lightest one, {fairness.lightest}, got no answer"
    return f"{text}; the lightest one, {fairness.lightest}, is slowed {ratio:.2f} times as much as the mean"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    return f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f} %"


def span(seconds: float) -> str:
    """Hours, minutes and seconds: `0:03:20`."""
    whole = round(seconds)
    return f"{whole // _HOUR}:{whole % _HOUR // 60:02}:{whole % 60:02}"
