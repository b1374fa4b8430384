"""What the router answers itself from the models of all online nodes, in Ollama's shapes.

A model that several nodes have is listed once, however each node spells it. Clients compare these names with the one
they were told, so in Ollama's lists a name always has its tag.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from herd.names import canonical, namespace, tagged
from herd.protocols.messages import ModelInfo
from herd.types import NodeName

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


def tags(listed: Listed) -> bytes:
    """The body of `GET /api/tags`, newest model first. Of builds that differ the newest is shown."""
    models = _merged(listed, lambda model: _time(model.modified_at))
    return orjson.dumps({"models": [_tag(model) for model in models]})


def ps(listed: Listed) -> bytes:
    """The body of `GET /api/ps`, furthest expiry first. Of a model loaded on several nodes, the longest lasting."""
    resident = [(node, model) for node, model in listed if model.resident]
    models = _merged(resident, lambda model: _time(model.expires_at or FOR_EVER))
    return orjson.dumps({"models": [_process(model) for model in models]})


def openai_models(listed: Listed) -> bytes:
    """The body of `GET /v1/models`, newest first. The ids are the names that the nodes list."""
    models = _merged(listed, lambda model: _time(model.modified_at))
    data = [
        {
            "id": model.name,
            "object": "model",
            "created": int(_time(model.modified_at).timestamp()),
            "owned_by": namespace(model.name),
        }
        for model in models
    ]
    return orjson.dumps({"object": "list", "data": data}) + b"\n"


def version(versions: Iterable[str]) -> bytes:
    """The body of `GET /api/version`: the lowest of the nodes' Ollama versions, as plain `x.y.z`.

    Clients look here for what they may use, and a request may reach any node. A build from source says 0.0.0, which
    says nothing.
    """
    numbers = [tuple(map(int, match.groups())) for text in versions if (match := _VERSION.match(text))]
    known = [number for number in numbers if any(number)]
    lowest = ".".join(map(str, min(known))) if known else FALLBACK_VERSION
    return orjson.dumps({"version": lowest})


def _merged(listed: Listed, rank: Callable[[ModelInfo], datetime]) -> list[ModelInfo]:
    """One entry for each canonical name, the highest ranked, in falling order of rank; ties in order of name."""
    best: dict[str, tuple[datetime, ModelInfo]] = {}
    for _, model in listed:
        name, standing = canonical(model.name), rank(model)
        if name not in best or standing > best[name][0]:
            best[name] = (standing, model)
    by_name = sorted(best.items())
    return [model for _, (_, model) in sorted(by_name, key=lambda item: item[1][0], reverse=True)]


def _tag(model: ModelInfo) -> dict[str, Any]:
    entry = {
        **_identity(model),
        "modified_at": model.modified_at or UNKNOWN_TIME,
        "size": model.size,
        "digest": model.digest,
        "details": _details(model),
    }
    return entry | {"capabilities": model.capabilities} if model.capabilities else entry


def _process(model: ModelInfo) -> dict[str, Any]:
    return {
        **_identity(model),
        "size": model.size_resident or model.size,
        "digest": model.digest,
        "details": _details(model),
        "expires_at": model.expires_at or FOR_EVER,
        "size_vram": model.size_vram,
        "context_length": model.context_length,
    }


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
