"""What the router answers itself from the models of all online nodes, in Ollama's shapes.

A model that several nodes have is listed once, however each node spells it. Clients compare these names with the one
they were told, so in Ollama's lists a name always has its tag, and builds of one name that differ are one entry too. It
then has one field more, which clients pass over: `herd`, with the nodes that have each build, or that have it loaded.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from herd.names import canonical, namespace, tagged
from herd.protocols.messages import ModelInfo
from herd.types import Capability, NodeName

Listed = Sequence[tuple[NodeName, ModelInfo]]

# A model server that is no Ollama does not say when a model came to its disk. Clients parse the field, and the first
# year of the calendar, which Go writes for "unset", overflows when Python shifts it to a time zone west of Greenwich.
UNKNOWN_TIME = "1970-01-01T00:00:00Z"
# Nor does such a server unload an idle model. Ollama's own "for ever" is a time in this year.
FOR_EVER = "2318-01-01T00:00:00Z"

# Told when no node runs an Ollama: the oldest version that Codex works with (Copilot wants 0.6.4), because the router
# then promises nothing that came later.
FALLBACK_VERSION = "0.13.4"

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?!\d)")
_DETAIL_TEXTS = ("parent_model", "format", "family", "parameter_size", "quantization_level")


# What the router says of ollama.com: it has no account there, and no endpoint that leads there.
STATUS = orjson.dumps({"cloud": {"disabled": True, "source": "config"}})


def tags(listed: Listed) -> bytes:
    """The body of `GET /api/tags`, newest model first. Of builds that differ the newest is shown."""
    return orjson.dumps({"models": [_tag(entry) for entry in _merged(listed, _age)]})


def ps(listed: Listed) -> bytes:
    """The body of `GET /api/ps`, furthest expiry first. Of a model loaded on several nodes, the longest lasting."""
    resident = [(node, model) for node, model in listed if model.resident]
    entries = _merged(resident, lambda model: _time(model.expires_at or FOR_EVER))
    return orjson.dumps({"models": [_process(entry) for entry in entries]})


def openai_models(listed: Listed) -> bytes:
    """The body of `GET /v1/models`, newest first. The ids are the names that the nodes list."""
    data = [_openai(entry.model) for entry in _merged(listed, _age)]
    return orjson.dumps({"object": "list", "data": data}) + b"\n"


def openai_model(model: ModelInfo) -> bytes:
    """The body of `GET /v1/models/NAME`."""
    return orjson.dumps(_openai(model)) + b"\n"


def shown(listed: Listed, name: str) -> ModelInfo | None:
    """The build that the lists show under a canonical name; None when no node has any."""
    entries = _merged([(node, model) for node, model in listed if canonical(model.name) == name], _age)
    return entries[0].model if entries else None


def show(model: ModelInfo) -> bytes:
    """The body of `POST /api/show` for a model whose server has no such thing: what is known of it, in Ollama's words.

    What the server does not say is left out. Its template is its own; clients look there for whether tools go into it.
    """
    details = _details(model)
    architecture = details["family"] or "unknown"
    context = model.context_max or model.context_length
    information: dict[str, Any] = {"general.architecture": architecture, "general.basename": model.name}
    if context:
        information[f"{architecture}.context_length"] = context
    return orjson.dumps(
        {
            "modelfile": "",
            "template": "{{ .Tools }}" if Capability.TOOLS in model.capabilities else "",
            "details": details,
            "model_info": information,
            "capabilities": model.capabilities or (Capability.COMPLETION,),
            "modified_at": model.modified_at or UNKNOWN_TIME,
        }
    )


def version(versions: Iterable[str]) -> bytes:
    """The body of `GET /api/version`: the lowest of the nodes' Ollama versions, as plain `x.y.z`.

    Clients look here for what they may use, and a request may reach any node. A build from source says 0.0.0, which
    says nothing.
    """
    numbers = [tuple(map(int, match.groups())) for text in versions if (match := _VERSION.match(text))]
    known = [number for number in numbers if any(number)]
    lowest = ".".join(map(str, min(known))) if known else FALLBACK_VERSION
    return orjson.dumps({"version": lowest})


class _Entry(NamedTuple):
    """A model in a list, and where it and its other builds are."""

    model: ModelInfo
    nodes: dict[str, list[NodeName]]  # by digest


def _merged(listed: Listed, rank: Callable[[ModelInfo], datetime]) -> list[_Entry]:
    """One entry for each canonical name, the highest ranked, in falling order of rank; ties in order of name."""
    best: dict[str, tuple[datetime, ModelInfo]] = {}
    nodes: dict[str, dict[str, list[NodeName]]] = {}
    for node, model in listed:
        name, standing = canonical(model.name), rank(model)
        if name not in best or standing > best[name][0]:
            best[name] = (standing, model)
        holders = nodes.setdefault(name, {}).setdefault(model.digest, [])
        if node not in holders:  # it may have two servers
            holders.append(node)
    ranked = sorted(sorted(best.items()), key=lambda item: item[1][0], reverse=True)
    return [_Entry(model, nodes[name]) for name, (_, model) in ranked]


def _tag(entry: _Entry) -> dict[str, Any]:
    model = entry.model
    shown = {
        **_identity(model),
        "modified_at": model.modified_at or UNKNOWN_TIME,
        "size": model.size,
        "digest": model.digest,
        "details": _details(model),
    }
    if model.capabilities:
        shown["capabilities"] = model.capabilities
    return shown | {"herd": {"digests": entry.nodes}} if len(entry.nodes) > 1 else shown


def _process(entry: _Entry) -> dict[str, Any]:
    model = entry.model
    shown = {
        **_identity(model),
        "size": model.size_resident or model.size,
        "digest": model.digest,
        "details": _details(model),
        "expires_at": model.expires_at or FOR_EVER,
        "size_vram": model.size_vram,
        "context_length": model.context_length,
    }
    nodes = list(dict.fromkeys(node for holders in entry.nodes.values() for node in holders))
    return shown | {"herd": {"nodes": nodes}} if len(nodes) > 1 else shown


def _openai(model: ModelInfo) -> dict[str, Any]:
    """One field more than Ollama's: whoever may choose between models that chat, embed, draw and listen looks there."""
    entry = {
        "id": model.name,
        "object": "model",
        "created": int(_age(model).timestamp()),
        "owned_by": namespace(model.name),
    }
    return entry | {"capabilities": model.capabilities} if model.capabilities else entry


def _age(model: ModelInfo) -> datetime:
    return _time(model.modified_at)


def _identity(model: ModelInfo) -> dict[str, str]:
    name = tagged(model.name)
    return {"name": name, "model": name}


def _details(model: ModelInfo) -> dict[str, Any]:
    """Every field that clients require, with whatever else the node says. Go's null list becomes an empty one."""
    details = model.details
    texts = {key: text if isinstance(text := details.get(key), str) else "" for key in _DETAIL_TEXTS}
    families = details.get("families")
    return {**details, **texts, "families": families if isinstance(families, list | tuple) else []}


def _time(text: str) -> datetime:
    """An RFC 3339 time; the unknown one when it is none."""
    try:
        time = datetime.fromisoformat(text or UNKNOWN_TIME)
    except ValueError:
        time = datetime.fromisoformat(UNKNOWN_TIME)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
