"""The fields of request bodies, and the Go types that they are decoded into; what does not fit is refused as Go does.

Only what a simulated answer depends on is listed; every other field is unknown here, and ignored.
"""

import base64
import binascii
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from herd.simulation.ollama.asks.ask import OllamaError
from herd.simulation.ollama.golang import LONGEST_DURATION, GoError, decode_fields, kind, lowered, parse_duration

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/\r\n]")


@dataclass(frozen=True, slots=True)
class GoType:
    """What a field is decoded into: the JSON types that fit, and Go's name of the type."""

    fits: type | tuple[type, ...]
    name: str


STRING, BOOL, INT, FLOAT = (
    GoType(str, "string"),
    GoType(bool, "bool"),
    GoType(int, "int"),
    GoType((int, float), "float64"),
)
_ANY = GoType(object, "interface {}")
_MAP = GoType(dict, "map[string]interface {}")


def _list(of: str) -> GoType:
    return GoType(list, f"[]{of}")


_SAMPLING = {"seed": INT, "temperature": FLOAT, "top_p": FLOAT, "stop": _ANY}
_NATIVE = {
    "model": STRING,
    "stream": BOOL,
    "options": _MAP,
    "truncate": BOOL,
    "shift": BOOL,
    "logprobs": BOOL,
    "top_logprobs": INT,
}
_INT32 = GoType(int, "int32")
_PAINTING = {
    "model": STRING,
    "prompt": STRING,
    "n": INT,
    "size": STRING,
    "response_format": STRING,
    "seed": GoType(int, "int64"),
}
_NAMED = {"model": STRING, "name": STRING}

# Fields of each Go type, by their lower-case names. The type's name is with its package, as Go writes it.
STRUCTS: dict[str, dict[str, GoType]] = {
    "api.ChatRequest": {**_NATIVE, "messages": _list("api.Message"), "tools": GoType(list, "api.Tools")},
    "api.Message": {
        "role": STRING,
        "content": STRING,
        "thinking": STRING,
        "images": _list("api.ImageData"),
        "tool_calls": _list("api.ToolCall"),
        "tool_name": STRING,
        "tool_call_id": STRING,
    },
    "api.Tool": {"type": STRING, "function": GoType(dict, "api.ToolFunction")},
    "api.ToolFunction": {
        "name": STRING,
        "description": STRING,
        "parameters": GoType(dict, "api.ToolFunctionParameters"),
    },
    "api.ToolCall": {"id": STRING, "function": GoType(dict, "api.ToolCallFunction")},
    "api.GenerateRequest": {
        **_NATIVE,
        "prompt": STRING,
        "suffix": STRING,
        "system": STRING,
        "template": STRING,
        "context": _list("int"),
        "raw": BOOL,
        "images": _list("api.ImageData"),
        "width": _INT32,
        "height": _INT32,
        "steps": _INT32,
    },
    "api.EmbedRequest": {"model": STRING, "truncate": BOOL, "dimensions": INT, "options": _MAP},
    "api.EmbeddingRequest": {"model": STRING, "prompt": STRING, "options": _MAP},
    "openai.ChatCompletionRequest": {
        **_SAMPLING,
        "model": STRING,
        "messages": _list("openai.Message"),
        "stream": BOOL,
        "stream_options": GoType(dict, "openai.StreamOptions"),
        "max_tokens": INT,
        "response_format": GoType(dict, "openai.ResponseFormat"),
        "tools": _list("api.Tool"),
        "reasoning": GoType(dict, "openai.Reasoning"),
        "reasoning_effort": STRING,
        "top_logprobs": INT,
    },
    "openai.Message": {"role": STRING, "reasoning": STRING, "tool_calls": _list("openai.ToolCall")},
    "openai.CompletionRequest": {
        **_SAMPLING,
        "model": STRING,
        "prompt": STRING,
        "suffix": STRING,
        "stream": BOOL,
        "stream_options": GoType(dict, "openai.StreamOptions"),
        "max_tokens": INT,
    },
    "openai.EmbedRequest": {"model": STRING, "dimensions": INT, "encoding_format": STRING},
    "openai.ResponsesRequest": {
        "model": STRING,
        "instructions": STRING,
        "stream": BOOL,
        "max_output_tokens": INT,
        "reasoning": GoType(dict, "openai.ResponsesReasoning"),
        "text": GoType(dict, "openai.ResponsesText"),
        "tools": _list("openai.ResponsesTool"),
    },
    "openai.ImageGenerationRequest": _PAINTING,
    "openai.ImageEditRequest": {**_PAINTING, "image": STRING},
    "anthropic.MessagesRequest": {
        "model": STRING,
        "max_tokens": INT,
        "messages": _list("anthropic.MessageParam"),
        "stream": BOOL,
        "tools": _list("anthropic.Tool"),
        "thinking": GoType(dict, "anthropic.ThinkingConfig"),
    },
    "anthropic.MessageParam": {"role": STRING},
    "anthropic.Tool": {"name": STRING},
    "api.ShowRequest": _NAMED,
    "api.PullRequest": {**_NAMED, "stream": BOOL, "insecure": BOOL},
    "api.PushRequest": {**_NAMED, "stream": BOOL, "insecure": BOOL},
    "api.DeleteRequest": _NAMED,
    "api.CopyRequest": {"source": STRING, "destination": STRING},
    "api.CreateRequest": {
        **_NAMED,
        "stream": BOOL,
        "from": STRING,
        "files": GoType(dict, "map[string]string"),
        "template": STRING,
        "system": STRING,
    },
}

# Options of a model, by the word that Ollama's refusal uses for their type; others it only warns of.
_OPTIONS = {
    "integer": (
        *("num_keep", "seed", "num_predict", "top_k", "repeat_last_n"),
        *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"),
    ),
    "float32": (
        *("top_p", "min_p", "typical_p", "temperature"),
        *("repeat_penalty", "presence_penalty", "frequency_penalty"),
    ),
    "boolean": ("use_mmap",),
    "array": ("stop",),
}
_OPTION_TYPES = {name: word for word, names in _OPTIONS.items() for name in names}
_OPTION_FITS: dict[str, type | tuple[type, ...]] = {
    "integer": (int, float),
    "float32": (int, float),
    "boolean": bool,
    "array": list,
}


def read_fields(body: bytes, struct: str, *, empty: str = "missing request body") -> dict[str, Any]:
    """The fields of a body that are not null, names in lower case, each of the type that `struct` has for it.

    Raises:
        OllamaError: 400; the text is `empty` when there is no body.
    """
    if not body or body.isspace():
        raise OllamaError(400, empty)
    try:
        fields = decode_fields(body, struct)
    except GoError as error:
        raise OllamaError(400, str(error)) from None
    return typed(fields, struct.partition(".")[2], STRUCTS[struct])


def typed(fields: dict[str, Any], path: str, types: dict[str, GoType]) -> dict[str, Any]:
    """Of these fields those that are not null. Raises OllamaError, 400, for one of a wrong type; `path` names it."""
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if name in types:
            check(value, f"{path}.{name}", types[name])
    return given


def nested(value: Any, path: str, struct: str, of: str) -> dict[str, Any]:
    """The fields of an object within the body, as `read_fields` gives those of the whole; `of` is its Go type."""
    check(value, path, GoType(dict, of))
    return typed(lowered(value), path, STRUCTS[struct])


def check(value: Any, path: str, wanted: GoType) -> None:
    """Raises OllamaError, 400, when `value` is of another type; `path` names the field."""
    # To Python a bool is an int; to Go it is no number.
    if isinstance(value, wanted.fits) and not (isinstance(value, bool) and wanted in {INT, FLOAT}):
        return
    found = f"number {value}" if isinstance(value, float) and wanted is INT else kind(value)
    raise OllamaError(400, f"json: cannot unmarshal {found} into Go struct field {path} of type {wanted.name}")


def check_image(data: Any, path: str) -> None:
    """Raises OllamaError, 400, when `data` is not base64 as Go's decoder takes it."""
    check(data, path, GoType(str, "api.ImageData"))
    try:
        base64.b64decode(data.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        wrong = _NOT_BASE64.search(data)
        where = len(data) - len(data) % 4 if wrong is None else wrong.start()
        raise OllamaError(400, f"illegal base64 data at input byte {where}") from None


def wrong_option(options: dict[str, Any]) -> OllamaError | None:
    """How Ollama refuses the first option of a wrong type, once it comes to read them."""
    for name, value in options.items():
        word = _OPTION_TYPES.get(name)
        if word is None or value is None:
            continue
        if not isinstance(value, _OPTION_FITS[word]) or (isinstance(value, bool) and word != "boolean"):
            return OllamaError(500, f'option "{name}" must be of type {word}')
    return None


def read_keep_alive(value: Any) -> float | None:
    """Seconds, infinite for ever; None when the request does not say. Raises OllamaError, 400."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except GoError as error:
            raise OllamaError(400, str(error)) from None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = -1.0 if value < 0 else float(min(value, LONGEST_DURATION))
    else:
        _invalid_keep_alive(value)
    return math.inf if seconds < 0 else seconds


def _invalid_keep_alive(value: Any) -> NoReturn:
    raise OllamaError(
        400, f"json: cannot unmarshal {kind(value)} into Go struct field .keep_alive of type api.Duration"
    )
