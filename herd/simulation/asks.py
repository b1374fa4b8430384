"""What a client asks of a simulated model: the bodies of the inference endpoints, read into one value.

Bytes in, values out. Fields that change nothing in a simulated answer are ignored, as Ollama ignores unknown ones.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from herd.simulation.golang import LONGEST_DURATION, GoError, decode_fields, kind, parse_duration, well_formed
from herd.simulation.language import count_tokens, seed_of
from herd.types import Tokens

# What a chat template puts around each message, in tokens: role and separators, about as many for all families.
_TEMPLATE_TOKENS = 4

# Options of a runner beside num_ctx, and what Ollama takes where a request names none. What is chosen by Ollama itself
# (-1 layers on the GPU) is forgiven on both sides, and so stands for none here.
_RUNNER_OPTIONS = {
    "num_batch": 512,
    "num_gpu": -1,
    "main_gpu": 0,
    "use_mmap": 1,
    "num_thread": 0,
    "draft_num_predict": 0,
}

# Go keeps counts in 64 bits; JSON's numbers know no end.
_MOST_TOKENS = 2**63 - 1


class Surface(Enum):
    """Which endpoint was asked. The value is the name of the Go type that its decoder fills."""

    CHAT = "ChatRequest"
    GENERATE = "GenerateRequest"
    OPENAI = "ChatCompletionRequest"


class OllamaError(Exception):
    """The server answers with an error.

    Args:
        status: of the answer.
        text: Ollama's words.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for an answer."""

    surface: Surface
    model: str  # as the client wrote it, without the spaces around it
    seed: bytes  # of the answer: follows from what was asked, not from how it is to be delivered
    stream: bool
    prompt: Tokens
    empty: bool  # nothing to answer: a wish to load the model, or with keep_alive 0 to unload it
    images: bool = False
    tools: bool = False
    think: bool = False
    raw: bool = False
    include_usage: bool = False
    num_predict: Tokens | None = None
    num_ctx: Tokens | None = None
    keep_alive: float | None = None  # seconds; infinite for ever
    text: str = ""  # all that was said so far: what a slot's prefix cache holds
    runner_options: tuple[tuple[str, int], ...] = ()  # that reload a runner which has others, without Ollama's defaults


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    text: str
    images: bool


# The JSON type of each field that is read, and the name of the Go type that the error names.
_STRING, _BOOL, _NUMBER, _OBJECT = (str, "string"), (bool, "bool"), ((int, float), "int"), (dict, "map[string]any")
_FIELDS: dict[str, tuple[Any, str]] = {
    "model": _STRING,
    "prompt": _STRING,
    "system": _STRING,
    "stream": _BOOL,
    "raw": _BOOL,
    "options": _OBJECT,
    "stream_options": (dict, "openai.StreamOptions"),
    "messages": (list, "[]api.Message"),
    "images": (list, "[]api.ImageData"),
    "tools": (list, "api.Tools"),
    "max_tokens": _NUMBER,
    "seed": _NUMBER,
}


def read_ask(surface: Surface, body: bytes) -> Ask:
    """Understand a request body.

    Raises:
        OllamaError: 400 (500 for an option of the wrong type) in Ollama's words.
    """
    fields = read_fields(body, surface.value, empty="EOF" if surface is Surface.OPENAI else "missing request body")
    for name, value in fields.items():
        if name in _FIELDS:
            _check(value, surface.value, name, *_FIELDS[name])
    turns = _turns(surface, fields)
    if surface is Surface.OPENAI:
        return _openai_ask(fields, turns)
    return _native_ask(surface, fields, turns)


def read_fields(body: bytes, struct: str, *, empty: str = "missing request body") -> dict[str, Any]:
    """The fields of a body that are not null, names in lower case.

    Raises:
        OllamaError: 400; the text is `empty` when there is no body.
    """
    if not body.strip():
        raise OllamaError(400, empty)
    try:
        fields = decode_fields(body, struct)
    except GoError as error:
        raise OllamaError(400, str(error)) from None
    return {name: value for name, value in fields.items() if value is not None}


def _native_ask(surface: Surface, fields: dict[str, Any], turns: list[_Turn]) -> Ask:
    options = {name: value for name, value in fields.get("options", {}).items() if value is not None}
    limit = _option(options, "num_predict")
    context = _option(options, "num_ctx")
    model = _model(fields)
    return Ask(
        surface,
        model,
        _seed(model, turns, limit, options.get("seed")),
        stream=fields.get("stream", True),
        prompt=_prompt_tokens(turns),
        empty=not turns,
        images=any(turn.images for turn in turns),
        tools=bool(fields.get("tools")),
        think=bool(fields.get("think")),
        raw=fields.get("raw", False),
        num_predict=limit,
        num_ctx=context,
        keep_alive=_keep_alive(fields.get("keep_alive")),
        text=_said(turns),
        runner_options=_runner_options(options),
    )


def _openai_ask(fields: dict[str, Any], turns: list[_Turn]) -> Ask:
    if not turns:
        raise OllamaError(400, "[] is too short - 'messages'")
    limit = _positive(fields.get("max_tokens"))
    model = _model(fields)
    return Ask(
        Surface.OPENAI,
        model,
        _seed(model, turns, limit, fields.get("seed")),
        stream=fields.get("stream", False),
        prompt=_prompt_tokens(turns),
        empty=False,
        images=any(turn.images for turn in turns),
        tools=bool(fields.get("tools")),
        include_usage=fields.get("stream_options", {}).get("include_usage") is True,
        num_predict=limit,
        text=_said(turns),
    )


def _model(fields: dict[str, Any]) -> str:
    return well_formed(fields.get("model", "").strip())


def _seed(model: str, turns: list[_Turn], limit: Tokens | None, seed: Any) -> bytes:
    said = (part for turn in turns for part in (turn.role, turn.text))
    return seed_of(model.lower(), str(limit), str(seed), *said)


def _said(turns: list[_Turn]) -> str:
    return "".join(f"<{turn.role}>{turn.text}" for turn in turns)


def _runner_options(options: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """Of the options of a runner those that differ from Ollama's defaults."""
    named = ((name, options[name]) for name in _RUNNER_OPTIONS if isinstance(options.get(name), int))
    return tuple((name, int(value)) for name, value in named if int(value) != _RUNNER_OPTIONS[name])


def _prompt_tokens(turns: list[_Turn]) -> Tokens:
    return Tokens(sum(_TEMPLATE_TOKENS + count_tokens(turn.text) for turn in turns))


def _turns(surface: Surface, fields: dict[str, Any]) -> list[_Turn]:
    if surface is Surface.GENERATE:
        system, prompt = fields.get("system", ""), fields.get("prompt", "")
        turns = [_Turn("user", prompt, bool(fields.get("images")))] if prompt else []
        return [_Turn("system", system, False), *turns] if system and turns else turns
    return [_turn(surface, message) for message in fields.get("messages", [])]


def _turn(surface: Surface, message: Any) -> _Turn:
    _check(message, surface.value, "messages", dict, "api.Message")
    fields = {name.lower(): value for name, value in message.items() if value is not None}
    role, content = fields.get("role", ""), fields.get("content", "")
    _check(role, surface.value, "messages.role", *_STRING)
    if surface is Surface.OPENAI and isinstance(content, list):
        return _turn_of_parts(role.lower(), content)
    _check(content, surface.value, "messages.content", *_STRING)
    return _Turn(role.lower(), content, bool(fields.get("images")))


def _turn_of_parts(role: str, parts: list[Any]) -> _Turn:
    texts: list[str] = []
    images = False
    for part in parts:
        if not isinstance(part, dict):
            raise OllamaError(400, "invalid message format")
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part.get("type") == "image_url":
            _check_image(part.get("image_url"))
            images = True
        else:
            raise OllamaError(400, "invalid message format")
    return _Turn(role, "".join(texts), images)


def _check_image(image: Any) -> None:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise OllamaError(400, "invalid message format")
    if url.startswith(("http://", "https://")):
        raise OllamaError(400, "image URLs are not currently supported, please use base64 encoded data instead")
    if not url.startswith("data:"):
        raise OllamaError(400, "invalid image input")


def _check(value: Any, struct: str, field: str, wanted: Any, name: str) -> None:
    # To Python a bool is an int; to Go it is no number.
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise OllamaError(
            400, f"json: cannot unmarshal {kind(value)} into Go struct field {struct}.{field} of type {name}"
        )


def _option(options: dict[str, Any], name: str) -> Tokens | None:
    value = options.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise OllamaError(500, f'option "{name}" must be of type integer')
    return _positive(value)


def _positive(value: float | None) -> Tokens | None:
    """A count of tokens; none when it is zero, negative (Ollama's "no limit") or beyond all sense."""
    if value is None or not 1 <= value <= _MOST_TOKENS:
        return None
    return Tokens(int(value))


def _keep_alive(value: Any) -> float | None:
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
