"""Request bodies that need no file of their own: one short enough to be held, as nearly all are; a part of another."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from herd.actors.ports import Body
from herd.protocols.splice import Splice, Splicer, spliced_size
from herd.types import Bytes

T = TypeVar("T")


class MemoryBody:
    """A body held in memory; implements the port `Body`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> Bytes:
        """Length in bytes."""
        return Bytes(len(self._data))

    async def examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        """What `read` makes of it, at once."""
        return read(self._data)

    async def chunks(self, size: int) -> AsyncGenerator[bytes]:
        """The body in pieces of at most `size` bytes."""
        for start in range(0, len(self._data), size):
            yield self._data[start : start + size]

    def close(self) -> None:
        """Nothing to release."""


class SplicedBody:
    """Another body with splices, which stays where it is and is closed by its owner; implements the port `Body`."""

    def __init__(self, body: Body, splices: tuple[Splice, ...]) -> None:
        self._body = body
        self._splices = splices

    @property
    def size(self) -> Bytes:
        """Length in bytes."""
        return Bytes(spliced_size(self._body.size, self._splices))

    async def examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        """What `read` makes of it, where the other one would be read."""

        def spliced(data: bytes | memoryview) -> T:
            splicer = Splicer(self._splices)
            return read(splicer.feed(bytes(data)) + splicer.end())

        return await self._body.examine(spliced)

    async def chunks(self, size: int) -> AsyncGenerator[bytes]:
        """It in pieces of at most `size` bytes, as long as splices only take away."""
        splicer = Splicer(self._splices)
        async with aclosing(self._body.chunks(size)) as chunks:
            async for chunk in chunks:
                if data := splicer.feed(chunk):
                    yield data
        if data := splicer.end():
            yield data

    def close(self) -> None:
        """The other one is closed by whoever opened it."""
