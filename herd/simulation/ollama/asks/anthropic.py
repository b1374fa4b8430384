"""The body of /v1/messages, read."""

from typing import Any

from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface, Tool, Turn, Wishes, compose, model_name, positive
from herd.simulation.ollama.asks.fields import nested, read_fields
from herd.simulation.ollama.asks.openai import EMPTY
from herd.simulation.ollama.golang import encode

_PATH = "MessagesRequest.messages"


def read_message(body: bytes) -> Ask:
    """Understand a request for a message. Raises OllamaError."""
    fields = read_fields(body, Surface.MESSAGES.value, empty=EMPTY)
    model = model_name(fields)
    if not model:
        raise OllamaError(400, "model is required")
    limit = fields.get("max_tokens", 0)
    if limit <= 0:
        raise OllamaError(400, "max_tokens is required and must be positive")
    if not fields.get("messages"):
        raise OllamaError(400, "messages is required")
    turns = [turn for message in fields["messages"] for turn in _turns(message)]
    if system := _text(fields.get("system")):
        turns.insert(0, Turn("system", system))
    wishes = Wishes(
        stream=fields.get("stream", False),
        tools=tuple(_tool(tool) for tool in fields.get("tools", ())),
        think=_think(fields.get("thinking", {})),
        num_predict=positive(limit),
        exact=False,  # every client has to send a limit, and most send the highest
    )
    return compose(Surface.MESSAGES, model, turns, wishes)


def _turns(message: Any) -> list[Turn]:
    """A message; what a tool said, which is a part of a user's message here, is one of its own."""
    fields = nested(message, _PATH, "anthropic.MessageParam", "anthropic.MessageParam")
    role, content = fields.get("role", ""), fields.get("content", "")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise OllamaError(400, "invalid message content")
    results = [Turn("tool", _text(block.get("content"))) for block in blocks if block.get("type") == "tool_result"]
    said = [_block_text(block) for block in blocks]
    images = tuple(_image(block.get("source")) for block in blocks if block.get("type") == "image")
    own = [Turn(role, "".join(said), images)] if any(said) or images else []
    return [*own, *results]


def _block_text(block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "thinking":
            return str(block.get("thinking", ""))
        case "tool_use":
            return encode([block.get("name"), block.get("input")]).decode()
        case _:
            return ""


def _text(content: Any) -> str:
    """The text of what may be a string, blocks or nothing."""
    if isinstance(content, list):
        return "".join(_block_text(block) for block in content if isinstance(block, dict))
    return content if isinstance(content, str) else ""


def _image(source: Any) -> str:
    if not isinstance(source, dict) or source.get("type") != "base64" or not isinstance(source.get("data"), str):
        raise OllamaError(400, "invalid image source")
    data: str = source["data"]
    return data


def _tool(tool: Any) -> Tool:
    fields = nested(tool, "MessagesRequest.tools", "anthropic.Tool", "anthropic.Tool")
    return Tool(fields.get("name", ""), fields.get("input_schema"))


def _think(thinking: dict[str, Any]) -> bool | None:
    return {"enabled": True, "adaptive": True, "disabled": False}.get(str(thinking.get("type")))
