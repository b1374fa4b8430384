"""What is to be known of a request that shows, fetches, makes, copies or deletes a model, and Ollama's words about it.

Like inference, such a request goes to a model server as it came. What no server can be asked for is refused here, in
the words that Ollama has for it on each endpoint; everything else is the server's to judge.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from herd.errors import RequestError
from herd.names import DEFAULT_HOST, DEFAULT_NAMESPACE, tagged
from herd.protocols.json_scan import Buffer, Span, is_blank, outline, text
from herd.protocols.keep_alive import unloads
from herd.protocols.request_forms import KINDS
from herd.protocols.splice import Splicer, plan
from herd.protocols.untrusted import MAX_MODEL_NAME
from herd.types import Bytes, MiB

# A request to make a model carries its template, its license and what was said before: texts, while the model itself
# goes in blobs. All others name a model.
MAX_RECIPE = Bytes(16 * MiB)
MAX_BODY = Bytes(1 * MiB)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a request says.

    `stream`: progress is told as it is made. `extras` tells apart pulls that ask for the same model in another way. Of
    a request to make one: `base` is the model that it is made from, and `blobs` says that some go into it. Of a copy
    `model` is the source.
    """

    model: str
    stream: bool = True
    destination: str = ""
    base: str = ""
    blobs: bool = False
    extras: bytes = b""
    stream_at: Span | None = None  # where the body says whether to stream


_Fields = dict[str, tuple[type, str]]  # the JSON type as Python has it, and Go's name for it

_STRING = (str, "string")
_BOOL = (bool, "bool")
_FILES = (dict, "map[string]string")
_NAMED: _Fields = {"model": _STRING, "name": _STRING}

# The Go struct of each endpoint, and what is read of it.
_STRUCTS: dict[str, tuple[str, _Fields]] = {
    "ollama.show": ("api.ShowRequest", _NAMED),
    "ollama.pull": ("api.PullRequest", {**_NAMED, "stream": _BOOL, "insecure": _BOOL}),
    "ollama.push": ("api.PushRequest", {**_NAMED, "stream": _BOOL}),
    "ollama.create": (
        "api.CreateRequest",
        {**_NAMED, "stream": _BOOL, "from": _STRING, "files": _FILES, "adapters": _FILES},
    ),
    "ollama.copy": ("api.CopyRequest", {"source": _STRING, "destination": _STRING}),
    "ollama.delete": ("api.DeleteRequest", _NAMED),
}
_NO_MODEL = {"ollama.pull": "invalid model name", "ollama.create": "invalid model name"}


def read(endpoint: str, body: Buffer) -> ModelRequest:
    """Read the body of a request to the endpoint of this name.

    Raises:
        RequestError: 400 as Ollama answers: no body, broken JSON, a wrong type, no model.
    """
    if is_blank(body):
        raise RequestError("missing request body")
    struct, types = _STRUCTS[endpoint]
    found = outline(body, {1: frozenset(types)})
    fields: dict[str, Any] = {}
    if body[found.value.start] == ord("{"):
        fields = {key: _value(body, span) for key, span in found.members.items()}
    elif (value := _value(body, found.value)) is not None:  # to Go a null is a body without fields
        raise RequestError(f"json: cannot unmarshal {KINDS[type(value)]} into Go value of type {struct}")
    for key, value in fields.items():
        kind, name = types[key]
        if value is not None and type(value) is not kind:
            where = f"struct field {struct.partition('.')[2]}.{key} of type {name}"
            raise RequestError(f"json: cannot unmarshal {KINDS[type(value)]} into Go {where}")
    return _request(endpoint, fields, found.members.get("stream"))


def renamed(model: str, body: Buffer) -> bytes:
    """The body with another model in it, in place of an alias. Raises RequestError when it is no JSON object."""
    splicer = Splicer(plan(body, [("model", model)]))
    return splicer.feed(bytes(body)) + splicer.end()


def _request(endpoint: str, fields: dict[str, Any], stream_at: Span | None) -> ModelRequest:
    if endpoint == "ollama.copy":
        names = {end: _known_length(fields.get(end) or "") for end in ("source", "destination")}
        for end, name in names.items():
            if not name:
                raise RequestError(f'{end} "" is invalid')
        return ModelRequest(names["source"], destination=names["destination"])
    model = _known_length((fields.get("model") or fields.get("name") or "").strip())
    if not model:
        raise RequestError(_NO_MODEL.get(endpoint, "model is required"))
    return ModelRequest(
        model=model,
        stream=fields.get("stream") is not False,
        base=_known_length(fields.get("from") or ""),
        blobs=bool(fields.get("files") or fields.get("adapters")),
        extras=b"insecure" if fields.get("insecure") else b"",
        stream_at=stream_at,
    )


def _known_length(name: str) -> str:
    if len(name) > MAX_MODEL_NAME:
        raise RequestError("invalid model name")
    return name


def _value(body: Buffer, span: Span) -> Any:
    """A value that the outline found valid; of an object only whether there is something in it."""
    literal = bytes(body[span.start : span.end])
    if literal[:1] == b'"':
        return text(literal)
    if literal[:1] in b"{[":
        return [None] if literal[:1] == b"[" else dict.fromkeys(["something"] if literal[1:-1].strip() else [])
    try:
        return orjson.loads(literal)
    except orjson.JSONDecodeError:
        return float(literal)  # a number beyond a double: an infinity


def streaming(request: ModelRequest, body: Buffer) -> bytes:
    """The same body, but for that progress shall be told as it is made. All other bytes stay."""
    data = bytes(body)
    if request.stream or request.stream_at is None:
        return data
    return data[: request.stream_at.start] + b"true" + data[request.stream_at.end :]


def unloaded(endpoint: str, model: str, wall: float) -> bytes:
    """The answer to a request at the endpoint of this name that had a model go; `wall`: seconds since the epoch."""
    said: dict[str, Any] = {"response": ""}
    if endpoint == "ollama.chat":
        said = {"message": {"role": "assistant", "content": ""}}
    created = datetime.fromtimestamp(wall, UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"model": model, "created_at": created, **said, "done": True, "done_reason": "unload"})


def wanted_node(query: str) -> str:
    """The node that the client names (`?node=`); empty when it names none."""
    return dict(parse_qsl(query)).get("node", "")


def lets_go(keep_alive: str | float | None) -> bool:
    """Whether this `keep_alive` says that a model shall not stay loaded at all."""
    with suppress(RequestError):  # which is for the model server to say
        return unloads(keep_alive)
    return False


def error_in(body: bytes) -> str:
    """What Ollama says is wrong; empty when it says nothing."""
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return error if isinstance(error, str) else ""


def displayed(name: str) -> str:
    """A name as Ollama shows it: with its tag, without the default host and namespace, in the client's spelling."""
    parts = tagged(name).split("/")
    if len(parts) == 3 and parts[0].lower() == DEFAULT_HOST:
        del parts[0]
    if len(parts) == 2 and parts[0].lower() == DEFAULT_NAMESPACE:
        del parts[0]
    return "/".join(parts)


def not_found(endpoint: str, model: str) -> RequestError:
    """The words for a model that nobody has: of the endpoint of this name."""
    if endpoint in {"ollama.show", "openai.model"}:
        return RequestError(f"model '{displayed(model)}' not found", status=404)
    quote = '"' if endpoint == "ollama.copy" else "'"
    return RequestError(f"model {quote}{model}{quote} not found", status=404)
