"""Request bodies, read to their end before a request is placed: in memory while small, else in an unlinked file."""

import asyncio
import mmap
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from typing import IO, TypeVar

from herd.actors.body import MemoryBody
from herd.errors import BodyTooLarge
from herd.types import Bytes, MiB

# Chat requests are a few KiB; images and long contexts are the rest, and those are worth a file.
MEMORY_LIMIT = MiB

T = TypeVar("T")


class FileBody:
    """A body in an unlinked temporary file, which the system frees whatever becomes of this process."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        # The thread of an attempt that was cancelled may still read while the next attempt begins: they share the
        # file's position.
        self._reading = threading.Lock()

    @property
    def size(self) -> Bytes:
        """Length in bytes."""
        return Bytes(self._size)

    async def examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        """What `read` makes of the mapped file, off the loop: a long body takes up to a second."""
        return await asyncio.to_thread(self._examine, read)

    def _examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        with mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            return read(view)

    async def chunks(self, size: int) -> AsyncIterator[bytes]:
        """The body in pieces of at most `size` bytes, read off the loop."""
        start = 0
        while start < self._size:
            data = await asyncio.to_thread(self._read, start, size)
            start += len(data)
            yield data

    def _read(self, start: int, size: int) -> bytes:
        with self._reading:
            self._file.seek(start)
            return self._file.read(size)

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class Collector:
    """Gathers a body piece by piece, and moves it to a file once it passes MEMORY_LIMIT."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._held = 0
        self._size = 0
        self._file: IO[bytes] | None = None

    async def add(self, data: bytes) -> None:
        """Take the next piece. Raises BodyTooLarge beyond the limit."""
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)
        self._pieces.append(data)
        self._held += len(data)
        if self._held > MEMORY_LIMIT:
            await self._spill()

    async def _spill(self) -> None:
        data, self._pieces, self._held = b"".join(self._pieces), [], 0
        if self._file is None:
            self._file = await asyncio.to_thread(tempfile.TemporaryFile)
        await asyncio.to_thread(self._file.write, data)

    async def finish(self) -> MemoryBody | FileBody:
        """The body, whole."""
        if self._file is None:
            return MemoryBody(b"".join(self._pieces))
        await self._spill()
        await asyncio.to_thread(self._file.flush)
        file, self._file = self._file, None
        return FileBody(file, self._size)

    def discard(self) -> None:
        """Drop what was gathered. Idempotent; harmless after `finish`."""
        self._pieces = []
        if self._file is not None:
            self._file.close()
            self._file = None


def too_large(limit: int) -> BodyTooLarge:
    """The error for a body over `limit` bytes."""
    return BodyTooLarge(f"request body too large: the limit is {limit} bytes (herd --max-body)")
