"""What is wrong with a fleet, and what to do about it: from its status alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from herd.cli.process import printable
from herd.cli.words import gib, times_of
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
    for what, breaker in ((f"the link to {name}", node["breaker"]), *_breakers(node, name)):
        if breaker is not None and breaker["state"] != "closed":
            failed = f"{what} failed {breaker['failures']} times in a row"
            yield Trouble(False, f"{failed} and is left alone for a while", _ADVICE["breaker"])


def _breakers(node: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    for model in node["models"]:
        yield f"{printable(model['name'])} on {name}", model["breaker"]


_Having = list[tuple[Mapping[str, Any], Mapping[str, Any]]]  # nodes, each with its entry of a model


def _by_model(status: Mapping[str, Any]) -> list[tuple[str, _Having]]:
    """Who has each model, by canonical name."""
    having: dict[str, _Having] = {}
    for node in status["nodes"]:
        for model in node["models"]:
            having.setdefault(canonical(model["name"]), []).append((node, model))
    return sorted(having.items())


def _is_too_large(node: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Whether the weights alone are more than all of a node's memory, its cards' included."""
    cards = sum(gpu["memory_total"] for gpu in node.get("gpus", ()) if not gpu["unified"])
    total = node["memory_total"] + cards
    return bool(total) and model["size"] > total and not model["resident"]


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
    for model, having in _by_model(status):
        name, who = printable(model), ", ".join(printable(node["name"]) for node, _ in having)
        there = [(node, entry) for node, entry in having if node["state"] in SERVING]
        if not there:
            has = "has" if len(having) == 1 else "have"
            advice = f"herd pull {name} fetches it to a node that takes requests"
            yield Trouble(True, f"no node serves {name} now: only {who} {has} it", advice)
        elif all(_is_too_large(node, entry) for node, entry in there):
            advice = "pull a smaller build of it, or fetch it to a larger machine: herd pull MODEL --node NAME"
            size = gib(max(entry["size"] for _, entry in there))
            yield Trouble(True, f"{name} takes {size}, more than all the memory of {who}", advice)


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
