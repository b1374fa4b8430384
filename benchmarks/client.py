"""A client's connection: an asyncio protocol that reads HTTP/1.1 answers and checks every byte of them."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter  # uvloop's own time has milliseconds

from benchmarks.traffic import SMALL_ANSWER, SMALL_REQUEST, stream_body, stream_lines, stream_request

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)

_OK = b"HTTP/1.1 200 "


class WrongAnswerError(Exception):
    """An answer is not what it must be; the text is for a person."""


class Connection(asyncio.Protocol, ABC):
    """One connection to what is measured, with one request on it at a time.

    Args:
        failed: told, once, what went wrong; the connection is cut then.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._transport: asyncio.Transport
        self._failed = failed
        self._received = bytearray()
        self._left: int | None = None  # bytes of the body, or of the chunk, that are still to come; None: before a head
        self._chunked = False
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment] # uvloop's is a Transport without saying so
        self.connected()

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._received += data
        try:
            while not self._over and self._step():
                pass
        except WrongAnswerError as error:
            self._fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection ends when this side has closed it, and not before."""
        if not self._over:
            self._fail(f"the connection was closed within an answer: {exc or 'cleanly'}")

    def close(self) -> None:
        """This connection has done its work."""
        self._over = True
        self._transport.close()

    def _fail(self, what: str) -> None:
        self._over = True
        self._transport.abort()
        self._failed(what)

    # --- for the two kinds --------------------------------------------------------------------------------------------

    @abstractmethod
    def connected(self) -> None:
        """The connection is there."""

    @abstractmethod
    def body(self, data: bytes) -> None:
        """A piece of the body. Raises WrongAnswerError."""

    @abstractmethod
    def ended(self) -> None:
        """The answer is whole. Raises WrongAnswerError."""

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Take one thing off what was received; False when that needs more bytes."""
        if self._left is None:
            return self._head()
        if self._chunked:
            return self._chunk()
        return self._rest()

    def _head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[: end + 2])
        if not head.startswith(_OK):
            raise WrongAnswerError(f"the answer is not 200: {bytes(self._received[:500])!r}")
        del self._received[: end + 4]
        length = _LENGTH.search(head)
        self._chunked = _CHUNKED.search(head) is not None
        if (length is None) is not self._chunked:
            raise WrongAnswerError(f"the answer must have one length: {head!r}")
        self._left = int(length[1]) if length else 0
        return True

    def _rest(self) -> bool:
        """The body that has a Content-Length."""
        if self._left is None or len(self._received) < self._left:
            return False
        data = bytes(self._received[: self._left])
        del self._received[: self._left]
        self._left = None
        self.body(data)
        self.ended()
        return True

    def _chunk(self) -> bool:
        """Every chunk that is whole, in one go."""
        received, at = bytes(self._received), 0
        while (line := received.find(b"\r\n", at)) >= 0:
            size = int(received[at:line], 16)
            end = line + 2 + size
            if len(received) < end + 2:
                break
            if received[end : end + 2] != b"\r\n":
                raise WrongAnswerError(f"a chunk ends wrongly: {received[at : end + 2][-80:]!r}")
            at = end + 2
            if not size:
                del self._received[:at]
                self._left = None
                self.ended()
                return True
            self.body(received[line + 2 : end])
        del self._received[:at]
        return False


class Asker(Connection):
    """Asks the same small question again and again.

    Args:
        answered: told the seconds that an answer took; says whether to ask again.
        failed: told what went wrong.
        request: the question.
    """

    def __init__(
        self, answered: Callable[["Asker", float], bool], failed: Callable[[str], None], request: bytes = SMALL_REQUEST
    ) -> None:
        super().__init__(failed)
        self.answered = answered
        self._request = request
        self._asked = 0.0

    def connected(self) -> None:
        """Ask the first time."""
        self.ask()

    def ask(self) -> None:
        """Send the question."""
        self._asked = perf_counter()
        self._transport.write(self._request)

    def body(self, data: bytes) -> None:
        """The whole answer, which has a Content-Length."""
        if data != SMALL_ANSWER:
            raise WrongAnswerError(f"the answer has other bytes: {data[:200]!r}")

    def ended(self) -> None:
        """Ask again, if that is wanted."""
        if self._received:
            raise WrongAnswerError(f"bytes after the answer: {bytes(self._received[:200])!r}")
        if self.answered(self, perf_counter() - self._asked):
            self.ask()


class Listener(Connection):
    """Asks for one stream, and notes when its tokens come.

    Args:
        tokens: how many it must have.
        rate: tokens a second that it shall have; 0 is as fast as it goes.
        gaps: where the seconds between one token and the next go.
        heard: told the end of the stream.
        failed: told what went wrong.
    """

    def __init__(
        self,
        tokens: int,
        rate: float,
        gaps: list[float],
        heard: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(failed)
        self._request = stream_request(tokens, rate)
        self._expected = stream_body(tokens)
        self._length = len(stream_lines(tokens)[0])
        self._tokens = tokens
        self._gaps = gaps
        self._heard = heard
        self._position = 0
        self._count = 0
        self._last = 0.0

    def connected(self) -> None:
        """Ask."""
        self._transport.write(self._request)

    def body(self, data: bytes) -> None:
        """The next bytes; those of several tokens may come at once."""
        end = self._position + len(data)
        if self._expected[self._position : end] != data:
            raise WrongAnswerError(f"the stream has other bytes at {self._position}: {data[:200]!r}")
        self._position = end
        count = min(end // self._length, self._tokens)
        if count > self._count:
            now = perf_counter()
            if self._count:
                self._gaps.append(now - self._last)
            self._gaps.extend([0.0] * (count - self._count - 1))  # those that came together with another
            self._last, self._count = now, count

    def ended(self) -> None:
        """The stream is over; all of it must have come."""
        if self._position != len(self._expected):
            raise WrongAnswerError(f"the stream ends after {self._count} tokens of {self._tokens}")
        self.close()
        self._heard()
