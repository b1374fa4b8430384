"""Speech as text: `/v1/audio/transcriptions`, which Ollama has since 0.20.0. It is a chat about a recording."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from herd.actors.ports import Headers, Sink
from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface, Turn, Wishes, compose
from herd.simulation.ollama.golang import encode
from herd.simulation.ollama.inference import Inference
from herd.simulation.ollama.library import Library
from herd.simulation.ollama.voices.script import ToolCall
from herd.simulation.ollama.voices.voice import Metrics, Said
from herd.types import Capability, Tokens

PATH = "/v1/audio/transcriptions"

# Ollama's words for every kind of file that a model does not take.
_NOT_FOR_IT = OllamaError(400, "this model is missing data required for image input")

# A second of sound is so many tokens of a prompt to the gemma models that hear, and so many are spoken in it: 150 words
# a minute. Of other files than WAV the length is taken from their bytes, at 128 kbit/s.
_HEARD, _SPOKEN = 25.0, 3.0
_BYTES_A_SECOND = 16_000
_LEAST = 3


@dataclass(frozen=True, slots=True)
class Recording:
    """One upload."""

    model: str
    data: bytes
    response_format: str = ""
    language: str = ""
    prompt: str = ""

    @property
    def seconds(self) -> float:
        """How long it plays: exact for a WAV, else a guess."""
        if self.data[:4] == b"RIFF" and self.data[8:16] == b"WAVEfmt " and len(self.data) >= 44:
            (rate,) = struct.unpack("<I", self.data[28:32])
            return (len(self.data) - 44) / rate if rate else 0.0
        return len(self.data) / _BYTES_A_SECOND


async def transcribe(recording: Recording, library: Library, inference: Inference, sink: Sink) -> None:
    """Answer with what is said in a recording; it is not what is said in it. Raises OllamaError."""
    model = library.find(recording.model, missing=f"model '{recording.model}' not found")
    if Capability.AUDIO not in model.capabilities:
        raise _NOT_FOR_IT
    spoken = Tokens(max(_LEAST, round(recording.seconds * _SPOKEN)))
    turns = [Turn("user", f"{recording.language} {recording.prompt}".strip())]
    sound = hashlib.sha256(recording.data).hexdigest()
    ask = compose(Surface.CHAT, recording.model, turns, Wishes(stream=False, think=False, num_predict=spoken), [sound])
    heard = Tokens(ask.prompt + round(recording.seconds * _HEARD))
    await inference.answer(replace(ask, prompt=heard), sink, _voice(recording.response_format == "text"))


def read_recording(content_type: str, body: bytes) -> Recording:
    """Understand an upload. Raises OllamaError."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise OllamaError(400, "failed to parse multipart form: request Content-Type isn't multipart/form-data")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    if not form.is_multipart():
        raise OllamaError(400, "failed to parse multipart form: no multipart boundary param in Content-Type")
    parts = {_name(part): part for part in reversed(list(form.iter_parts()))}  # of two that are equal the first counts
    fields = {name: _content(part).decode("utf-8", "replace") for name, part in parts.items() if not _is_file(part)}
    model = fields.get("model", "")
    if not model:
        raise OllamaError(400, "model is required")
    sound = parts.get("file")
    if sound is None or not _is_file(sound):
        raise OllamaError(400, "file is required: http: no such file")
    data = _content(sound)
    if not data:
        raise OllamaError(400, "audio file is empty")
    more = {name: fields.get(name, "") for name in ("response_format", "language", "prompt")}
    return Recording(model, data, **more)


def _name(part: Message) -> str:
    return str(part.get_param("name", "", "content-disposition"))


def _is_file(part: Message) -> bool:
    return part.get_filename() is not None


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _voice(as_text: bool) -> Callable[[Ask, Callable[[], float]], "TranscriptVoice"]:
    return lambda _ask, _wall: TranscriptVoice(as_text)


class TranscriptVoice:
    """The words alone, or in an object. Nothing is streamed.

    Args:
        as_text: the words alone.
    """

    stream_headers: Headers = ()

    def __init__(self, as_text: bool) -> None:
        self._as_text = as_text
        self.whole_type = self.stream_type = "text/plain" if as_text else "application/json"

    def begin(self) -> list[bytes]:
        return []

    def thought(self, _text: str) -> list[bytes]:
        return []

    def piece(self, _text: str) -> list[bytes]:
        return []

    def call(self, _call: ToolCall) -> list[bytes]:
        return []

    def end(self, _metrics: Metrics) -> list[bytes]:
        return []

    def whole(self, said: Said, _metrics: Metrics) -> bytes:
        text = said.text.strip()
        return text.encode() if self._as_text else encode({"text": text}) + b"\n"

    def broken(self, error: OllamaError) -> list[bytes]:
        del error  # as in every answer of the /v1 endpoints
        return []
