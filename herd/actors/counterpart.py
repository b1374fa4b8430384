"""The model server that a request is translated for: what it is sent in place of the client's, and what comes back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from herd.actors.ports import Answer, Serving
from herd.errors import BodyTooLarge
from herd.protocols.answers import Reply
from herd.protocols.image_servers import NO_WORDS, ImageWords
from herd.protocols.messages import Head, RequestHead, Usage
from herd.runtime import ActorHandle
from herd.types import BackendKind, Bytes, Dialect, KiB, MiB

# Of a refusal: longer ones have the request in them.
MAX_REFUSAL = 64 * KiB

JSON = "application/json"

# Of the client's headers these speak of its own body and of the answer that it gets.
_NOT_THE_SERVERS = frozenset(("content-type", "content-encoding", "accept"))


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The model server that a request is translated for."""

    base_url: str
    kind: BackendKind
    actor: ActorHandle  # its Backend
    words: ImageWords = NO_WORDS  # in which it is asked for images


def onward(head: RequestHead, path: str, size: int, *, content_type: str = JSON, streamed: bool = False) -> RequestHead:
    """The head of what the server is sent by POST, in place of the client's `head`.

    Args:
        head: the client's.
        path: of the server's endpoint.
        size: bytes of the translated body; -1: not known beforehand.
        content_type: of that body.
        streamed: the server is asked for a stream.
    """
    kept = [pair for pair in head.headers if pair[0].lower() not in _NOT_THE_SERVERS]
    return replace(
        head,
        method="POST",
        path=path,
        headers=(*kept, ("Content-Type", content_type)),
        dialect=Dialect.OLLAMA if path.startswith("/api/") else Dialect.OPENAI,
        streamed=streamed,
        size=size,
    )


async def read(serving: Serving, limit: Bytes) -> bytes:
    """The body of a request that is to be translated. Raises BodyTooLarge."""
    if not serving.head.size:
        return b""
    body = bytearray()
    async for piece in serving.body():
        body += piece
        if len(body) > limit:
            raise BodyTooLarge(f"the request is longer than the {limit // MiB} MiB that can be translated")
    return bytes(body)


async def beginning(answer: Answer) -> bytes:
    """A refusal, as far as it is of interest."""
    body = bytearray()
    while len(body) < MAX_REFUSAL and (data := await answer.read()):
        body += data
    return bytes(body)


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body that is here already."""
    yield body


async def say(serving: Serving, reply: Reply) -> None:
    """Give a whole answer of the agent's own."""
    await serving.send_head(Head(reply.status, reply.headers))
    await serving.send(reply.body)
    fine = reply.status == 200
    serving.end(Usage(complete=fine, failed=not fine))
