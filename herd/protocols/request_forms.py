"""The forms of inference requests: of each endpoint's body what is checked before it is routed, and in which words.

Names, words and order are those of Ollama: `server/routes.go`, `middleware/` and `openai/responses.go` there. A field
is in a form only if routing reads it, and if every kind of model server wants the same type there: token ids as a
`prompt` are nothing to Ollama, and fine with others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from herd.errors import RequestError
from herd.protocols.body_fields import Files
from herd.protocols.media import MAX_SIDE, MAX_STEPS, generated, painted
from herd.types import Api, Tokens

FieldType = tuple[type, str]  # the JSON type as Python has it, and Go's name for it

STRING: FieldType = (str, "string")
BOOL: FieldType = (bool, "bool")
INT: FieldType = (int, "int")
FLOAT: FieldType = (float, "float64")  # which a whole number is too
OPTIONS: FieldType = (dict, "map[string]interface {}")

# What Go calls the type of a JSON value, by the one that Python has for it.
KINDS = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}

_NO_FILES = Files()
_BLOCKS = Files(parts="messages", members=("source",))  # Anthropic's

_Fields = dict[str, Any]


def _nothing(_fields: _Fields) -> None:
    """There is nothing else to check."""


def _unsaid(_fields: _Fields) -> Tokens | None:
    """The body does not say how much work it asks for."""
    return None


@dataclass(frozen=True, slots=True)
class Form:
    """One endpoint's way with bodies."""

    struct: str  # the Go struct a body is decoded into, package included: it stands in error texts
    fields: Mapping[str, FieldType]  # what is checked of it
    prompt: str  # the field without which nothing is asked
    no_model: tuple[int, str]
    streams: bool | None  # when the body does not say; None: it never does
    native: bool = (
        False  # Ollama's own API: knows `options` and `keep_alive`, and loads a model when there is no prompt
    )
    limits: tuple[str, ...] = ()  # where the longest answer is said, the first that is there; none: in `options`
    answers: bool = True  # it makes tokens
    vectors: bool = False  # it makes vectors
    pictures: bool = False  # it makes images
    files: Files = _NO_FILES
    functions: tuple[str, ...] = ()  # types of tools that a model calls, where others are the server's own; none: all
    before: Callable[[_Fields], None] = field(default=_nothing)  # checked before the model's name, raises RequestError
    after: Callable[[_Fields], None] = field(default=_nothing)  # and after it
    amount: Callable[[_Fields], Tokens | None] = field(default=_unsaid)  # of work, in units of the endpoint

    @property
    def empty_body(self) -> str:
        """What an empty body is told."""
        return "missing request body" if self.native else "EOF"


_MODEL_REQUIRED = (400, "model is required")
_NO_SUCH_MODEL = (404, "model '' not found")


def _chat_messages(fields: _Fields) -> None:
    if not fields.get("messages"):
        raise RequestError("[] is too short - 'messages'")


def _limit_and_messages(fields: _Fields) -> None:
    if (fields.get("max_tokens") or 0) <= 0:
        raise RequestError("max_tokens is required and must be positive")
    _messages(fields)


def _messages(fields: _Fields) -> None:
    if not fields.get("messages"):
        raise RequestError("messages is required")


def _some_input(fields: _Fields) -> None:
    if fields.get("input") is None or fields["input"] == []:
        raise RequestError("invalid input")


def _text_or_list(fields: _Fields) -> None:
    if type(fields.get("input")) not in {str, list, type(None)}:
        raise RequestError("invalid input type")


def _text_or_items(fields: _Fields) -> None:
    found = fields.get("input")
    if type(found) not in {str, list, type(None)}:
        wrong = f"json: cannot unmarshal {KINDS[type(found)]} into Go value of type []json.RawMessage"
        raise RequestError(f"input must be a string or array: {wrong}")


def _prompt(fields: _Fields) -> None:
    if not fields.get("prompt"):
        raise RequestError("prompt is required")


_BOUNDS = {"width": MAX_SIDE, "height": MAX_SIDE, "steps": MAX_STEPS}


def _within_bounds(fields: _Fields) -> None:
    _prompt(fields)
    for name, most in _BOUNDS.items():
        if fields.get(name) is not None and not 1 <= fields[name] <= most:
            raise RequestError(f"{name} must be from 1 to {most}, not {fields[name]}")


def _image_form(struct: str) -> Form:
    """OpenAI's way to ask for images; `steps` is what local servers add to it."""
    return Form(
        struct=struct,
        fields={"model": STRING, "prompt": STRING, "stream": BOOL, "n": INT, "size": STRING, "steps": INT},
        prompt="prompt",
        no_model=_MODEL_REQUIRED,
        streams=False,
        answers=False,
        pictures=True,
        after=_prompt,
        amount=painted,
    )


_ANTHROPIC_FIELDS = {
    "model": STRING,
    "max_tokens": INT,
    "messages": (list, "[]anthropic.MessageParam"),
    "stream": BOOL,
    "tools": (list, "[]anthropic.Tool"),
}

FORMS: dict[Api, Form] = {
    Api.OLLAMA_CHAT: Form(
        struct="api.ChatRequest",
        fields={
            "model": STRING,
            "stream": BOOL,
            "messages": (list, "[]api.Message"),
            "tools": (list, "api.Tools"),
            "options": OPTIONS,
        },
        prompt="messages",
        no_model=_MODEL_REQUIRED,
        streams=True,
        native=True,
        files=Files(images="messages"),
    ),
    Api.OLLAMA_GENERATE: Form(
        struct="api.GenerateRequest",
        fields={
            "model": STRING,
            "stream": BOOL,
            "prompt": STRING,
            "suffix": STRING,
            "images": (list, "[]api.ImageData"),
            "options": OPTIONS,
        },
        prompt="prompt",
        no_model=_NO_SUCH_MODEL,
        streams=True,
        native=True,
        files=Files(images="images"),
    ),
    Api.OLLAMA_EMBED: Form(
        struct="api.EmbedRequest",
        fields={"model": STRING, "options": OPTIONS},
        prompt="input",
        no_model=_NO_SUCH_MODEL,
        streams=None,
        native=True,
        answers=False,
        vectors=True,
        after=_text_or_list,
    ),
    Api.OLLAMA_EMBEDDINGS: Form(
        struct="api.EmbeddingRequest",
        fields={"model": STRING, "prompt": STRING, "options": OPTIONS},
        prompt="prompt",
        no_model=_MODEL_REQUIRED,
        streams=None,
        native=True,
        answers=False,
        vectors=True,
    ),
    Api.CHAT: Form(
        struct="openai.ChatCompletionRequest",
        fields={
            "model": STRING,
            "stream": BOOL,
            "messages": (list, "[]openai.Message"),
            "tools": (list, "[]api.Tool"),
        },
        prompt="messages",
        no_model=_MODEL_REQUIRED,
        streams=False,
        limits=("max_tokens", "max_completion_tokens"),
        before=_chat_messages,
        files=Files(parts="messages"),
    ),
    Api.COMPLETIONS: Form(
        struct="openai.CompletionRequest",
        fields={"model": STRING, "stream": BOOL, "suffix": STRING},
        prompt="prompt",
        no_model=_NO_SUCH_MODEL,
        streams=False,
        limits=("max_tokens",),
    ),
    Api.EMBEDDINGS: Form(
        struct="openai.EmbedRequest",
        fields={"model": STRING},
        prompt="input",
        no_model=_NO_SUCH_MODEL,
        streams=None,
        answers=False,
        vectors=True,
        before=_some_input,
        after=_text_or_list,
    ),
    Api.RESPONSES: Form(
        struct="openai.ResponsesRequest",
        fields={"model": STRING, "stream": BOOL, "tools": (list, "[]openai.ResponsesTool")},
        prompt="input",
        no_model=_MODEL_REQUIRED,
        streams=False,
        limits=("max_output_tokens",),
        functions=("function", "namespace"),
        before=_text_or_items,
        files=Files(parts="input"),
    ),
    Api.MESSAGES: Form(
        struct="anthropic.MessagesRequest",
        fields=_ANTHROPIC_FIELDS,
        prompt="messages",
        no_model=_MODEL_REQUIRED,
        streams=False,
        limits=("max_tokens",),
        after=_limit_and_messages,
        files=_BLOCKS,
    ),
    Api.IMAGES: _image_form("openai.ImageGenerationRequest"),
    Api.IMAGE_EDITS: _image_form("openai.ImageEditRequest"),
    # Not Ollama's: as it would have them.
    Api.GENERATE_IMAGE: Form(
        struct="herd.GenerateImageRequest",
        fields={
            "model": STRING,
            "prompt": STRING,
            "negative_prompt": STRING,
            "width": INT,
            "height": INT,
            "steps": INT,
            "guidance": FLOAT,
            "seed": INT,
            "quantize": INT,
        },
        prompt="prompt",
        no_model=_MODEL_REQUIRED,
        streams=None,
        answers=False,
        pictures=True,
        after=_within_bounds,
        amount=generated,
    ),
    Api.COUNT_TOKENS: Form(
        struct="anthropic.MessagesRequest",
        fields={name: of for name, of in _ANTHROPIC_FIELDS.items() if name not in {"stream", "max_tokens"}},
        prompt="messages",
        no_model=_MODEL_REQUIRED,
        streams=None,
        answers=False,
        after=_messages,
        files=_BLOCKS,
    ),
}
