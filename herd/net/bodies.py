"""Request bodies, read to their end before a request is placed: in memory while small, else in an unlinked file."""

import asyncio
import errno
import logging
import mmap
import os
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import IO, TypeVar

from herd.actors.body import MemoryBody
from herd.errors import BodyTooLarge, RequestError
from herd.types import Bytes, KiB, MiB

# Chat requests are a few KiB; images and long contexts are the rest, and those are worth a file.
MEMORY_LIMIT = MiB
# What all bodies hold in memory together: thousands of usual requests at once, on a machine that has a model to hold.
# Whoever sends a mebibyte on each of a thousand connections gets files.
SHARED_MEMORY = 64 * MiB
# Of a body that is read on the loop. JSON that is none is read token by token, for the words in which Ollama says so:
# 2 ms for as much as this, and a quarter of a second for a mebibyte, in which no stream would move.
READ_AT_ONCE = 16 * KiB
# Room on the disk that bodies leave to the store, the log and everybody else on the machine.
DISK_RESERVE = 64 * MiB

# For "temporary files or directories that are preserved between system reboots": Filesystem Hierarchy Standard, 5.15.
ON_DISK = "/var/tmp"  # noqa: S108 - files there are unlinked as soon as they are made

T = TypeVar("T")

logger = logging.getLogger(__name__)


def directory() -> str:
    """Where long bodies lie: in TMPDIR where it is set, else on a disk. /tmp is memory on many a Linux."""
    usual = tempfile.gettempdir()
    return ON_DISK if usual == "/tmp" and os.access(ON_DISK, os.W_OK | os.X_OK) else usual  # noqa: S108


class Room:
    """The memory that the bodies of one listener share.

    Args:
        size: bytes of it.

    Attributes:
        free: bytes that nobody holds.
    """

    def __init__(self, size: int = SHARED_MEMORY) -> None:
        self.free = size

    def take(self, size: int) -> bool:
        """Hold so many bytes, if so many are free."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def give_back(self, size: int) -> None:
        """Hold so many bytes no longer."""
        self.free += size


class HeldBody(MemoryBody):
    """A body in memory, which takes its part of the room until it is closed."""

    def __init__(self, data: bytes, room: Room) -> None:
        super().__init__(data)
        self._room: Room | None = room

    async def examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        """What `read` makes of it; off the loop, unless it is short."""
        if self.size <= READ_AT_ONCE:
            return read(self._data)
        return await asyncio.to_thread(read, self._data)

    def close(self) -> None:
        """Give the room back. Idempotent."""
        room, self._room = self._room, None
        if room is not None:
            room.give_back(self.size)


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

    async def chunks(self, size: int) -> AsyncGenerator[bytes]:
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
    """Gathers a body piece by piece; moves it to a file once it passes MEMORY_LIMIT, or finds the room taken.

    Args:
        limit: bytes that the body may have.
        room: the memory that it shares with others.
    """

    def __init__(self, limit: int, room: Room | None = None) -> None:
        self._limit = limit
        self._room = Room() if room is None else room
        self._held = bytearray()  # not a list: a piece may be a single byte, and an object for each would be fifty
        self._size = 0
        self._file: IO[bytes] | None = None
        self._dropped = False

    async def add(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            BodyTooLarge: it is beyond the limit.
            RequestError: 507, the disk has no room for it.
        """
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)
        if len(self._held) + len(data) <= MEMORY_LIMIT and self._room.take(len(data)):
            self._held += data
        else:
            await self._spill(data)

    async def finish(self) -> MemoryBody | FileBody:
        """The body, whole. Raises RequestError as `add` does."""
        if self._file is None:
            data, self._held = bytes(self._held), bytearray()
            return HeldBody(data, self._room)
        if self._held:
            await self._spill(b"")
        file, self._file = self._file, None
        return FileBody(file, self._size)

    def discard(self) -> None:
        """Drop what was gathered. Idempotent; harmless after `finish`."""
        self._dropped = True
        held, self._held = self._held, bytearray()
        self._room.give_back(len(held))
        if self._file is not None:
            with suppress(OSError):  # of a full disk: what could not be written is not wanted any more
                self._file.close()
            self._file = None

    async def _spill(self, data: bytes) -> None:
        held, self._held = self._held, bytearray()
        taken = len(held)
        held += data
        try:
            await asyncio.to_thread(self._store, held)
        except OSError as error:
            logger.warning("a request body could not be stored in the temporary directory: %s", error)
            raise RequestError(f"the router cannot store this request body: {_reason(error)}", status=507) from error
        finally:
            self._room.give_back(taken)

    def _store(self, data: bytearray) -> None:
        """Append to the file; in a thread, which may outlive a request that was given up."""
        file = self._file
        if file is None:
            file = self._file = tempfile.TemporaryFile(dir=directory())  # noqa: SIM115 - the body closes it
        if self._dropped:
            file.close()
            return
        if sys.platform != "win32":
            disk = os.fstatvfs(file.fileno())
            if disk.f_bavail * disk.f_frsize < len(data) + DISK_RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(data)
        file.flush()


def too_large(limit: int) -> BodyTooLarge:
    """The error for a body over `limit` bytes."""
    return BodyTooLarge(f"request body too large: the limit is {limit} bytes (herd --max-body)")


def _reason(error: OSError) -> str:
    """Why, without the path, which is none of the client's business."""
    return os.strerror(error.errno) if error.errno else "no temporary directory"
