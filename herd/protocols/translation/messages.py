"""The messages of an Ollama chat as OpenAI's: attachments become parts of the content, tool calls get ids."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from herd.errors import RequestError
from herd.protocols.translation.fields import nested, strings, written
from herd.types import BackendKind

_PATH = "ChatRequest.messages"

# How files begin. Ollama's API does not say what an image is, and has sounds among the images.
_IMAGES = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"))
_SOUNDS = ((b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"), (b"\xff\xf2", "mp3"))
_HEAD = 16  # characters of base64: 12 bytes, enough for RIFF, a length, and the kind of its content

# Where thoughts of earlier turns go. Other servers have no place for them, and templates leave them out anyway.
THOUGHTS = {BackendKind.LLAMACPP: ("reasoning_content",), BackendKind.VLLM: ("reasoning", "reasoning_content")}


class _Calls:
    """Ids for tool calls, and which of them a tool's answer is for. Ollama's clients need to name neither."""

    def __init__(self) -> None:
        self._made = 0
        self._open: list[tuple[str, str]] = []  # id and name of those not yet answered

    def called(self, call: Any, path: str) -> dict[str, Any]:
        fields = nested(call, "api.ToolCall", path)
        function = nested(fields.get("function"), "api.ToolCallFunction", f"{path}.function")
        name = function.get("name", "")
        identity = fields.get("id") or self._id()
        self._open.append((identity, name))
        arguments = written(function.get("arguments", {})).decode()
        return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}

    def answered(self, identity: str, name: str) -> str:
        """The id of the call that a tool's answer is for: the one it names, else the oldest, of that tool if named."""
        for index, (known, tool) in enumerate(self._open):
            if known == identity or (not identity and name in {"", tool}):
                del self._open[index]
                return known
        return identity or self._id()

    def _id(self) -> str:
        self._made += 1
        return f"call_{self._made:08d}"


def chat_messages(messages: Iterable[Any], kind: BackendKind) -> list[dict[str, Any]]:
    """The messages of a chat.

    Raises:
        RequestError: 400 in Go's words; one of them has a field of a wrong type.
    """
    calls = _Calls()
    return [_message(message, calls, kind) for message in messages]


def _message(message: Any, calls: _Calls, kind: BackendKind) -> dict[str, Any]:
    fields = nested(message, "api.Message", _PATH)
    role = fields.get("role", "").lower()
    images = strings(fields.get("images", []), "api.ImageData", f"{_PATH}.images")
    said: dict[str, Any] = {"role": role, "content": content(fields.get("content", ""), images)}
    if thought := fields.get("thinking"):
        said |= dict.fromkeys(THOUGHTS.get(kind, ()), thought)
    if called := fields.get("tool_calls"):
        said["tool_calls"] = [calls.called(call, f"{_PATH}.tool_calls") for call in called]
    if role == "tool":
        said["tool_call_id"] = calls.answered(fields.get("tool_call_id", ""), fields.get("tool_name", ""))
    return said


def content(text: str, images: list[str]) -> str | list[dict[str, Any]]:
    """A text with its attachments, each in base64. Raises RequestError, 400, for one that is no base64."""
    if not images:
        return text
    attached = [_attachment(image) for image in images]
    return [{"type": "text", "text": text}, *attached] if text else attached


def _attachment(data: str) -> dict[str, Any]:
    data = data.replace("\r", "").replace("\n", "")
    try:
        head = base64.b64decode(data[:_HEAD], validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("illegal base64 data in images") from None
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    for start, sound in _SOUNDS:
        if head.startswith(start):
            return {"type": "input_audio", "input_audio": {"data": data, "format": sound}}
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        kind = "webp"
    else:
        # Servers decode by what the file is, not by what it is called; but a name there must be.
        kind = next((name for start, name in _IMAGES if head.startswith(start)), "jpeg")
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}
