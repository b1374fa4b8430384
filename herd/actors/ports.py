"""What the actors need of the outside world. `herd/net` and `herd/simulation` provide it; `herd/cli` hands it in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Head, Machine, RequestHead
from herd.protocols.session import StreamEvent
from herd.types import Bytes, RouterId, Seconds, StreamId

Headers = tuple[tuple[str, str], ...]


class Clock(Protocol):
    """Time as a port: durations are monotonic, stored times are wall-clock UTC."""

    def monotonic(self) -> Seconds: ...

    def wall(self) -> Seconds:
        """Seconds since the Unix epoch."""


# --- HTTP, as a server ------------------------------------------------------------------------------------------------


class Body(Protocol):
    """A request body that was read to its end: in memory, or in an unlinked temporary file. Can be read again."""

    @property
    def size(self) -> Bytes: ...

    def view(self) -> "bytes | memoryview":
        """The whole body as one buffer (a file is mapped, not read)."""

    def chunks(self, size: int) -> AsyncIterator[bytes]:
        """The body from its start in pieces of at most `size` bytes."""

    def close(self) -> None: ...


class HttpRequest(Protocol):
    """One request as a server hands it to a handler: the head is there, the body is not yet read."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str:
        """The path as sent, percent-encoding kept, without the query."""

    @property
    def query(self) -> str:
        """The query as sent, without the question mark; empty when there is none."""

    @property
    def headers(self) -> Headers:
        """Names and values in order, names in the client's spelling."""

    @property
    def peer(self) -> str:
        """The client's address, without its port."""

    async def read_body(self, limit: Bytes) -> Body:
        """Read the body to its end.

        Raises:
            BodyTooLarge: it is declared or turns out longer than `limit`.
            RequestError: it ended before its declared length, or its chunks are malformed.
        """


class Sink(Protocol):
    """Where an answer goes. Every write waits until the client has room for it."""

    @property
    def started(self) -> bool:
        """True once a byte of the answer may have left."""

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head. With a Content-Length header the body is sent as is, else in chunks, one a write."""

    async def write(self, data: bytes) -> None: ...

    async def finish(self) -> None:
        """End the answer cleanly."""

    def abort(self) -> None:
        """Cut the connection, so that the client sees a broken answer and not a short one."""


Handler = Callable[[HttpRequest, Sink], Awaitable[None]]


class HttpServer(Protocol):
    """An HTTP listener."""

    async def start(self, handler: Handler) -> None:
        """Listen, and call `handler` in a task for each request; the task is cancelled when its client hangs up."""

    async def stop(self, grace: Seconds) -> None:
        """Stop listening, let running requests end for at most `grace` seconds, then cut them."""


# --- HTTP, as a client of model servers ---------------------------------------------------------------------------------


class Answer(Protocol):
    """The answer of a model server, read as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    async def read(self) -> bytes:
        """The next piece, as it arrives; empty at the end.

        Raises:
            StreamFailed: the server broke off before the end.
        """

    def close(self) -> None:
        """Give the connection up; a server that is still answering sees it closed."""


class ModelServers(Protocol):
    """The HTTP client that agents use towards the model servers beside them."""

    async def exchange(self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None) -> Answer:
        """Send a request and return once the head of the answer is there.

        Raises:
            StreamFailed: no connection, or it broke before the head.
        """

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        """GET (or POST `body` as JSON to) `url`; the status and the parsed JSON (None when it is not JSON).

        Raises:
            StreamFailed: no answer within `timeout` seconds.
        """


# --- The link, as the router sees it ------------------------------------------------------------------------------------


class Exchange(Protocol):
    """The router's end of one stream: request bytes go in, the events of the answer come out, in order."""

    async def send(self, data: bytes) -> None:
        """Queue request bytes; waits while the link has no room. Raises LinkClosed."""

    async def end(self) -> None:
        """No more request bytes."""

    async def receive(self) -> StreamEvent:
        """The next of HeadReceived, DataReceived, StreamEnded, StreamReset. The loss of the link is a StreamReset."""

    def close(self) -> None:
        """Give the stream up: cancelled at the agent unless it has ended. Idempotent."""


class Streams(Protocol):
    """Where a request's bytes are attached once its NodeProxy has opened the stream."""

    def attach(self, stream: StreamId) -> Exchange:
        """Raises LinkClosed when the stream's link is gone."""


# --- The link, as the agent sees it -------------------------------------------------------------------------------------


class Serving(Protocol):
    """The agent's end of one stream: request bytes come out, the answer goes in."""

    @property
    def head(self) -> RequestHead: ...

    def body(self) -> AsyncIterator[bytes]:
        """The request body as it comes in. Raises LinkClosed."""

    async def send_head(self, head: Head) -> None: ...

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer; waits while the stream has no credit."""


# --- The house and the machine --------------------------------------------------------------------------------------------


class Advertiser(Protocol):
    """Makes the router known on the local network."""

    async def start(self, address: RouterAddress) -> None: ...

    async def refresh(self) -> bool:
        """Look at this machine's addresses; announce them anew if they changed, and say whether they did."""

    async def stop(self) -> None: ...


class Finder(Protocol):
    """Finds a router, for an agent that was told no address."""

    async def find(self, router_id: RouterId) -> RouterAddress:
        """Wait until the router is heard (any router, when `router_id` is empty); wait for ever if need be."""


@dataclass(frozen=True, slots=True)
class MachineSample:
    """What changes while an agent runs. `cpu` is a share of all cores, 0 to 1."""

    cpu: float
    memory_total: Bytes
    memory_free: Bytes
    week_slot: int


class MachineProbe(Protocol):
    """The sensors of this machine. Both calls are quick and never block."""

    def machine(self) -> Machine: ...

    def sample(self) -> MachineSample: ...
