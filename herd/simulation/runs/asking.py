"""A client's side of one request: it asks, waits for as long as it has patience, and keeps what it saw."""

import asyncio
import math

import orjson

from herd.actors.ports import Headers
from herd.simulation.fleet.house import InMemoryListener
from herd.simulation.http import InMemoryRequest
from herd.simulation.runs.measures import Sample, SampleOutcome
from herd.simulation.workload.requests import SimulatedRequest, body, embeds, target
from herd.types import Seconds

# The last line of an Ollama stream says that the answer is whole, and then what it took; without the word it broke.
# Vectors come as one document, whose length the connection itself vouches for.
_WHOLE = b'"done":true'
_TAIL = 2048

_REFUSED = (429, 503)


class Seen:
    """What a client sees of an answer; a `Sink`, which keeps times, and of the bytes only the last."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.began = _now()
        self.first = math.inf
        self.ended = math.inf
        self._last = b""

    @property
    def started(self) -> bool:
        return self.status != 0

    async def start(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers if name.lower().startswith("x-herd-")}

    async def write(self, data: bytes) -> None:
        if math.isinf(self.first):
            self.first = _now()
        self._last = (self._last + data)[-_TAIL:]

    async def finish(self) -> None:
        self.ended = _now()

    def abort(self) -> None:
        self._last = b""

    def outcome(self, request: SimulatedRequest) -> SampleOutcome:
        """How an answer ended, for a client that waited for its end."""
        if self.status in _REFUSED:
            return SampleOutcome.REFUSED
        whole = self.ended < math.inf and (embeds(request.model) or _WHOLE in self._last)
        return SampleOutcome.SERVED if self.status == 200 and whole else SampleOutcome.FAILED

    def sample(self, request: SimulatedRequest, *, ideal: float, waited: bool = True, speed: float = 1.0) -> Sample:
        """The request as a sample.

        Args:
            request: what was asked.
            ideal: seconds that it would have taken alone.
            waited: the client waited for the end; else its patience was over before.
            speed: so many seconds of the run pass in one of the loop's.
        """
        outcome = self.outcome(request) if waited else SampleOutcome.TIMED_OUT
        served = outcome is SampleOutcome.SERVED
        predicted = self._seconds("x-herd-predicted-ms")
        return Sample(
            at=request.at,
            client=request.client,
            model=request.model,
            priority=request.priority,
            outcome=outcome,
            first_token=(self.first - self.began) * speed if served else math.inf,
            completion=(self.ended - self.began) * speed if served else math.inf,
            prompt=request.prompt,
            tokens=request.completion,
            node=self.headers.get("x-herd-node", ""),
            queue=(self._seconds("x-herd-queue-ms") or 0.0) * speed,
            attempts=int(self.headers.get("x-herd-attempts", 1)),
            predicted=None if predicted is None else predicted * speed,
            placed=(self._seconds("x-herd-placed-ms") or 0.0) * speed,
            ideal=ideal,
        )

    def _seconds(self, header: str) -> float | None:
        """Of a header in milliseconds; None: the answer has none."""
        value = self.headers.get(header)
        return None if value is None else float(value) / 1000


def headers_of(request: SimulatedRequest) -> Headers:
    """What the client says beside the body."""
    session = (("X-Herd-Session", request.session),) if request.session else ()
    return (("X-OpenWebUI-User-Id", request.client), ("X-Herd-Priority", request.priority.value), *session)


def body_of(request: SimulatedRequest) -> bytes:
    """The body, as JSON."""
    return orjson.dumps(body(request))


def patience(request: SimulatedRequest) -> Seconds | None:
    """How long the client waits; None for ever."""
    return Seconds(request.patience) if request.patience < math.inf else None


async def ask(listener: InMemoryListener, request: SimulatedRequest, ideal: float) -> Sample:
    """Send one request to a router in memory."""
    seen = Seen()
    sent = InMemoryRequest("POST", target(request), body_of(request), headers_of(request))
    task = listener.send(sent, seen)
    done, _ = await asyncio.wait([task], timeout=patience(request))
    if not done:
        task.cancel()
        await asyncio.wait([task])
    return seen.sample(request, ideal=ideal, waited=bool(done))


def _now() -> float:
    return asyncio.get_running_loop().time()
