"""Nodes as a person reads them: how they stand, how fast they are, and when their owners want them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from herd.cli.live.cells import Look
from herd.cli.live.week import DAYS, HOURS, UNKNOWN, legend, shade
from herd.cli.process import printable
from herd.cli.words import STATES, dated, gib, reached, times_of, work_speed
from herd.names import canonical

_FEW = 3  # answers: fewer say nothing of how far apart they are
_HALF = 0.6745  # standard deviations of a normal distribution to either side of its mean hold half of it
_TRUE = 0.01  # a ratio so near to 1 is shown as 0 %
_MANIFOLD = 2.0  # from here on "3.1 times as long" is easier to read than "210 % longer"


def nodes(entries: Sequence[dict[str, Any]]) -> RenderableType:
    """A line for each node, and below them why one is not ready."""
    if not entries:
        return Text("no node has joined since the router started; herd-node on a machine with a model server is one")
    reasons = (Text(f"{printable(one['name'])} {reason}") for one in entries for reason in _reasons(one))
    return Group(node_table(entries), *reasons)


def node_table(entries: Sequence[dict[str, Any]]) -> Table:
    """A line for each node."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("node", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("models in memory", overflow="fold")
    for name in ("of", "running", "waiting", "memory free"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        loaded = [printable(model["name"]) for model in entry["models"] if model["resident"]]
        table.add_row(
            Text(printable(entry["name"])),
            _state(entry),
            Text(", ".join(loaded) or "-"),
            *(str(count) for count in (len(entry["models"]), entry["running"], entry["waiting"])),
            f"{gib(entry['memory_free'])} of {gib(entry['memory_total'])}",
        )
    return table


def node(document: dict[str, Any], *, plain: bool = False) -> RenderableType:
    """One node, whole. `plain`: the terminal shows ASCII only."""
    return Group(
        heading(document),
        *(Text(f"  {fact}") for fact in facts(document)),
        Text(),
        _models(document),
        Text(),
        *week(document, plain=plain),
    )


def heading(document: dict[str, Any]) -> Text:
    """`studio is ready`."""
    return Text.assemble((printable(document["name"]), "bold"), " is ", _state(document))


def facts(document: dict[str, Any]) -> list[str]:
    """What there is to say of a node, a line for each."""
    machine = document["machine"]
    what = ", ".join(printable(str(machine.get(word))) for word in ("cpu", "os", "arch") if machine.get(word))
    return [
        *(f"it {reason}" for reason in _reasons(document)),
        *_link(document.get("breaker")),
        f"{what or 'a machine'}; memory: {gib(document['memory_free'])} of {gib(document['memory_total'])} free",
        *(_gpu(gpu) for gpu in document.get("gpus", ())),
        *(_server(backend) for backend in document.get("backends", ())),
        f"{document['running']} running, {document['waiting']} waiting",
        *_images(document),
        _owner(document),
        *([_predictions(document["calibration"])] if "calibration" in document else ()),
        *_other_work(document),
    ]


def _state(entry: dict[str, Any]) -> Text:
    return Text(printable(entry["state"]), STATES.get(entry["state"], "red"))


def _reasons(entry: dict[str, Any]) -> list[str]:
    """`is in a meeting since 06-02 09:00:00`."""
    return [dated(printable(reason["text"]), times_of(reason)) for reason in entry["reasons"]]


def _link(breaker: dict[str, Any] | None) -> list[str]:
    if breaker is None or breaker["state"] == "closed":
        return []
    return [f"its link failed {breaker['failures']} times in a row, and it is left alone{times_of(breaker)}"]


def _gpu(gpu: dict[str, Any]) -> str:
    return f"{printable(gpu['name'])}: {gib(gpu['memory_free'])} of {gib(gpu['memory_total'])} free"


def _server(backend: dict[str, Any]) -> str:
    """`model server ollama-11434: ollama 0.12.3`."""
    what = f"{backend['kind']} {backend.get('version', '')}".strip()
    return f"model server {printable(backend['id'])}: {printable(what)}"


def _owner(document: dict[str, Any]) -> str:
    if document["dedicated"]:
        return "it has no owner: all of it is there for requests"
    load, workload = document["owner_load"], document["workload"]
    takes = "what its owner takes is not known" if load is None else f"its owner takes {load:.0%}"
    classed = "" if workload is None else f" (workload: {printable(workload)})"
    if "availability" not in document:  # the status of a router of an earlier version
        return f"{takes}{classed}"
    coming = f"{document['availability']:.0%} is there for requests, {document['trend']:g} of 10 points for what comes"
    return f"{takes}{classed}; {coming}"


def _predictions(calibration: dict[str, Any] | None) -> str:
    """`predictions: answers take 12 % longer than predicted, half of them within 25 % of that (57 answers)`."""
    if calibration is None:
        return "predictions: none was checked against an answer yet"
    ratio, spread, weight = calibration["ratio"], calibration["spread"], calibration["weight"]
    if abs(ratio - 1.0) < _TRUE:
        text = "answers take as long as predicted"
    elif ratio >= _MANIFOLD:
        text = f"answers take {ratio:.1f} times as long as predicted"
    else:
        text = f"answers take {abs(ratio - 1.0) * 100:.0f} % {'longer' if ratio > 1 else 'less'} than predicted"
    if weight >= _FEW:
        text += f", half of them within {100 * math.expm1(_HALF * spread):.0f} % of that"
    count = max(1, round(weight))
    return f"predictions: {text} ({count} answer{'s' if count > 1 else ''})"


def models(document: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The models on the disk, each with what was learned of its speeds there."""
    speeds = {speed["model"]: speed for speed in document.get("learned", ())}
    return [(model, speeds.get(canonical(model["name"]), {})) for model in document["models"]]


# What is said of a model with its speeds, in the order of the columns.
FIGURES: tuple[tuple[str, Callable[[dict[str, Any], dict[str, Any]], str]], ...] = (
    ("size", lambda model, _: gib(model["size"]) if model["size"] else "-"),
    ("in memory", lambda model, _: "yes" if model["resident"] else "no"),
    ("at once", lambda model, _: str(model["limit"])),
    ("loads in", lambda _, speed: _number(speed.get("load_s"), " s")),
    ("first token", lambda _, speed: _number(speed.get("first_token_s"), " s")),
    ("tok/s in", lambda _, speed: _number(speed.get("prefill"))),
    ("tok/s out", lambda _, speed: _number(speed.get("decode"))),
    ("off by", lambda _, speed: _off_by(speed.get("calibration"))),
)


def _images(document: dict[str, Any]) -> list[str]:
    """`z-image-turbo, step 4 of 9`, of each model that makes an image."""
    return [
        printable(f"{model['name']}{reached(model.get('step', 0), model['steps'])}")
        for model in document["models"]
        if model.get("steps")
    ]


def _other_work(document: dict[str, Any]) -> list[str]:
    """`schnell: 2.1 s per megapixel-step`, of each model that draws or hears."""
    return [
        f"{printable(model['name'])}: {', '.join([work_speed(one['unit'], one['rate']) for one in speed['work']])}"
        for model, speed in models(document)
        if speed.get("work")
    ]


def _models(document: dict[str, Any]) -> RenderableType:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("model", overflow="fold")
    for name, _ in FIGURES:
        table.add_column(name, justify="right")
    for model, speed in models(document):
        table.add_row(Text(printable(model["name"])), *(figure(model, speed) for _, figure in FIGURES))
    return table


def week(document: dict[str, Any], *, plain: bool) -> list[Text]:
    """What the owner is expected to take, a line for each day and a column for each hour of the node's own time."""
    known, now, look = document["week"], document["week_slot"], Look(plain)
    lines = [Text("what its owner takes, by the hour of the week in the node's own time")]
    hours = "".join(f"{hour:<{6}}" for hour in range(0, HOURS, 3))
    lines.append(Text(f"      {hours}", "dim"))
    for day, name in enumerate(DAYS):
        line = Text(f"{'>' if now // HOURS == day else ' '} {name} ")
        for hour in known[day * HOURS : (day + 1) * HOURS]:
            letter, role = shade(hour["load"], hour["confidence"], look)
            line.append(letter * 2, look.style(role))
        lines.append(line)
    here = 6 + 2 * (now % HOURS)
    lines.append(Text(" " * here + "^ now"))
    lines.append(Text(f"{legend(look)}  {UNKNOWN} not known yet"))
    return lines


def _off_by(calibration: dict[str, Any] | None) -> str:
    """By how much answers take longer than predicted: `+12 %`."""
    return "-" if calibration is None else f"{(calibration['ratio'] - 1.0) * 100:+.0f} %"


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.1f}{unit}"
