"""What a client asks of a simulated model, as values: the same for every endpoint that it may have been asked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from herd.simulation.ollama.golang import encode, well_formed
from herd.simulation.ollama.language import count_tokens, seed_of
from herd.types import Tokens

# What a chat template puts around each message, in tokens: role and separators, about as many for all families.
_TEMPLATE_TOKENS = 4

# What an image is to a model: the figure published for gemma3. An assumption for the catalogue's other families that
# see: for some it depends on the size of the image, which nobody looks at here.
_IMAGE_TOKENS = 256

# Go keeps counts in 64 bits; JSON's numbers know no end.
_MOST_TOKENS = 2**63 - 1


class Surface(Enum):
    """Which endpoint was asked. The value is the Go type that its decoder fills."""

    CHAT = "api.ChatRequest"
    GENERATE = "api.GenerateRequest"
    OPENAI = "openai.ChatCompletionRequest"
    COMPLETIONS = "openai.CompletionRequest"
    RESPONSES = "openai.ResponsesRequest"
    MESSAGES = "anthropic.MessagesRequest"

    @property
    def generates(self) -> bool:
        """It goes on with a text; the others answer a conversation."""
        return self in {Surface.GENERATE, Surface.COMPLETIONS}


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
class Turn:
    """One message of a conversation, or all there is of a prompt."""

    role: str
    text: str
    images: tuple[str, ...] = ()  # as they were sent, in base64


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    parameters: Any  # a JSON schema


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the answer is to be, beside what it answers. Defaults are those of a request that does not say."""

    stream: bool = True
    tools: tuple[Tool, ...] = ()
    think: bool | None = None  # None: if the model can
    schema: Any = None  # the answer is JSON that fits this schema; None: it is text
    raw: bool = False
    suffix: bool = False  # the answer goes between two texts
    include_usage: bool = False
    num_predict: Tokens | None = None
    exact: bool = True  # the answer has `num_predict` tokens, if it has a bound; else at most so many
    seed: Any = None  # the client's
    num_ctx: Tokens | None = None
    keep_alive: float | None = None  # seconds; infinite for ever
    runner_options: tuple[tuple[str, int], ...] = ()  # that reload a runner which has others, without Ollama's defaults
    refusal: OllamaError | None = None  # of what Ollama looks at only when it seeks a runner


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for an answer."""

    surface: Surface
    model: str  # as the client wrote it, without the spaces around it
    seed: bytes  # of the answer: follows from what was asked, not from how it is to be delivered
    prompt: Tokens
    empty: bool  # nothing to answer: a wish to load the model, or with keep_alive 0 to unload it
    images: bool
    answers_tool: bool  # the last message is what a tool said
    text: str  # all that was said so far: what a slot's prefix cache holds
    wishes: Wishes


def compose(surface: Surface, model: str, turns: Sequence[Turn], wishes: Wishes, extra: Sequence[str] = ()) -> Ask:
    """The request that says `turns`, and `extra` that is no message but changes the answer."""
    all_turns = [Turn("tools", _declared(wishes.tools)), *turns] if wishes.tools else turns
    parts = [part for turn in all_turns for part in (turn.role, turn.text, *turn.images)]
    # Each of these makes another answer; a request that has none of them is the same as without the fields.
    for name, value in (("format", wishes.schema), ("think", wishes.think)):
        if value is not None:
            parts += (name, encode(value).decode())
    images = sum(len(turn.images) for turn in turns)
    return Ask(
        surface,
        model,
        seed_of(model.lower(), str(wishes.num_predict), str(wishes.seed), *parts, *extra),
        Tokens(sum(_TEMPLATE_TOKENS + count_tokens(turn.text) for turn in all_turns) + _IMAGE_TOKENS * images),
        empty=not turns,
        images=images > 0,
        answers_tool=bool(turns) and turns[-1].role == "tool",
        text="".join([f"<{turn.role}>{turn.text}" for turn in all_turns]),
        wishes=wishes,
    )


def model_name(fields: dict[str, Any]) -> str:
    """The model that a body names, as it is echoed; empty when it names none."""
    name: str = fields.get("model") or ""
    return well_formed(name.strip())


def positive(value: float | None) -> Tokens | None:
    """A count of tokens; none when it is zero, negative (Ollama's "no limit") or beyond all sense."""
    if value is None or not 1 <= value <= _MOST_TOKENS:
        return None
    return Tokens(int(value))


def _declared(tools: Sequence[Tool]) -> str:
    return encode([[tool.name, tool.parameters] for tool in tools]).decode()
