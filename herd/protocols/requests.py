"""What routing needs to know of a request's body, and nothing else.

Everything else is the model server's to judge, so the body is forwarded as it came. What makes routing impossible is
refused here, in the words and with the status that Ollama has for it on each endpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from herd.errors import RequestError
from herd.names import MAX_FALLBACKS
from herd.protocols.body_fields import FALLBACKS, Attached, read_fields
from herd.protocols.json_scan import Buffer, is_blank
from herd.protocols.paths import Endpoint
from herd.protocols.untrusted import MAX_INT, MAX_MODEL_NAME
from herd.types import Capability, Tokens

# Bytes of JSON for each token of the prompt. English text has about 4 bytes a token in the vocabularies of Llama, Qwen
# and Gemma; braces, keys and escapes make the guess a little high, which is the safe side for choosing a context.
BYTES_PER_TOKEN = 4

NO_TOKENS = Tokens(0)

_DIGEST = 8  # bytes: among some thousand conversations two are never taken for one

_Field = tuple[type, str]  # the JSON type as Python has it, and Go's name for it


@dataclass(frozen=True, slots=True)
class Routing:
    """What a request asks for.

    `streamed` says that a success will come as a stream: a request that only loads is answered by one JSON object.
    `loads_only`: no prompt, so the model is loaded, or with a `keep_alive` of zero unloaded. `keep_alive` is as sent
    (seconds, or a Go duration; empty for what is neither). `prompt_tokens` is a guess. `max_tokens` is None where there
    is no limit. `conversation` is a digest of how a conversation begins, the same for each of its turns; empty for a
    prompt. A turn that is not the first one `continues` it. `odd_context`: its `num_ctx` is none, and for the model
    server to refuse. `fallbacks` are models that may serve it in place of the one it names; None: it does not say.
    """

    model: str
    streamed: bool
    needs: tuple[Capability, ...] = ()
    keep_alive: str | int | float | None = None
    num_ctx: Tokens | None = None
    loads_only: bool = False
    prompt_tokens: Tokens = NO_TOKENS
    max_tokens: Tokens | None = None
    conversation: str = ""
    continues: bool = False
    odd_context: bool = False
    fallbacks: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    """One endpoint's way with bodies."""

    struct: str  # the Go struct a body is decoded into, package included: it stands in error texts
    fields: Mapping[str, _Field]  # what is checked of it
    prompt: str  # the field without which nothing is asked
    empty_body: str
    no_model: tuple[int, str]
    streams: bool  # when the body does not say
    native: bool  # Ollama's own API: knows `options` and `keep_alive`, and loads a model when there is no prompt


_STRING: _Field = (str, "string")
_BOOL: _Field = (bool, "bool")
_OPTIONS: _Field = (dict, "map[string]interface {}")

_FORMS = {
    "ollama.chat": _Form(
        struct="api.ChatRequest",
        fields={
            "model": _STRING,
            "stream": _BOOL,
            "messages": (list, "[]api.Message"),
            "tools": (list, "api.Tools"),
            "options": _OPTIONS,
        },
        prompt="messages",
        empty_body="missing request body",
        no_model=(400, "model is required"),
        streams=True,
        native=True,
    ),
    "ollama.generate": _Form(
        struct="api.GenerateRequest",
        fields={
            "model": _STRING,
            "stream": _BOOL,
            "prompt": _STRING,
            "suffix": _STRING,
            "images": (list, "[]api.ImageData"),
            "options": _OPTIONS,
        },
        prompt="prompt",
        empty_body="missing request body",
        no_model=(404, "model '' not found"),
        streams=True,
        native=True,
    ),
    "openai.chat": _Form(
        struct="openai.ChatCompletionRequest",
        fields={
            "model": _STRING,
            "stream": _BOOL,
            "messages": (list, "[]openai.Message"),
            "tools": (list, "[]api.Tool"),
        },
        prompt="messages",
        empty_body="EOF",
        no_model=(400, "model is required"),
        streams=False,
        native=False,
    ),
}

_NUMBERS = frozenset((int, float))
_DURATIONS = frozenset((int, float, str))
_BLANK = (b"", b" ", b"\t", b"\r", b"\n")
_KINDS = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


def read_request(endpoint: Endpoint, body: Buffer) -> Routing:
    """Read the body of an inference request.

    Raises:
        RequestError: 400 or 404 as Ollama answers: no body, broken JSON, a wrong type, no model, no messages.
    """
    form = _FORMS[endpoint.name]
    if body[:1] in _BLANK and is_blank(body):
        raise RequestError(form.empty_body)
    fields, attached = read_fields(body)
    if fields is None:
        fields = {}  # to Go a null is a body without fields
    if type(fields) is not dict:
        raise _mismatch(fields, f"value of type {form.struct}")
    for key, value in fields.items():
        expected = form.fields.get(key)
        if expected is not None and type(value) is not expected[0] and value is not None:
            raise _mismatch(value, f"struct field {form.struct.partition('.')[2]}.{key} of type {expected[1]}")
    prompted = bool(fields.get(form.prompt))
    if not prompted and not form.native:
        raise RequestError("[] is too short - 'messages'")
    model = (fields.get("model") or "").strip()
    if not model:
        status, words = form.no_model
        raise RequestError(words, status=status)
    if len(model) > MAX_MODEL_NAME:
        raise RequestError("invalid model name")
    return _routing(form, fields, attached, model=model, prompted=prompted, size=len(body))


def _routing(
    form: _Form, fields: dict[str, Any], attached: Attached, *, model: str, prompted: bool, size: int
) -> Routing:
    options = (fields.get("options") or {}) if form.native else {}
    streamed = fields.get("stream")
    keep_alive = fields.get("keep_alive") if form.native else None
    num_ctx = _tokens(options.get("num_ctx"))
    conversation, continues = _conversation(fields.get("messages"))
    limit = options.get("num_predict") if form.native else _first(fields, "max_tokens", "max_completion_tokens")
    return Routing(
        model=model,
        streamed=(form.streams if streamed is None else streamed) and prompted,
        needs=_needs(fields, attached),
        keep_alive=keep_alive if keep_alive is None or type(keep_alive) in _DURATIONS else "",
        num_ctx=num_ctx,
        loads_only=not prompted,
        prompt_tokens=Tokens(max(0, size - attached.size) // BYTES_PER_TOKEN),
        max_tokens=_tokens(limit),
        conversation=conversation,
        continues=continues,
        odd_context=num_ctx is None and options.get("num_ctx") is not None,
        fallbacks=_fallbacks(form.struct, fields.get(FALLBACKS)),
    )


def _conversation(messages: Any) -> tuple[str, bool]:
    """A digest of the messages up to the first of the user, and whether others follow it.

    A model server that served an earlier turn may have them in its prefix cache. The digest is empty where there are
    none to be seen: of a long body, which is only scanned.
    """
    if type(messages) is list:
        for count, message in enumerate(messages, 1):
            if type(message) is dict and message.get("role") == "user":
                digest = blake2b(orjson.dumps(messages[:count]), digest_size=_DIGEST).hexdigest()
                return digest, count < len(messages)
    return "", False


def _needs(fields: dict[str, Any], attached: Attached) -> tuple[Capability, ...]:
    """What a model must be able to do beside completing text, in the order of `Capability`."""
    needs: tuple[Capability, ...] = ()
    if fields.get("tools"):
        needs += (Capability.TOOLS,)
    if fields.get("suffix"):
        needs += (Capability.INSERT,)
    if attached.image:
        needs += (Capability.VISION,)
    if attached.audio:
        needs += (Capability.AUDIO,)
    return needs


def _fallbacks(struct: str, names: Any) -> tuple[str, ...] | None:
    """The names in `fallback_models`, which is a field of the router's own: a wrong one is refused as Go would."""
    if names is None:
        return None
    field = f"struct field {struct.partition('.')[2]}.{FALLBACKS} of type"
    if type(names) is not list:
        raise _mismatch(names, f"{field} []string")
    for name in names:
        if name is not None and type(name) is not str:
            raise _mismatch(name, f"{field} string")
        if not name or not 0 < len(name.strip()) <= MAX_MODEL_NAME or not name.isprintable():
            raise RequestError("invalid model name")
    if len(names) > MAX_FALLBACKS:
        raise RequestError(f"{FALLBACKS} has {len(names)} names: at most {MAX_FALLBACKS} count")
    return tuple(names)


def _first(fields: dict[str, Any], *keys: str) -> Any:
    return next((fields[key] for key in keys if fields.get(key) is not None), None)


def _tokens(value: Any) -> Tokens | None:
    """A number of tokens, cut to a whole one as Ollama does; None for anything else, and for "no limit" (below 0)."""
    return Tokens(int(value)) if type(value) in _NUMBERS and 0 <= value <= MAX_INT else None


def _mismatch(value: Any, target: str) -> RequestError:
    return RequestError(f"json: cannot unmarshal {_KINDS[type(value)]} into Go {target}")
