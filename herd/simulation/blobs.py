"""The blobs of a fake Ollama: what a client uploads before it makes a model. Digests are kept, bytes are not."""

import hashlib
import re

from herd.actors.ports import HttpRequest, Sink
from herd.simulation.asks import OllamaError

PATH = "/api/blobs/"

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}", re.ASCII)


class Blobs:
    """Which blobs are there; as Ollama's `HeadBlobHandler` and `CreateBlobHandler` answer.

    Attributes:
        received: bytes of uploads that were read so far, refused ones included.
    """

    def __init__(self) -> None:
        self.received = 0
        self._digests: set[str] = set()

    def __contains__(self, digest: str) -> bool:
        return digest in self._digests

    async def head(self, request: HttpRequest, sink: Sink) -> None:
        """Whether it is there."""
        digest = _digest_of(request)
        if digest not in self._digests:
            raise OllamaError(404, f'blob "{digest}" not found')
        await _answer(sink, 200)

    async def post(self, request: HttpRequest, sink: Sink) -> None:
        """Take it in; one that is there already is not read."""
        digest = _digest_of(request)
        if digest in self._digests:
            await _answer(sink, 200)
            return
        sha256 = hashlib.sha256()
        async for piece in request.stream_body():
            self.received += len(piece)
            sha256.update(piece)
        found = f"sha256:{sha256.hexdigest()}"
        if found != digest:
            raise OllamaError(400, f'digest mismatch, expected "{digest}", got "{found}"')
        self._digests.add(digest)
        await _answer(sink, 201)


def _digest_of(request: HttpRequest) -> str:
    name = request.path.removeprefix(PATH)
    if not _DIGEST.fullmatch(name):
        raise OllamaError(400, "invalid digest format")
    return name.replace("-", ":").lower()


async def _answer(sink: Sink, status: int) -> None:
    await sink.start(status, (("Content-Length", "0"),))
    await sink.finish()
