"""Shapes of what clients send and read, for the description of the HTTP surface: see `openapi`.

Of a request these are the fields that routing reads. All others go to the model server as they come, so none is ruled
out. Bodies are JSON whatever their Content-Type says, as with Ollama.
"""

from typing import Any

from herd.protocols.media import MAX_SIDE, MAX_STEPS
from herd.types import Api, Dialect

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_WHOLE: Schema = {"type": "integer"}
_OBJECT: Schema = {"type": "object"}
_OBJECTS: Schema = {"type": "array", "items": _OBJECT}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TEXT_OR_TEXTS: Schema = {"oneOf": [_TEXT, _TEXTS]}
_TEXT_OR_OBJECTS: Schema = {"oneOf": [_TEXT, _OBJECTS]}

MODEL: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 512,
    "pattern": r"\S",
    "description": "A model's name as Ollama spells it: `m` is `m:latest`.",
}
_STREAM: Schema = {"type": "boolean", "description": "Whether the answer comes piece by piece."}
_KEEP_ALIVE: Schema = {
    "type": ["string", "number"],
    "description": "How long the model stays in memory then: seconds, or a duration such as `5m`; below 0 for ever.",
}
_OPTIONS: Schema = {
    "type": "object",
    "properties": {
        "num_ctx": {"type": "integer", "description": "Tokens of context to load the model with."},
        "num_predict": {"type": "integer", "description": "Tokens of the answer, at most."},
    },
}
_LIMIT: Schema = {"type": "integer", "description": "Tokens of the answer, at most."}


_FALLBACKS: Schema = {
    "type": "array",
    "items": MODEL,
    "maxItems": 8,
    "description": "Models that may serve the request in the place of the one it names, in order.",
}


def shape(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these fields, and any others."""
    made: Schema = {"type": "object", "properties": properties}
    return made | {"required": list(required)} if required else made


def _asked(*required: str, **properties: Schema) -> Schema:
    """What asks a model."""
    return shape(("model", *required), model=MODEL, fallback_models=_FALLBACKS, **properties)


def _form(*required: str, **properties: Schema) -> Schema:
    """What asks a model with a file. Fields of a form are texts."""
    return shape(("model", *required), model=MODEL, **properties)


_SIDE: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE, "description": "Pixels."}
_STEPS: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_STEPS,
    "description": "How often it is gone over.",
}
_PROMPT: Schema = {"type": "string", "minLength": 1, "description": "What there is to be seen."}
_SIZE: Schema = {"type": "string", "description": "Pixels, width and height: `1024x768`."}
_COUNT: Schema = {"type": "integer", "minimum": 1, "description": "How many images."}
_AS_TEXT: Schema = {"type": "string", "pattern": "^[0-9]+$"}
_FILE: Schema = {"type": "string", "format": "binary", "minLength": 1}
_SAID: Schema = {"type": "string", "description": "`json`, `text`, `srt`, `verbose_json` or `vtt`, as the server can."}
_STREAM_TEXT: Schema = {"enum": ["true", "false"], "description": "Whether the answer comes piece by piece."}

# What is asked of a model in a form with a file, by the endpoint.
UPLOADED: dict[Api, Schema] = {
    Api.IMAGE_EDITS: _form(
        "prompt", "image", prompt=_PROMPT, image=_FILE, size=_SIZE, n=_AS_TEXT, steps=_AS_TEXT, stream=_STREAM_TEXT
    ),
    Api.TRANSCRIPTIONS: _form("file", file=_FILE, language=_TEXT, response_format=_SAID, stream=_STREAM_TEXT),
    Api.TRANSCRIBE: _form("file", file=_FILE, language=_TEXT, prompt=_TEXT),
}

# What is asked of a model, by the endpoint.
ASKED: dict[Api, Schema] = {
    Api.OLLAMA_CHAT: _asked(
        messages=_OBJECTS,
        stream=_STREAM,
        tools=_OBJECTS,
        options=_OPTIONS,
        keep_alive=_KEEP_ALIVE,
    ),
    Api.OLLAMA_GENERATE: _asked(
        prompt=_TEXT,
        suffix=_TEXT,
        images=_TEXTS,
        stream=_STREAM,
        options=_OPTIONS,
        keep_alive=_KEEP_ALIVE,
    ),
    Api.OLLAMA_EMBED: _asked("input", input=_TEXT_OR_TEXTS, options=_OPTIONS, keep_alive=_KEEP_ALIVE),
    Api.OLLAMA_EMBEDDINGS: _asked("prompt", prompt=_TEXT, options=_OPTIONS, keep_alive=_KEEP_ALIVE),
    Api.CHAT: _asked(
        "messages",
        messages=_OBJECTS | {"minItems": 1},
        stream=_STREAM,
        tools=_OBJECTS,
        max_tokens=_LIMIT,
        max_completion_tokens=_LIMIT,
    ),
    Api.COMPLETIONS: _asked("prompt", prompt=_TEXT, suffix=_TEXT, stream=_STREAM, max_tokens=_LIMIT),
    Api.EMBEDDINGS: _asked("input", input=_TEXT_OR_TEXTS),
    Api.RESPONSES: _asked(
        "input",
        input=_TEXT_OR_OBJECTS,
        stream=_STREAM,
        tools=_OBJECTS,
        max_output_tokens=_LIMIT,
    ),
    Api.MESSAGES: _asked(
        "max_tokens",
        "messages",
        max_tokens=_LIMIT | {"minimum": 1},
        messages=_OBJECTS | {"minItems": 1},
        system=_TEXT_OR_OBJECTS,
        stream=_STREAM,
        tools=_OBJECTS,
    ),
    Api.COUNT_TOKENS: _asked("messages", messages=_OBJECTS | {"minItems": 1}, system=_TEXT_OR_OBJECTS, tools=_OBJECTS),
    Api.IMAGES: _asked("prompt", prompt=_PROMPT, size=_SIZE, n=_COUNT, steps=_STEPS, stream=_STREAM),
    Api.IMAGE_EDITS: _asked("prompt", prompt=_PROMPT, size=_SIZE, n=_COUNT, steps=_STEPS, stream=_STREAM),
    Api.GENERATE_IMAGE: _asked(
        "prompt",
        prompt=_PROMPT,
        negative_prompt=_TEXT,
        width=_SIDE,
        height=_SIDE,
        steps=_STEPS,
        guidance={"type": "number", "description": "How closely the image follows the prompt."},
        seed=_WHOLE,
        quantize={"type": "integer", "description": "Bits of a weight, where the model server can choose."},
    ),
}

# What is answered in one piece. A stream has the same in pieces, in the form of the dialect.
ANSWERED: dict[Api, Schema] = {
    Api.OLLAMA_CHAT: shape(("model", "created_at", "message", "done"), message=_OBJECT, done=_FLAG),
    Api.OLLAMA_GENERATE: shape(("model", "created_at", "response", "done"), response=_TEXT, done=_FLAG),
    Api.OLLAMA_EMBED: shape(("model", "embeddings"), embeddings={"type": "array", "items": {"type": "array"}}),
    Api.OLLAMA_EMBEDDINGS: shape(("embedding",), embedding={"type": "array", "items": {"type": "number"}}),
    Api.CHAT: shape(("id", "object", "created", "model", "choices"), choices=_OBJECTS),
    Api.COMPLETIONS: shape(("id", "object", "created", "model", "choices"), choices=_OBJECTS),
    Api.EMBEDDINGS: shape(("object", "data", "model"), data=_OBJECTS),
    Api.RESPONSES: shape(("id", "object", "model", "output"), output=_OBJECTS),
    Api.MESSAGES: shape(("id", "type", "role", "model", "content"), content=_OBJECTS),
    Api.COUNT_TOKENS: shape(("input_tokens",), input_tokens=_WHOLE),
    Api.IMAGES: shape(("created", "data"), created=_WHOLE, data=_OBJECTS),
    Api.IMAGE_EDITS: shape(("created", "data"), created=_WHOLE, data=_OBJECTS),
    Api.GENERATE_IMAGE: _FILE,
    Api.TRANSCRIBE: shape(("text",), text=_TEXT),
    Api.TRANSCRIPTIONS: shape(("text",), text=_TEXT),
}
# Of what is not JSON, the types.
ANSWER_TYPES: dict[Api, str] = {Api.GENERATE_IMAGE: "image/png"}

UNSTREAMED = frozenset(
    {
        Api.OLLAMA_EMBED,
        Api.OLLAMA_EMBEDDINGS,
        Api.EMBEDDINGS,
        Api.COUNT_TOKENS,
        Api.GENERATE_IMAGE,
        Api.TRANSCRIBE,
    }
)

STREAM_TYPES = {
    Dialect.OLLAMA: "application/x-ndjson",
    Dialect.OPENAI: "text/event-stream",
    Dialect.ANTHROPIC: "text/event-stream",
}

# An error in the words of each dialect. A Herd endpoint speaks Ollama's.
ERRORS: dict[Dialect, Schema] = {
    Dialect.OLLAMA: shape(("error",), error=_TEXT),
    Dialect.OPENAI: shape(
        ("error",),
        error=shape(
            ("message", "type", "param", "code"),
            message=_TEXT,
            type=_TEXT,
            param={"type": ["string", "null"]},
            code={"type": ["string", "null"]},
        ),
    ),
    Dialect.ANTHROPIC: shape(
        ("type", "error"),
        type={"const": "error"},
        error=shape(("type", "message"), type=_TEXT, message=_TEXT),
        request_id=_TEXT,
    ),
}

_DETAILS = shape(
    ("parent_model", "format", "family", "families", "parameter_size", "quantization_level"),
    parent_model=_TEXT,
    format=_TEXT,
    family=_TEXT,
    families=_TEXTS,
    parameter_size=_TEXT,
    quantization_level=_TEXT,
)
_LISTED: dict[str, Schema] = {"name": _TEXT, "model": _TEXT, "size": _WHOLE, "digest": _TEXT, "details": _DETAILS}
_TIME: Schema = {"type": "string", "format": "date-time"}

TAGS = shape(
    ("models",),
    models={
        "type": "array",
        "items": shape((*_LISTED, "modified_at"), **_LISTED, modified_at=_TIME, capabilities=_TEXTS),
    },
)
PROCESSES = shape(
    ("models",),
    models={
        "type": "array",
        "items": shape(
            (*_LISTED, "expires_at", "size_vram", "context_length"),
            **_LISTED,
            expires_at=_TIME,
            size_vram=_WHOLE,
            context_length=_WHOLE,
        ),
    },
)
VERSION = shape(("version",), version=_TEXT | {"pattern": r"^\d+\.\d+\.\d+$"})
OPENAI_MODEL = shape(
    ("id", "object", "created", "owned_by"),
    id=_TEXT,
    object={"const": "model"},
    created=_WHOLE,
    owned_by=_TEXT,
    capabilities=_TEXTS,
)
OPENAI_MODELS = shape(("object", "data"), object={"const": "list"}, data={"type": "array", "items": OPENAI_MODEL})
HEALTH = shape(("status",), status=_TEXT)
PAUSE: Schema = shape(
    (), **{"for": {"type": ["string", "null"], "description": "A duration such as `90s`, `30m`, `2h` or `1h30m`."}}
)

# --- about models -----------------------------------------------------------------------------------------------------

SHOW = shape((), model=MODEL, name=MODEL, verbose=_FLAG)
SHOWN = shape(("details",), details=_OBJECT, model_info=_OBJECT, capabilities=_TEXTS)
PULL = shape((), model=MODEL, name=MODEL, insecure=_FLAG, stream=_STREAM)
CREATE = shape(("model",), model=MODEL, files=_OBJECT, adapters=_OBJECT, stream=_STREAM, **{"from": MODEL})
COPY = shape(("source", "destination"), source=MODEL, destination=MODEL)
DELETE = shape((), model=MODEL, name=MODEL)
PROGRESS = shape((), status=_TEXT)
CLOUD = shape(("cloud",), cloud=shape(("disabled", "source"), disabled=_FLAG, source=_TEXT))
