"""Answers of tools as the port `Answer`: whole ones, and images from files."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from herd.actors.ports import Headers
from herd.protocols.answers import Reply
from herd.types import KiB

# Of a file at once: a multiple of three bytes, which in base64 fills a frame of the link.
_PIECE = 48 * KiB


class HeldAnswer:
    """An answer that is there."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers: Headers = reply.headers
        self._body = reply.body

    async def read(self) -> bytes:
        """All of it; then its end."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """There is nothing to give up."""


class FilesAnswer:
    """OpenAI's answer with images as `b64_json`, read from their files piece by piece.

    Args:
        files: the images.
        frames: what stands around them: one more than there are files.
        headers: besides those of its content.
        closed: told when it has been read, or is given up.
    """

    status = 200

    def __init__(
        self,
        files: Sequence[Path],
        frames: Sequence[bytes],
        headers: Headers,
        closed: Callable[[], None],
    ) -> None:
        self._parts: list[bytes | Path] = [frames[0]]
        for file, frame in zip(files, frames[1:], strict=True):
            self._parts += [file, frame]
        length = sum(len(part) if isinstance(part, bytes) else _encoded(part.stat().st_size) for part in self._parts)
        self.headers: Headers = (("Content-Type", "application/json"), ("Content-Length", str(length)), *headers)
        self._file: IO[bytes] | None = None
        self._closed: Callable[[], None] | None = closed

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        while self._parts:
            part = self._parts[0]
            if isinstance(part, bytes):
                del self._parts[0]
                return part
            if self._file is None:
                self._file = part.open("rb")
            if data := await asyncio.to_thread(self._file.read, _PIECE):
                return b64encode(data)
            self._file.close()
            self._file = None
            del self._parts[0]
        return b""

    def close(self) -> None:
        """The images are not needed any more. Idempotent."""
        self._parts.clear()
        if self._file is not None:
            self._file.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


def _encoded(size: int) -> int:
    return 4 * ((size + 2) // 3)
