"""The request body of nearly every request: short enough to be held."""

from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

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
