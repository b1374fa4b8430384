"""Watching a running router from the command line: what `GET /herd/v1/events` tells, as it comes."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from herd.actors.ports import Answer, ModelServers
from herd.cli.remote.asking import puzzled, refusal_of
from herd.errors import HerdError, ProtocolError, StreamFailed
from herd.protocols.live import STILL_HERE_S, Topic, decode
from herd.protocols.messages import RequestHead
from herd.protocols.sse import EventReader
from herd.types import BackendId, MiB, RequestId

# A router says at least every 15 s that it is there.
SILENT_S = 3 * STILL_HERE_S
MAX_REFUSAL = MiB


async def watched(servers: ModelServers, url: str, topics: Iterable[Topic]) -> AsyncGenerator[tuple[Topic, object]]:
    """Each event of a router: its topic and its document. Ends when the router stops.

    Args:
        servers: the client, with the key in its headers where one is needed.
        url: of the router, without a path.
        topics: what to watch.

    Raises:
        HerdError: it refuses, and says why, or does not answer as a router does.
        StreamFailed: there is no router, its answer broke off, or it has fallen silent.
    """
    path = f"/herd/v1/events?topics={','.join(topics)}"
    answer = await servers.exchange(url, RequestHead(RequestId(""), BackendId(""), "GET", path, size=0), None)
    try:
        if answer.status != 200:
            raise HerdError(refusal_of(await _document(answer)) or puzzled(url, answer.status))
        reader = EventReader()
        while piece := await _piece(answer):
            for event in reader.feed(piece):
                if event.name in frozenset(Topic):
                    yield Topic(event.name), decode(event.data)
    finally:
        answer.close()


async def _piece(answer: Answer) -> bytes:
    """What comes next; empty at the end. Raises StreamFailed."""
    try:
        async with asyncio.timeout(SILENT_S):
            return await answer.read()
    except TimeoutError as error:
        raise StreamFailed(f"the router has said nothing for {SILENT_S:.0f} s") from error


async def _document(answer: Answer) -> object:
    """The JSON of a short answer; None when it is none."""
    text = b""
    while len(text) <= MAX_REFUSAL and (piece := await _piece(answer)):
        text += piece
    try:
        return decode(text)
    except ProtocolError:
        return None
