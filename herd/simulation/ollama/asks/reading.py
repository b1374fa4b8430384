"""A request's body, understood: which reader belongs to which endpoint."""

from collections.abc import Callable

from herd.simulation.ollama.asks.anthropic import read_message
from herd.simulation.ollama.asks.ask import Ask, Surface
from herd.simulation.ollama.asks.native import read_chat, read_generate
from herd.simulation.ollama.asks.openai import read_chat_completion, read_completion, read_response

_READERS: dict[Surface, Callable[[bytes], Ask]] = {
    Surface.CHAT: read_chat,
    Surface.GENERATE: read_generate,
    Surface.OPENAI: read_chat_completion,
    Surface.COMPLETIONS: read_completion,
    Surface.RESPONSES: read_response,
    Surface.MESSAGES: read_message,
}


def read_ask(surface: Surface, body: bytes) -> Ask:
    """Understand the body of a request for an answer.

    Raises:
        OllamaError: 400 in Ollama's words.
    """
    return _READERS[surface](body)
