"""HTTP without sockets: requests and answers in memory, and model servers that are called instead of dialled.

For virtual time, where real sockets are not allowed, and for tests that want to see every write.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from herd.actors.body import MemoryBody
from herd.actors.ports import Handler, Headers
from herd.errors import BodyTooLarge, StreamFailed, Unreachable
from herd.protocols.messages import RequestHead
from herd.types import Bytes, KiB, Seconds

# Pieces of an answer between a handler and its reader. A few, so that a slow reader is felt as soon as over a socket
# whose buffers are kept small.
_PIECES = 4
_PIECE = 64 * KiB  # what a read of a socket gives at once, about


class InMemoryRequest:
    """An `HttpRequest` whose body is here already.

    Args:
        method: in capitals.
        target: the path, with its query if there is one.
        body: may be empty.
        headers: as a client would send them.
        peer: the client's address.
    """

    def __init__(
        self, method: str, target: str, body: bytes = b"", headers: Headers = (), peer: str = "127.0.0.1"
    ) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.peer = peer
        self._body = body

    async def read_body(self, limit: Bytes, *, inflate: bool = False) -> MemoryBody:
        """Raises BodyTooLarge. Nothing is compressed here."""
        del inflate
        if len(self._body) > limit:
            raise BodyTooLarge(f"the request body is longer than {limit} bytes")
        return MemoryBody(self._body)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    def stream_body(self) -> AsyncGenerator[bytes]:
        """The body in pieces, as a socket would hand them on."""
        return MemoryBody(self._body).chunks(_PIECE)


class RecordingSink:
    """A `Sink` that keeps everything. Never makes a writer wait, and grows with what is written: for tests.

    Attributes:
        status: 0 until the head is there.
        pieces: one for each write.
        finished: the answer ended cleanly.
        aborted: the connection was cut.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.pieces: list[bytes] = []
        self.finished = False
        self.aborted = False

    @property
    def started(self) -> bool:
        return self.status != 0

    @property
    def body(self) -> bytes:
        """All that was written."""
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of a header, its name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    async def start(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers

    async def write(self, data: bytes) -> None:
        self.pieces.append(data)

    async def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True


async def call(handler: Handler, method: str, target: str, body: Any = None) -> RecordingSink:
    """Have `handler` answer one request, to its end. `body` is sent as it is if it is bytes, else as JSON."""
    sink = RecordingSink()
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    await handler(InMemoryRequest(method, target, data), sink)
    return sink


class InMemoryAnswer:
    """Both ends of one answer: the `Sink` that its handler writes to, and the `Answer` that its client reads."""

    def __init__(self, handler: Handler, request: InMemoryRequest) -> None:
        self.status = 0
        self.headers: Headers = ()
        self._pieces: deque[bytes] = deque()  # at most _PIECES
        self._ended = False
        self._broken = ""
        self._cause: BaseException | None = None
        self._moved = asyncio.Event()
        self._task = asyncio.create_task(self._run(handler, request), name=f"{request.method} {request.path}")

    # --- The handler's end ----------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self.status != 0

    async def start(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self._move()

    async def write(self, data: bytes) -> None:
        while len(self._pieces) >= _PIECES:
            await self._wait()
        if data:  # an empty piece would be the end
            self._pieces.append(data)
            self._move()

    async def finish(self) -> None:
        self._ended = True
        self._move()

    def abort(self) -> None:
        self._break("the server closed the connection")

    async def _run(self, handler: Handler, request: InMemoryRequest) -> None:
        try:
            await handler(request, self)
        except Exception as error:  # noqa: BLE001 - goes to whoever reads the answer, as the cause of its failure
            self._cause = error
            self._break(f"the handler failed: {error!r}")
        else:
            self._break("the handler ended without finishing its answer")

    # --- The client's end -----------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """The handler is done, or was cancelled."""
        return self._task.done()

    async def head(self) -> None:
        """Wait for the head of the answer. Raises StreamFailed."""
        while not self.started:
            self._check()
            await self._wait()

    async def read(self) -> bytes:
        """The next write; empty at the end. Raises StreamFailed."""
        while not self._pieces:
            if self._ended:
                return b""
            self._check()
            await self._wait()
        piece = self._pieces.popleft()
        self._move()
        return piece

    def close(self) -> None:
        """Hang up: the handler is cancelled if it still runs. Idempotent."""
        self._break("the connection was closed")
        self._task.cancel()

    # --- Between them -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._broken:
            raise StreamFailed(self._broken) from self._cause

    def _break(self, why: str) -> None:
        if not self._ended and not self._broken:
            self._broken = why
            self._move()

    def _move(self) -> None:
        self._moved.set()

    async def _wait(self) -> None:
        # One event is enough: the writer waits only while there are pieces, the reader only while there are none.
        self._moved.clear()
        await self._moved.wait()


class InMemoryServers:
    """The `ModelServers` port without sockets: an exchange calls the handler that serves the base URL.

    A handler's task is cancelled when its client closes the answer, and when its server stops.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._answers: dict[str, list[InMemoryAnswer]] = {}  # open ones, by base URL

    def serve(self, base_url: str, handler: Handler) -> None:
        """Listen at `base_url`, such as `http://127.0.0.1:11434`."""
        self._handlers[base_url.rstrip("/")] = handler

    def stop(self, base_url: str) -> None:
        """Refuse connections from now on, and cut those that are open."""
        base = base_url.rstrip("/")
        self._handlers.pop(base, None)
        for answer in self._answers.pop(base, []):
            answer.close()

    async def exchange(self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None) -> InMemoryAnswer:
        """Send a request and return once the head of the answer is there.

        Raises:
            Unreachable: nobody listens there.
            StreamFailed: it broke off before the head.
        """
        self._handler(base_url)  # nobody sends a body to a closed port
        data = b"".join([piece async for piece in body]) if body is not None else b""
        return await self._call(base_url, InMemoryRequest(head.method, head.path, data, head.headers))

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        """GET (or POST `body` as JSON to) `url`; the status and the parsed JSON (None when it is not JSON).

        Raises:
            StreamFailed: no answer within `timeout` seconds.
        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = InMemoryRequest("GET", target)
        if body is not None:
            request = InMemoryRequest(
                "POST", target, json.dumps(body).encode(), (("Content-Type", "application/json"),)
            )
        try:
            async with asyncio.timeout(timeout):
                answer = await self._call(f"{parts.scheme}://{parts.netloc}", request)
                status, data = answer.status, await _read_all(answer)
        except TimeoutError:
            raise StreamFailed(f"no answer from {url} within {timeout:g} s") from None
        try:
            return status, json.loads(data)
        except ValueError:
            return status, None

    def _handler(self, base_url: str) -> Handler:
        handler = self._handlers.get(base_url.rstrip("/"))
        if handler is None:
            raise Unreachable(f"cannot connect to {base_url}: connection refused")
        return handler

    async def _call(self, base_url: str, request: InMemoryRequest) -> InMemoryAnswer:
        answer = InMemoryAnswer(self._handler(base_url), request)
        answers = self._answers.setdefault(base_url.rstrip("/"), [])
        answers[:] = [other for other in answers if not other.ended]
        answers.append(answer)
        try:
            await answer.head()
        except BaseException:
            answer.close()
            raise
        return answer


async def _read_all(answer: InMemoryAnswer) -> bytes:
    pieces: list[bytes] = []  # lists and reports of a model server: kilobytes
    try:
        while piece := await answer.read():
            pieces.append(piece)
    finally:
        answer.close()
    return b"".join(pieces)
