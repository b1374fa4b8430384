"""Bodies that are to be translated: read, those of Ollama's API strictly (what has no place in its types is refused in
Go's words), and written for the model server.

The router has read the outermost fields; it forwards the rest unread, so it may be anything.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from herd.errors import RequestError
from herd.protocols.request_forms import KINDS
from herd.types import MiB

Fields = dict[str, Any]

_Type = tuple[type | tuple[type, ...], str]  # the JSON types that fit, and Go's name of the type

_STRING: _Type = (str, "string")
_BOOL: _Type = (bool, "bool")
_INT: _Type = (int, "int")
_FLOAT: _Type = ((int, float), "float64")
_MAP: _Type = (dict, "map[string]interface {}")

_ASKING: Mapping[str, _Type] = {
    "model": _STRING,
    "stream": _BOOL,
    "options": _MAP,
    "truncate": _BOOL,
    "shift": _BOOL,
    "logprobs": _BOOL,
    "top_logprobs": _INT,
}

# Fields of each Go type that are looked at here, by their names in lower case.
_STRUCTS: Mapping[str, Mapping[str, _Type]] = {
    "api.ChatRequest": {**_ASKING, "messages": (list, "[]api.Message"), "tools": (list, "api.Tools")},
    "api.Message": {
        "role": _STRING,
        "content": _STRING,
        "thinking": _STRING,
        "images": (list, "[]api.ImageData"),
        "tool_calls": (list, "[]api.ToolCall"),
        "tool_name": _STRING,
        "tool_call_id": _STRING,
    },
    "api.ToolCall": {"id": _STRING, "function": (dict, "api.ToolCallFunction")},
    "api.ToolCallFunction": {"name": _STRING, "arguments": (dict, "api.ToolCallFunctionArguments")},
    "api.GenerateRequest": {
        **_ASKING,
        "prompt": _STRING,
        "suffix": _STRING,
        "system": _STRING,
        "template": _STRING,
        "context": (list, "[]int"),
        "raw": _BOOL,
        "images": (list, "[]api.ImageData"),
    },
    "herd.GenerateImageRequest": {
        "model": _STRING,
        "prompt": _STRING,
        "width": _INT,
        "height": _INT,
        "steps": _INT,
        "guidance": _FLOAT,
        "seed": _INT,
        "quantize": _INT,
        "negative_prompt": _STRING,
    },
    "api.EmbedRequest": {"model": _STRING, "truncate": _BOOL, "dimensions": _INT, "options": _MAP},
    "api.EmbeddingRequest": {"model": _STRING, "prompt": _STRING, "options": _MAP},
}

# Of a body that orjson does not take, but Go does: Python's own decoder needs a tenth of a second for each of these, in
# which no stream of the agent moves, and many times the memory.
MAX_ODD = MiB
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_body(body: bytes, struct: str) -> Fields:
    """The fields of a body that are not null, names in lower case; of two names that are equal then the last counts.

    Args:
        body: as it came. As in Go the first JSON value counts, and what follows it is ignored.
        struct: the Go type it is decoded into, package included.

    Raises:
        RequestError: 400, in Go's words where there is a value of a wrong type.
    """
    if not body or body.isspace():
        raise RequestError("missing request body")
    value = _first_value(body)
    if value is None:
        return {}
    if type(value) is not dict:
        raise RequestError(f"json: cannot unmarshal {KINDS[type(value)]} into Go value of type {struct}")
    return _typed(value, struct, struct.partition(".")[2])


def read_object(body: bytes) -> Fields:
    """The fields of a body of another API than Ollama's own, those that are null left out. Raises RequestError, 400."""
    if not body or body.isspace():
        raise RequestError("EOF")  # as Ollama says it on these
    value = _first_value(body)
    if type(value) is not dict:
        raise RequestError("the request body is not a JSON object")
    return {name: item for name, item in value.items() if item is not None}


def nested(value: Any, struct: str, path: str) -> Fields:
    """The fields of an object within a body, as `read_body` gives those of the whole; `path` leads to it.

    Raises:
        RequestError: 400.
    """
    if value is None:
        return {}
    return _typed(checked(value, (dict, struct), path), struct, path)


def checked(value: Any, wanted: _Type, path: str) -> Any:
    """The value, if its type fits. Raises RequestError, 400."""
    # To Python a bool is an int; to Go it is no number.
    if isinstance(value, wanted[0]) and (type(value) is not bool or wanted[0] is bool):
        return value
    found = f"number {value}" if type(value) is float and wanted is _INT else KINDS.get(type(value), "null")
    raise RequestError(f"json: cannot unmarshal {found} into Go struct field {path} of type {wanted[1]}")


def strings(values: list[Any], go_type: str, path: str) -> list[str]:
    """A list of nothing but strings. Raises RequestError, 400."""
    return [checked(value, (str, go_type), path) for value in values]


def members(value: Any) -> Fields:
    """Those of an object within a body; of anything else none."""
    return value if isinstance(value, dict) else {}


def written(value: Any) -> bytes:
    """What a server is asked, as JSON. Raises RequestError, 400: it is nested deeper than orjson writes, 254 levels."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise RequestError(f"the request cannot be translated: {error}") from None


def _typed(value: Fields, struct: str, path: str) -> Fields:
    types = _STRUCTS[struct]
    fields = {name.lower(): item for name, item in value.items()}
    given = {name: item for name, item in fields.items() if item is not None}
    for name, item in given.items():
        if name in types:
            checked(item, types[name], f"{path}.{name}")
    return given


def _first_value(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if len(body) > MAX_ODD:
            raise RequestError(f"the request body is not JSON: {_reason(error)}") from None
    try:  # something follows the value, or a string holds what is not Unicode: Go takes both
        value, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "replace").lstrip(" \t\r\n"))
        return orjson.loads(_SURROGATES.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the request body is not JSON: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Why, without a word of the body."""
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
