"""Traces of requests, for whoever watches more than this router: a part of a trace that may have begun elsewhere, and
goes on at the model server.

All that is chosen on the way are ids. The spans are made of a request's story when it is over.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from herd.actors.ids import Ids
from herd.actors.ports import Clock, Headers, HttpRequest
from herd.actors.traces import Told
from herd.errors import HerdError
from herd.protocols import spans
from herd.protocols.spans import Call, Trace
from herd.protocols.trace_context import RANDOM, SAMPLED, TraceContext, read_context, with_context
from herd.types import Api, Bytes, RequestId


class Tracer(Protocol):
    """Where traces go. Told on the router's loop, so whatever it does with them is quickly done."""

    @property
    def on(self) -> bool:
        """Whether anybody wants them."""

    def ended(self, trace: Trace) -> None:
        """A request is over."""

    async def close(self) -> None:
        """Send what is left, as far as that takes no time worth mentioning. Idempotent."""


class NoTracer:
    """Nobody wants traces: what clients send of theirs goes through as it came. Implements the port `Tracer`."""

    on = False

    def ended(self, trace: Trace) -> None:
        """Nobody wants to know."""

    async def close(self) -> None:
        """There is nothing to send."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """What trails are made with."""

    tracer: Tracer
    ids: Ids
    clock: Clock


class Trail:
    """One request that is traced. Use as a context manager: whatever ends the block ends its span."""

    def __init__(self, tracing: Tracing, call: Call) -> None:
        self._tracer = tracing.tracer
        self._call = call
        self._monotonic = tracing.clock.monotonic
        self._received = self._monotonic()
        self._size = Bytes(0)
        self._told = False

    def read(self, size: Bytes) -> None:
        """The body has so many bytes."""
        self._size = size

    def onward(self, headers: Headers, attempt: int) -> Headers:
        """The request's headers as a node gets them on this attempt: its span is the parent there."""
        return with_context(headers, spans.attempt_context(self._call.context, attempt))

    def ended(self, told: Told) -> None:
        """The request is over, and has a story."""
        self._told = True
        read_s = told.began - self._received
        self._tracer.ended(spans.told(self._call, told.request, told.events, read_s, self._size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._told:
            status, why = _end(error)
            ended = self._call.received + self._monotonic() - self._received
            self._tracer.ended(spans.untold(self._call, ended, status, why))


def _end(error: BaseException | None) -> tuple[int | None, str]:
    """The status that the client gets, if it gets any, and what went wrong."""
    if error is None:
        return 200, ""
    if isinstance(error, HerdError):
        return error.status, str(error)
    if isinstance(error, asyncio.CancelledError | ConnectionError):
        return None, "the client hung up"
    return 500, "the router failed on this request"


_UNTRACED: AbstractContextManager[None] = nullcontext()


def trail(
    tracing: Tracing, request: HttpRequest, api: Api, request_id: RequestId
) -> AbstractContextManager[Trail | None]:
    """The trail of a request, for the time that it is served; None for one that is not traced.

    Whether it is, is up to its client where that says so; what is not traced here is passed on as it came.
    """
    if not tracing.tracer.on:
        return _UNTRACED
    ids, parent = tracing.ids, read_context(request.headers)
    if parent is None:
        context = TraceContext(ids.trace(), ids.span(), SAMPLED | RANDOM)
    elif parent.sampled:
        context = TraceContext(parent.trace, ids.span(), parent.flags, parent.state)
    else:
        return _UNTRACED
    above = 0 if parent is None else parent.span
    return Trail(tracing, Call(context, above, request.method, api, str(request_id), tracing.clock.wall()))
