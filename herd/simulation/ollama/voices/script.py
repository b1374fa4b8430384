"""What an answer is going to be: planned from the request before the first token is made."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.ollama.asks.ask import Ask
from herd.simulation.ollama.golang import well_formed
from herd.simulation.ollama.language import (
    answer_length,
    answer_pieces,
    count_tokens,
    cut,
    thought_length,
    thought_pieces,
)
from herd.simulation.ollama.voices.made_up import made_up
from herd.types import Capability, Tokens

# Of the id of a tool call: "call_" and eight of these.
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model makes."""

    id: str
    name: str
    arguments: Any  # an object


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. Of its `length` tokens the first `thought` are thoughts; the rest are a call, or text."""

    thought: Tokens
    length: Tokens
    reason: str  # why it ends: stop, length, load
    pieces: Iterator[str]  # one for each token of thoughts and text
    call: ToolCall | None = None


def plan(ask: Ask, model: SimulatedModel, speaker: str, most: Tokens) -> Script:
    """The answer to `ask`.

    Args:
        ask: the request.
        model: decides whether the answer begins with thoughts.
        speaker: named in the answer's first words.
        most: no answer has more tokens, whatever the request says.
    """
    if ask.empty:
        return Script(Tokens(0), Tokens(0), "load", iter(()))
    limit = ask.wishes.num_predict
    thought = thought_length(ask.seed) if _thinks(ask, model) else Tokens(0)
    if (call := _call(ask)) is not None:
        length = Tokens(thought + count_tokens(written(call.arguments)))
        if length <= min(most, limit or length):  # else the answer is a text that is cut off: no client can use half
            return Script(thought, length, "stop", thought_pieces(ask.seed, thought), call)
    text = _json(ask)
    free = Tokens(thought + (answer_length(ask.seed) if text is None else len(text)))
    exact = limit is not None and ask.wishes.exact and text is None
    wanted = limit if limit is not None and (exact or limit < free) else free
    length = Tokens(min(wanted, most))
    if length < free:  # it is cut off; half of it is thoughts at most, so that a short one says something too
        thought = Tokens(max(min(thought, length // 2), length - len(text) if text is not None else 0))
    rest = Tokens(length - thought)
    said = answer_pieces(ask.seed, speaker, rest) if text is None else islice(text, rest)
    reason = "length" if exact or length < free else "stop"
    return Script(thought, length, reason, chain(thought_pieces(ask.seed, thought), said))


def written(arguments: Any) -> str:
    """The arguments of a call, or an answer in JSON, as a text."""
    return well_formed(json.dumps(arguments, ensure_ascii=False, separators=(",", ":")))


def _thinks(ask: Ask, model: SimulatedModel) -> bool:
    """A model that can think does, unless it is told not to."""
    return Capability.THINKING in model.capabilities and ask.wishes.think is not False and not ask.wishes.raw


def _call(ask: Ask) -> ToolCall | None:
    """The call that the hash decides on: every second time, but never in answer to what a tool said."""
    tools = ask.wishes.tools
    if not tools or ask.answers_tool:
        return None
    choice = hashlib.sha256(b"call" + ask.seed).digest()
    if choice[0] % 2:
        return None
    tool = tools[choice[1] % len(tools)]
    letters = "".join(_ID_LETTERS[byte % len(_ID_LETTERS)] for byte in choice[2:10])
    arguments = made_up(tool.parameters, ask.seed) if isinstance(tool.parameters, dict) else {}
    return ToolCall(f"call_{letters}", tool.name, arguments if isinstance(arguments, dict) else {})


def _json(ask: Ask) -> list[str] | None:
    """The pieces of an answer that has to be JSON."""
    if ask.wishes.schema is None:
        return None
    return cut(written(made_up(ask.wishes.schema, ask.seed)))
