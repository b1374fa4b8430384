"""From a node's answer to the client: what can still be retried is held, and a broken answer never ends cleanly."""

from collections.abc import Callable
from dataclasses import dataclass, field

from herd.actors.ports import Exchange, Headers, Sink
from herd.errors import ProtocolError, StreamFailed
from herd.policy.retrying import RETRIED_STATUSES
from herd.protocols.answers import (
    RETRY_AFTER_S,
    RETRY_LATER,
    BoundaryWatch,
    StreamFormat,
    error_event,
    stream_format,
)
from herd.protocols.headers import value_of
from herd.protocols.messages import Failure, Head, Usage
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded, StreamEvent, StreamReset
from herd.protocols.usage import TAIL
from herd.types import Api, Dialect, MiB, Unit

# Whole answers are held until their end, so that they can be retried; a longer one is let through as it comes.
HOLD_LIMIT = MiB

_CLOSING = {b"{": b"}", b"[": b"]"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt to serve a request carries along."""

    dialect: Dialect
    streamed: bool
    headers: Headers  # of Herd's own, for the client
    closes: bool = True  # a whole answer has an end that its dialect knows; that to a blob has none
    begins: Callable[[int], None] = lambda _status: None  # called when the answer begins to reach the client
    api: Api | None = None  # what was asked of a model; None: it was something else
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer that was held to its end."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, sink: Sink) -> None:
        """Give it to the client."""
        await sink.start(self.status, self.headers)
        if self.body:
            await sink.write(self.body)
        await sink.finish()


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed before a byte of it reached the client. `answer` is what the backend said, if anything."""

    failure: Failure
    answer: WholeAnswer | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.failure.kind}: {self.failure.text}"


class Delivery:
    """Carries one answer.

    Args:
        exchange: the router's end of the stream; the request is sent, or still being sent beside this.
        sink: the client's answer, not started.
        attempt: what belongs to this attempt.
    """

    def __init__(self, exchange: Exchange, sink: Sink, attempt: Attempt) -> None:
        self._exchange = exchange
        self._sink = sink
        self._attempt = attempt

    async def run(self) -> Usage | Failed:
        """Carry the answer to its end: the usage once the client has it all, or how it failed before its first byte.

        Raises:
            StreamFailed: it broke after the first byte, and the client was told so as far as that is possible.
        """
        event = await self._exchange.receive()
        if isinstance(event, StreamReset):
            return Failed(event.failure)
        if not isinstance(event, HeadReceived):
            raise ProtocolError("the node's answer does not begin with its head")
        head = event.head
        form = stream_format(self._attempt.dialect, value_of(head.headers, "content-type"), self._attempt.api)
        if form is not None and head.status == 200:
            return await self._stream(head, form)
        return await self._whole(head)

    async def _whole(self, head: Head) -> Usage | Failed:
        """An answer that is one document: held to its end, up to a limit."""
        held: list[bytes] = []
        size = 0
        while True:
            event = await self._exchange.receive()
            if isinstance(event, StreamReset):
                return Failed(event.failure)
            if isinstance(event, StreamEnded):
                break
            if isinstance(event, DataReceived):
                held.append(event.data)
                size += len(event.data)
                if size > HOLD_LIMIT:
                    return await self._through(head, b"".join(held))
        body = b"".join(held)
        if head.status == 200 and self._is_cut_off(head, body, event.usage):
            return Failed(_failure_of(event))
        answer = WholeAnswer(head.status, self._headers(head), body)
        if head.status in RETRIED_STATUSES:
            return Failed(Failure("status", f"the model server answered {head.status}"), answer)
        self._attempt.begins(head.status)
        await answer.send(self._sink)
        return event.usage

    def _is_cut_off(self, head: Head, body: bytes, usage: Usage) -> bool:
        """Whether a success lacks its end, although its bytes were whole to HTTP. Pictures and plain text have none."""
        if self._is_of_media:
            return _is_json(head) and _is_half(body.strip())
        # Of a longer one the agent saw the tail only, and cannot tell.
        return self._attempt.closes and len(body) <= TAIL and not _ended_itself(usage)

    @property
    def _is_of_media(self) -> bool:
        """Whether it is a picture, or what somebody said."""
        return self._attempt.api is not None and self._attempt.api.unit is not Unit.TOKEN

    async def _through(self, head: Head, held: bytes) -> Usage:
        """A document too long to hold: what there is, then the rest as it comes."""
        # Of a document with vectors the agent cannot tell its end; of one with pictures it can.
        has_end = head.status == 200 and self._is_of_media and _is_json(head)
        self._attempt.begins(head.status)
        await self._sink.start(head.status, self._headers(head))
        await self._sink.write(held)
        while True:
            event = await self._exchange.receive()
            if isinstance(event, DataReceived):
                await self._sink.write(event.data)
            elif isinstance(event, StreamEnded) and (_ended_itself(event.usage) or not has_end):
                await self._sink.finish()
                return event.usage
            else:
                self._sink.abort()
                raise _broken(_failure_of(event))

    async def _stream(self, head: Head, form: StreamFormat) -> Usage | Failed:
        """A stream of events. The head goes out together with the first data."""
        event = await self._exchange.receive()
        if isinstance(event, StreamReset) or (isinstance(event, StreamEnded) and not _ended_itself(event.usage)):
            return Failed(_failure_of(event))
        watch = BoundaryWatch(form)
        sink = self._sink
        self._attempt.begins(head.status)
        await sink.start(head.status, self._headers(head))
        while isinstance(event, DataReceived):
            watch.feed(event.data)
            await sink.write(event.data)
            event = await self._exchange.receive()
        if isinstance(event, StreamEnded) and _ended_itself(event.usage):
            await sink.finish()
            return event.usage
        failure = _failure_of(event)
        if not watch.at_boundary:
            sink.abort()
            raise _broken(failure)
        last_words = error_event(form, _broken(failure), request_id=self._attempt.request_id, last=watch.last)
        await sink.write(last_words)
        await sink.finish()
        raise _broken(failure)

    def _headers(self, head: Head) -> Headers:
        """The backend's, and Herd's own, which are not a backend's to set."""
        own = {name.lower() for name, _ in self._attempt.headers}
        headers = (*[pair for pair in head.headers if pair[0].lower() not in own], *self._attempt.headers)
        if head.status in RETRY_LATER and not value_of(headers, "retry-after"):  # Ollama never says when
            headers = (*headers, ("Retry-After", str(RETRY_AFTER_S)))
        return headers


def _is_json(head: Head) -> bool:
    return value_of(head.headers, "content-type").partition(";")[0].strip().lower() == "application/json"


def _is_half(document: bytes) -> bool:
    """Whether that is no whole JSON, as far as its ends tell. Some servers answer with a string, or a list."""
    last = document[-1:]
    return not document or _CLOSING.get(document[:1], last) != last


def _ended_itself(usage: Usage) -> bool:
    """The answer came to an end of its own, be it in an error."""
    return usage.complete or usage.failed


def _broken(failure: Failure) -> StreamFailed:
    return StreamFailed(failure.text, failure.kind)


def _failure_of(event: StreamEvent) -> Failure:
    """Why an answer is broken, from the event that ended it."""
    if isinstance(event, StreamReset):
        return event.failure
    return Failure("incomplete", "the model server ended its answer before it was complete")
