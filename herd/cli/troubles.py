"""What is wrong with a fleet, and what to do about it: from its status alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from herd.cli.process import printable
from herd.cli.words import times_of
from herd.names import canonical

# States in which a node takes requests.
SERVING = ("ready", "degraded")

# By the kind of a reason; those that end by themselves, and those of kinds that come later, need nothing.
_ADVICE = {
    "offline": "is it on, and does herd-node run there? herd doctor on that machine says what it lacks",
    "silent": "its network or the machine itself may be overloaded; herd doctor on that machine looks",
    "no-backend": "start Ollama there, or the model server that --backend-url names",
    "drained": "herd resume {node} lets it serve again",
    "memory-pressure": "it serves what is in memory, and loads nothing until programs there have been closed",
    "breaker": "requests to it failed: herd requests shows which, and herd story ID how",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be.

    Attributes:
        grave: requests fail or wait because of it.
        what: a sentence.
        advice: what to do; empty where there is nothing to be done.
    """

    grave: bool
    what: str
    advice: str = ""


def troubles(status: Mapping[str, Any]) -> tuple[Trouble, ...]:
    """What is wrong by a router's status, the gravest first. Raises LookupError or TypeError for another document."""
    found = [*_of_fleet(status), *_of_models(status), *_of_pins(status), *_of_versions(status)]
    found += [trouble for node in status["nodes"] for trouble in of_node(node)]
    return tuple(sorted(found, key=lambda trouble: not trouble.grave))


def of_node(node: Mapping[str, Any]) -> Iterator[Trouble]:
    """Why a node is not ready, or does not serve all that it has."""
    name = printable(node["name"])
    for reason in node["reasons"]:
        yield Trouble(False, f"{name} {printable(reason['text'])}{times_of(reason)}", _advice(reason, name))
    if not node["reasons"] and node["state"] != "ready":
        yield Trouble(False, f"{name} is {printable(node['state'])}")
    if node["state"] in SERVING and not node["models"]:
        yield Trouble(False, f"{name} has no models", f"herd pull MODEL --node {name} fetches one")
    for model in node["models"]:
        breaker = model.get("breaker")
        if breaker is not None and breaker["state"] != "closed":
            what = f"{printable(model['name'])} on {name} failed {breaker['failures']} times in a row"
            yield Trouble(False, f"{what} and is left alone for a while", _ADVICE["breaker"])


def unserved(status: Mapping[str, Any]) -> dict[str, list[str]]:
    """The models that no node serves now, by canonical name: the nodes that have each."""
    having: dict[str, list[Mapping[str, Any]]] = {}
    for node in status["nodes"]:
        for model in node["models"]:
            having.setdefault(canonical(model["name"]), []).append(node)
    return {
        model: [node["name"] for node in nodes]
        for model, nodes in sorted(having.items())
        if not any(node["state"] in SERVING for node in nodes)
    }


def _advice(reason: Mapping[str, Any], name: str) -> str:
    kind = reason["kind"]
    if kind == "manual" and reason.get("until") is None:
        return f"herd resume {name} lets it serve again; on the machine itself, herd-node resume"
    return _ADVICE.get(kind, "").format(node=name)


def _of_fleet(status: Mapping[str, Any]) -> Iterator[Trouble]:
    totals = status["totals"]
    if not totals["nodes"]:
        advice = "start herd-node on a machine with a model server; herd doctor there says why it does not join"
        yield Trouble(True, "no node has joined", advice)
    elif not totals["serving"]:
        yield Trouble(True, "no node serves a model now", "what each of them lacks is below")
    if totals["held"]:
        some = "1 request waits" if totals["held"] == 1 else f"{totals['held']} requests wait"
        yield Trouble(True, f"{some} for a node that could serve them", "herd requests shows which model they want")


def _of_models(status: Mapping[str, Any]) -> Iterator[Trouble]:
    if not status["totals"]["serving"]:
        return  # said already
    for model, nodes in unserved(status).items():
        who = ", ".join(printable(node) for node in nodes)
        advice = f"herd pull {printable(model)} fetches it to a node that takes requests"
        yield Trouble(True, f"no node serves {printable(model)} now: only {who} has it", advice)


def _of_pins(status: Mapping[str, Any]) -> Iterator[Trouble]:
    for model, home in status["router"]["pins"].items():
        if home is None:
            advice = f"that takes a node with Ollama and room for it; herd unpin {printable(model)} takes it back"
            yield Trouble(False, f"{printable(model)} is pinned, and no node can keep it loaded", advice)


def _of_versions(status: Mapping[str, Any]) -> Iterator[Trouble]:
    own = status["router"]["version"]
    others = [node for node in status["nodes"] if node["agent_version"] not in ("", own)]
    if others:
        who = ", ".join(f"{printable(node['name'])} ({printable(node['agent_version'])})" for node in others)
        yield Trouble(False, f"agents of another version than the router's {own}: {who}", "update the older ones")
