"""The blobs of a fake Ollama: what a client uploads before it makes a model. Their bytes are not kept."""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import unquote

from herd.actors.ports import HttpRequest, Sink
from herd.simulation.ollama.asks.ask import OllamaError
from herd.types import Bytes

PATH = "/api/blobs/"

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}", re.ASCII)

# What a model file in Ollama's own format begins with.
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Blob:
    """What is remembered of one."""

    size: Bytes
    is_model: bool  # it begins as a model file does


class Blobs:
    """Which blobs are there; as Ollama's `HeadBlobHandler` and `CreateBlobHandler` answer.

    Attributes:
        received: bytes of uploads that were read so far, refused ones included.
    """

    def __init__(self) -> None:
        self.received = 0
        self._blobs: dict[str, Blob] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._blobs

    def get(self, digest: str) -> Blob | None:
        """The blob of that digest, if it is there."""
        return self._blobs.get(digest)

    async def head(self, request: HttpRequest, sink: Sink) -> None:
        """Whether it is there."""
        digest = read_digest(unquote(request.path).removeprefix(PATH))
        if digest not in self._blobs:
            raise OllamaError(404, f'blob "{digest}" not found')
        await _answer(sink, 200)

    async def post(self, request: HttpRequest, sink: Sink) -> None:
        """Take it in; one that is there already is not read."""
        digest = read_digest(unquote(request.path).removeprefix(PATH))
        if digest in self._blobs:
            await _answer(sink, 200)
            return
        sha256 = hashlib.sha256()
        size, beginning = 0, b""
        async for piece in request.stream_body():
            self.received += len(piece)
            sha256.update(piece)
            size += len(piece)
            beginning += piece[: len(_MAGIC) - len(beginning)]
        found = f"sha256:{sha256.hexdigest()}"
        if found != digest:
            raise OllamaError(400, f'digest mismatch, expected "{digest}", got "{found}"')
        self._blobs[digest] = Blob(Bytes(size), beginning == _MAGIC)
        await _answer(sink, 201)


def read_digest(text: str) -> str:
    """The digest that `text` is, in the form that blobs are kept under. Raises OllamaError, 400."""
    if not _DIGEST.fullmatch(text):
        raise OllamaError(400, "invalid digest format")
    return text.replace("-", ":").lower()


async def _answer(sink: Sink, status: int) -> None:
    await sink.start(status, (("Content-Length", "0"),))
    await sink.finish()
