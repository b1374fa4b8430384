"""One request to one node, once: opened, carried and closed. And sinks for answers that go no straight way."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from herd.actors.body import MemoryBody
from herd.actors.delivery import HOLD_LIMIT, Attempt, Delivery, Failed, WholeAnswer
from herd.actors.ports import Headers, Sink
from herd.actors.request import RouterParts
from herd.actors.sending import SEND_SIZE, carried, opened
from herd.actors.sinks import PassingSink
from herd.protocols.messages import Failure, RequestHead, Usage
from herd.protocols.progress import MAX_LINE, is_success
from herd.types import NodeId


async def passed(
    parts: RouterParts,
    node: NodeId,
    head: RequestHead,
    pieces: AsyncGenerator[bytes],
    sink: Sink,
    *,
    shown: Headers = (),
) -> Usage | Failed:
    """Have a node answer; the usage once `sink` has the answer, or how it failed before its first byte.

    Args:
        parts: of the router.
        node: which one.
        head: of the request.
        pieces: its body.
        sink: of the answer.
        shown: headers of Herd's own, for the answer.

    Raises:
        StreamFailed: the answer broke after its first byte, and the client was told.
        RequestError: the model server took nothing of the request for too long.
    """
    stream = parts.ids.stream()
    try:
        exchange = await opened(parts.find, parts.streams, node, stream, head)
        if isinstance(exchange, Failed):
            return exchange
        delivery = Delivery(exchange, sink, Attempt(head.dialect, head.streamed, shown, closes=False))
        return await carried(exchange, pieces, head.size, delivery)
    finally:
        parts.streams.close(stream)


async def answered(parts: RouterParts, node: NodeId, head: RequestHead, body: bytes) -> WholeAnswer | Failure:
    """What a node answers to a request that is short, as is its answer; or why it does not."""
    held = _HeldSink()
    done = await passed(parts, node, head, MemoryBody(body).chunks(SEND_SIZE), held)
    if isinstance(done, Failed):
        return done.answer or done.failure
    return WholeAnswer(held.status, held.headers, held.body)


class _HeldSink:
    """Keeps an answer, up to the length to which answers are held anyway."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.body = b""

    @property
    def started(self) -> bool:
        return self.status != 0

    async def start(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    async def write(self, data: bytes) -> None:
        if len(self.body) < HOLD_LIMIT:
            self.body += data

    async def finish(self) -> None:
        """It is whole."""

    def abort(self) -> None:
        """Whoever asked hears of it."""


class SettledSink(PassingSink):
    """Hands an answer on, but for the line that says that a model is there now: first it is to be so for requests too.

    Args:
        sink: of whoever is told.
        settle: waits until it is so, for a time.
    """

    def __init__(self, sink: Sink, settle: Callable[[], Awaitable[None]]) -> None:
        super().__init__(sink)
        self._settle = settle
        self._rest = b""  # of the answer since its last line end

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines[-1][-MAX_LINE:]
        if any(map(is_success, lines)):
            self._rest = b""
            await self._settle()
        await super().write(data)
