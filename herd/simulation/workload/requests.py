"""What a client asks of the fleet, as a value, and the text and the body that the value stands for."""

import math
from dataclasses import dataclass

from herd.simulation.machine.catalog import CATALOG
from herd.simulation.ollama.asks.native import ANSWER_LENGTH
from herd.types import Capability, Priority, Seconds, Tokens

# The block of Mooncake's traces (kvcache-ai/Mooncake): prompts share their beginnings in blocks of so many tokens.
BLOCK_TOKENS = 512

# `language.count_tokens` counts a token for every four letters, and `asks` four more for the template of a message.
_LETTERS = 4
_TEMPLATE_TOKENS = 4


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One request of one client."""

    at: Seconds  # since the start of the run
    client: str
    model: str  # a name of the catalogue
    prompt: Tokens  # of the whole prompt, what it shares with earlier ones included
    completion: Tokens  # of the answer
    priority: Priority = Priority.INTERACTIVE
    session: str = ""  # conversation it belongs to
    blocks: tuple[int, ...] = ()  # ids of the prompt's blocks: equal leading ids mean an equal leading text
    patience: float = math.inf  # seconds after which the client hangs up if its answer has not ended; inf: never
    tells_length: bool = False  # it asks for just so many tokens; else nobody knows before how long its answer gets


def embeds(model: str) -> bool:
    """Whether `model` makes vectors, not answers. A model that the catalogue does not know answers."""
    known = CATALOG.get(model)
    return known is not None and Capability.EMBEDDING in known.capabilities


def target(request: SimulatedRequest) -> str:
    """The path of Ollama's API that the request goes to."""
    return "/api/embed" if embeds(request.model) else "/api/chat"


def body(request: SimulatedRequest) -> dict[str, object]:
    """The request's JSON body. Its answer has `completion` tokens.

    The fake is told so by an option that no router knows; it is a limit of the client's where `tells_length` says so.
    """
    text = prompt_text(request)
    if embeds(request.model):
        return {"model": request.model, "input": text}
    return {
        "model": request.model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "options": {"num_predict" if request.tells_length else ANSWER_LENGTH: request.completion},
    }


def prompt_text(request: SimulatedRequest) -> str:
    """A text of which the fake counts exactly `prompt` tokens, but of one letter at least. It follows from the request.

    Every block is the same text wherever its id stands, cut short where the prompt ends: so of two prompts with equal
    leading ids the shorter one's text begins the longer one's. What the ids do not cover is the client's and the
    moment's own.
    """
    template = 0 if embeds(request.model) else _TEMPLATE_TOKENS
    letters = max(1, _LETTERS * (request.prompt - template))
    size = _LETTERS * BLOCK_TOKENS
    parts = [
        _repeated(f"{block} is what this part of the talk is about, ", min(size, letters - size * number))
        for number, block in enumerate(request.blocks[: math.ceil(letters / size)])
    ]
    rest = letters - sum(map(len, parts))
    return "".join((*parts, _repeated(f"{request.client} wrote at {request.at!r}, ", rest)))


def _repeated(pattern: str, letters: int) -> str:
    """So many letters of the pattern, over and over: a hash for every word would cost more than the fake itself."""
    return (pattern * (letters // len(pattern) + 1))[:letters]
