"""The fleet, its models and its queues as a person reads them, all of it from the router's documents alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from herd.cli.process import printable
from herd.cli.remote import node_view
from herd.cli.remote.troubles import SERVING, Trouble, troubles
from herd.cli.words import count_of, gib
from herd.names import canonical

# Beside a hundred nodes nobody reads more, and the first ones are the gravest.
MAX_TROUBLES = 20


@dataclass(slots=True)
class Model:
    """A model of the fleet. Names of nodes, in the order in which the router lists them."""

    name: str
    size: int = 0  # bytes on disk; of builds that differ the largest
    builds: int = 1
    nodes: list[str] = field(default_factory=list)
    in_memory: list[str] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)  # those of the nodes that take requests
    pinned: bool = False
    home: str | None = None  # the node that a pinned model stays on
    capabilities: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)


# --- the fleet --------------------------------------------------------------------------------------------------------


def fleet(status: Mapping[str, Any]) -> RenderableType:
    """The router, its nodes, and what is wrong with them."""
    router, totals = status["router"], status["totals"]
    version = printable(router["version"])
    parts: list[RenderableType] = [
        Text.assemble(
            ("herd ", "bold"), f"{version}, router {printable(router['id'])}, link port {router['link_port']}"
        ),
        Text(
            f"{count_of(totals['nodes'], 'node')}, {totals['serving']} serving; {count_of(totals['models'], 'model')}; "
            f"{totals['running']} running, {totals['waiting']} waiting, {totals['held']} held"
        ),
    ]
    if status["nodes"]:
        parts += [Text(), node_view.node_table(status["nodes"])]
    return Group(*parts, Text(), *_troubles(troubles(status)))


def _troubles(found: Sequence[Trouble]) -> Iterator[RenderableType]:
    if not found:
        yield Text("all is well", "green")
    for trouble in found[:MAX_TROUBLES]:
        yield Text.assemble(("! ", "red") if trouble.grave else ("- ", "yellow"), trouble.what)
        if trouble.advice:
            yield Text(f"  {trouble.advice}", "dim")
    if len(found) > MAX_TROUBLES:
        yield Text(f"and {len(found) - MAX_TROUBLES} more: herd nodes lists all of them")


# --- models -----------------------------------------------------------------------------------------------------------


def models(status: Mapping[str, Any], tags: Mapping[str, Any] | None) -> list[Model]:
    """Every model of the fleet, by name.

    Args:
        status: of the router.
        tags: its list of models for clients, which tells aliases, and builds that differ; None where it is not told.
    """
    found: dict[str, Model] = {}
    for node in status["nodes"]:
        for entry in node["models"]:
            model = found.setdefault(canonical(entry["name"]), Model(entry["name"]))
            if node["name"] not in model.nodes:  # it may have two servers
                model.nodes.append(node["name"])
            if entry["resident"]:
                model.in_memory.append(node["name"])
            if node["state"] in SERVING:
                model.serving.append(node["name"])
            model.size = max(model.size, entry["size"])
            model.capabilities += [
                str(each) for each in entry.get("capabilities", ()) if str(each) not in model.capabilities
            ]
    for name, home in status["router"]["pins"].items():
        model = found.setdefault(name, Model(name))
        model.pinned, model.home = True, home
    if tags is not None:
        _add_tags(found, tags["models"])
    return [found[name] for name in sorted(found)]


def _add_tags(found: dict[str, Model], tags: Sequence[Mapping[str, Any]]) -> None:
    by_digest: dict[str, Model] = {}
    for tag in tags:
        model = found.get(canonical(tag["name"]))
        if model is not None:
            # The status of a router of an earlier version has none.
            model.capabilities = model.capabilities or [str(each) for each in tag.get("capabilities") or ()]
            model.builds = max(1, len(tag.get("herd", {}).get("digests", ())))
            if tag["digest"]:
                by_digest[tag["digest"]] = model
    for tag in tags:  # what no node has is another name, and comes with the data of what it means
        if canonical(tag["name"]) not in found and tag["digest"] in by_digest:
            by_digest[tag["digest"]].aliases.append(tag["name"])


def as_document(model: Model) -> dict[str, Any]:
    """As JSON: the fields of a `Model`."""
    return asdict(model)


def model_table(found: Sequence[Model], told: bool) -> RenderableType:
    """A line for each model. `told`: the router says what else they are called."""
    if not found:
        return Text("no node has a model; herd pull MODEL fetches one")
    table = _table()
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for name in ("on", "in memory", "can", "notes"):
        table.add_column(name, overflow="fold")
    for model in found:
        table.add_row(
            Text(printable(model.name)),
            gib(model.size) if model.size else "-",
            _names(model.nodes),
            _names(model.in_memory),
            _names(model.capabilities),
            Text("; ".join(_notes(model))),
        )
    if told:
        return table
    return Group(table, Text("aliases, and builds that differ, the router tells with a key alone: --admin-key", "dim"))


def _notes(model: Model) -> Iterator[str]:
    if not model.serving:
        yield "no node serves it now"
    if model.pinned:
        yield f"pinned to {printable(model.home)}" if model.home else "pinned, and nobody can keep it"
    if model.builds > 1:
        yield f"{model.builds} builds that differ"
    if model.aliases:
        yield f"also called {', '.join(printable(alias) for alias in model.aliases)}"


# --- queues -----------------------------------------------------------------------------------------------------------


def queues(entries: Sequence[Mapping[str, Any]], held: int) -> RenderableType:
    """A line for each queue, the fullest first, and what waits for none of them."""
    parts: list[RenderableType] = []
    if entries:
        table = _table()
        table.add_column("node", overflow="fold")
        table.add_column("model", overflow="fold")
        for name in ("running", "of", "waiting"):
            table.add_column(name, justify="right", no_wrap=True)
        for queue in sorted(entries, key=lambda each: (-each["waiting"], -each["running"], each["node"])):
            words = (Text(printable(queue["node"])), Text(printable(queue["model"])))
            table.add_row(*words, *(str(queue[name]) for name in ("running", "limit", "waiting")))
        parts.append(table)
    else:
        parts.append(Text("no queue: nothing runs or waits, and no model is in memory"))
    if held:
        parts.append(
            Text(f"{count_of(held, 'request')} held: no node can serve them now (herd status says why)", "yellow")
        )
    return Group(*parts)


def _table() -> Table:
    return Table(box=box.SIMPLE, pad_edge=False)


def _names(names: Sequence[str]) -> Text:
    return Text(", ".join(printable(name) for name in names) or "-")
