"""What routing needs to know of a request's body, and nothing else.

Everything else is the model server's to judge, so the body is forwarded as it came. What makes routing impossible is
refused here, in the words and with the status that Ollama has for it on each endpoint.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from herd.errors import RequestError
from herd.names import MAX_FALLBACKS
from herd.protocols.body_fields import FALLBACKS, Attached, read_fields
from herd.protocols.json_scan import Buffer, Span, is_blank
from herd.protocols.paths import Endpoint
from herd.protocols.request_forms import FLOAT, FORMS, INT, KINDS, FieldType, Form
from herd.protocols.untrusted import MAX_INT, MAX_MODEL_NAME
from herd.types import Capability, Tokens

# Bytes of JSON for each token of the prompt. English text has about 4 bytes a token in the vocabularies of Llama, Qwen
# and Gemma; braces, keys and escapes make the guess a little high, which is the safe side for choosing a context.
BYTES_PER_TOKEN = 4

NO_TOKENS = Tokens(0)

_DIGEST = 8  # bytes: among some thousand conversations two are never taken for one


@dataclass(frozen=True, slots=True)
class Routing:
    """What a request asks for.

    `streamed` says that a success will come as a stream: a request that only loads is answered by one JSON object.
    `loads_only`: no prompt, so the model is loaded, or with a `keep_alive` of zero unloaded. `keep_alive` is as sent
    (seconds, or a Go duration; empty for what is neither). `prompt_tokens` is a guess. `max_tokens` is None where there
    is no limit. `conversation` is a digest of how a conversation begins, the same for each of its turns; empty for a
    prompt. A turn that is not the first one `continues` it. `odd_context`: its `num_ctx` is none, and for the model
    server to refuse. `fallbacks` are models that may serve it in place of the one it names; None: it does not say.
    `amount` is the work that it is, in units of its endpoint (`Api.unit`), where that can be read of its body; `guess`
    is what its size suggests where it cannot, 0 for nothing. `model_at`: where its model's name stands in its body, if
    that is a form; None: it is JSON.
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
    amount: Tokens | None = None
    guess: Tokens = NO_TOKENS
    model_at: Span | None = None


_NUMBERS = frozenset((int, float))
_DURATIONS = frozenset((int, float, str))
_CACHE_MARK = "cache_control"
_BLANK = (b"", b" ", b"\t", b"\r", b"\n")


def read_request(endpoint: Endpoint, body: Buffer) -> Routing:
    """Read the body of an inference request.

    Raises:
        RequestError: 400 or 404 as Ollama answers: no body, broken JSON, a wrong type, no model, nothing asked.
    """
    form = FORMS[endpoint.api]
    if body[:1] in _BLANK and is_blank(body):
        raise RequestError(form.empty_body)
    fields, attached = read_fields(body, form.files)
    if fields is None:
        fields = {}  # to Go a null is a body without fields
    if type(fields) is not dict:
        raise _mismatch(fields, f"value of type {form.struct}")
    for key, value in fields.items():
        expected = form.fields.get(key)
        if expected is not None and value is not None and not _is(value, expected):
            target = f"struct field {form.struct.partition('.')[2]}.{key} of type {expected[1]}"
            raise _mismatch(value, target, whole=expected is INT)
    form.before(fields)
    model = (fields.get("model") or "").strip()
    if not model:
        status, words = form.no_model
        raise RequestError(words, status=status)
    if len(model) > MAX_MODEL_NAME:
        raise RequestError("invalid model name")
    form.after(fields)
    return _routing(form, fields, attached, model=model, size=len(body))


def _routing(form: Form, fields: dict[str, Any], attached: Attached, *, model: str, size: int) -> Routing:
    options = (fields.get("options") or {}) if form.native else {}
    prompted = bool(fields.get(form.prompt))
    loads_only = form.native and form.answers and not prompted
    streamed = form.streams if form.streams is None or fields.get("stream") is None else fields["stream"]
    keep_alive = fields.get("keep_alive") if form.native else None
    num_ctx = _tokens(options.get("num_ctx"))
    conversation, continues = _conversation(fields.get(form.prompt) if form.answers else None)
    limit = _first(fields, *form.limits) if form.limits else options.get("num_predict")
    return Routing(
        model=model,
        streamed=bool(streamed) and not loads_only,
        needs=_needs(form, fields, attached),
        keep_alive=keep_alive if keep_alive is None or type(keep_alive) in _DURATIONS else "",
        num_ctx=num_ctx,
        loads_only=loads_only,
        # A prompt of an image costs nothing to read beside the image.
        prompt_tokens=NO_TOKENS if form.pictures else Tokens(max(0, size - attached.size) // BYTES_PER_TOKEN),
        max_tokens=_tokens(limit) if form.answers else NO_TOKENS,
        conversation=conversation,
        continues=continues,
        odd_context=num_ctx is None and options.get("num_ctx") is not None,
        fallbacks=_fallbacks(form.struct, fields.get(FALLBACKS)),
        amount=form.amount(fields),
    )


def _is(value: Any, expected: FieldType) -> bool:
    """Whether a value is of a type, as Go has it."""
    return type(value) is expected[0] or (expected is FLOAT and type(value) is int)


def _conversation(messages: Any) -> tuple[str, bool]:
    """A digest of the messages up to the first of the user, and whether others follow it.

    A model server that served an earlier turn may have them in its prefix cache. The digest is empty where there are
    none to be seen: of a long body, which is only scanned.
    """
    if type(messages) is list:
        for count, message in enumerate(messages, 1):
            if type(message) is dict and message.get("role") == "user":
                try:
                    said = orjson.dumps([_unmarked(message) for message in messages[:count]])
                except TypeError:  # nested more deeply than orjson writes: no conversation has 250 levels
                    break
                return blake2b(said, digest_size=_DIGEST).hexdigest(), count < len(messages)
    return "", False


def _unmarked(message: Any) -> Any:
    """A message without the marks of what is to be cached, which Anthropic's clients move on from turn to turn."""
    content = message.get("content") if type(message) is dict else None
    if type(content) is not list or not any(type(block) is dict and _CACHE_MARK in block for block in content):
        return message
    blocks = [
        {key: value for key, value in block.items() if key != _CACHE_MARK} if type(block) is dict else block
        for block in content
    ]
    return message | {"content": blocks}


def _needs(form: Form, fields: dict[str, Any], attached: Attached) -> tuple[Capability, ...]:
    """What a model must be able to do beside completing text, in the order of `Capability`."""
    needs: tuple[Capability, ...] = ()
    if "tools" in form.fields and any(_calls(form, tool) for tool in fields.get("tools") or ()):
        needs += (Capability.TOOLS,)
    if "suffix" in form.fields and fields.get("suffix"):
        needs += (Capability.INSERT,)
    if attached.image:
        needs += (Capability.VISION,)
    if form.vectors:
        needs += (Capability.EMBEDDING,)
    if form.pictures:
        needs += (Capability.IMAGE,)
    if attached.audio:
        needs += (Capability.AUDIO,)
    return needs


def _calls(form: Form, tool: Any) -> bool:
    """Whether the model itself must be able to call a tool; of a long body none is seen, and then it is taken to."""
    return not form.functions or type(tool) is not dict or str(tool.get("type")) in form.functions


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


def _mismatch(value: Any, target: str, *, whole: bool = False) -> RequestError:
    """Go's words for a value of a wrong type; `whole`: of a number it says which, for it is not any number."""
    found = f"number {value}" if whole and type(value) is float else KINDS[type(value)]
    return RequestError(f"json: cannot unmarshal {found} into Go {target}")
