"""From the router to a node: a stream is opened, and a request's bytes go out while its answer may already come in."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import TypeVar

from herd.actors import names
from herd.actors.delivery import Delivery, Failed
from herd.actors.node_proxy import Opened, Unavailable
from herd.actors.ports import Exchange, Streams
from herd.errors import LinkClosed, RequestError
from herd.protocols.messages import Failure, RequestHead, Usage
from herd.runtime import ActorDiedError, ActorHandle
from herd.types import KiB, NodeId, StreamId

SEND_SIZE = 64 * KiB  # one BODY frame, and what a stream takes without waiting

# How long a model server may read nothing of a request: as long as a client may read nothing of its answer. The hang-up
# of a client whose upload stands still is not seen, because nobody reads from it.
STALL_S = 900.0

T = TypeVar("T")


async def opened(
    find: Callable[[str], ActorHandle], streams: Streams, node: NodeId, stream: StreamId, head: RequestHead
) -> Exchange | Failed:
    """Open a stream to a node. Whoever calls closes it (`streams.close`), whatever came of it.

    Raises:
        UnsendableError: the head of the request is longer than a frame.
    """
    try:
        answer: Opened | Unavailable = await find(names.node_proxy(node)).open.remote(stream, head)
        if isinstance(answer, Unavailable):
            return Failed(Failure("link", answer.text))
        return streams.attach(stream)
    except (LinkClosed, ActorDiedError, ValueError) as error:  # ValueError: there is no such proxy any more
        return Failed(Failure("link", str(error)))


async def carried(exchange: Exchange, pieces: AsyncGenerator[bytes], size: int, delivery: Delivery) -> Usage | Failed:
    """Send the request, and deliver the answer.

    A long request is sent while the answer is read: a server may refuse it, at length, before it has read it all.

    Args:
        exchange: the opened stream.
        pieces: the body.
        size: of the body; -1 when it is not known beforehand.
        delivery: of the answer that comes over `exchange`.

    Raises:
        StreamFailed: the answer broke after its first byte, and the client was told.
        RequestError: the server took nothing of the request for too long; the answer may have begun.
        Exception: whatever `pieces` raises; the answer may have begun.
    """
    if 0 <= size <= SEND_SIZE:
        await _send(exchange.send, exchange.end, pieces)
        return await delivery.run()

    async def send(piece: bytes) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await exchange.send(piece)
        except TimeoutError as error:
            text = f"the model server took nothing of the request for {STALL_S:.0f} s"
            raise RequestError(text, status=504) from error

    return await _alongside(delivery.run(), _send(send, exchange.end, pieces))


async def _send(
    send: Callable[[bytes], Awaitable[None]], end: Callable[[], Awaitable[None]], pieces: AsyncGenerator[bytes]
) -> None:
    async with contextlib.aclosing(pieces):
        with contextlib.suppress(LinkClosed):  # whoever receives from the exchange is told too
            async for piece in pieces:
                await send(piece)
            await end()


async def _alongside(main: Awaitable[T], helper: Coroutine[None, None, None]) -> T:
    """The result of `main`, beside which `helper` runs: it is cancelled when `main` ends, and its failure is ours."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(helper)
            result = await main
            task.cancel()
    except BaseExceptionGroup as group_of_one:
        raise group_of_one.exceptions[0] from None
    return result
