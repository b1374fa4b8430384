"""What the actors need of the outside world. `herd/net` and `herd/simulation` provide it; `herd/cli` hands it in."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import (
    Command,
    Failure,
    Goodbye,
    Head,
    Hello,
    Report,
    RequestHead,
    Result,
    Usage,
    Welcome,
)
from herd.protocols.session import StreamEvent
from herd.types import Bytes, LinkId, NodeId, RouterId, Seconds, StreamId

Headers = tuple[tuple[str, str], ...]

T = TypeVar("T")


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

    async def examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        """What `read` makes of the whole body as one buffer; a long body is mapped, and read off the loop."""

    def chunks(self, size: int) -> AsyncGenerator[bytes]:
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

    @property
    def size(self) -> int:
        """Bytes of the body as declared; -1 when only its end will tell."""

    async def read_body(self, limit: Bytes, *, inflate: bool = False) -> Body:
        """Read the body to its end.

        Args:
            limit: bytes that it may have, and without its compression, too.
            inflate: undo Zstandard, where the head says that the body is in it. All other codings are refused.

        Raises:
            BodyTooLarge: it is declared or turns out longer than `limit`.
            RequestError: it ended before its declared length, or its chunks are malformed; it is compressed, or not in
                the way that the head says.
        """

    def stream_body(self) -> AsyncGenerator[bytes]:
        """The body in pieces, as it comes and as fast as they are asked for; in place of `read_body`.

        Raises:
            RequestError: as `read_body` does.
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

    @property
    def port(self) -> int:
        """The port it listens on, once started."""

    async def start(self, handler: Handler) -> None:
        """Listen, and call `handler` in a task for each request; the task is cancelled when its client hangs up."""

    async def stop(self) -> None:
        """Stop listening, let running requests end within the server's grace, then cut them. Idempotent."""


# --- HTTP, as a client of model servers -------------------------------------------------------------------------------


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
            Unreachable: no connection came about.
            StreamFailed: it broke before the head.
        """

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        """GET (or POST `body` as JSON to) `url`; the status and the parsed JSON (None when it is not JSON).

        Raises:
            TimedOut: no answer within `timeout` seconds.
            StreamFailed: no answer at all.
        """


# --- The link, as the router sees it ----------------------------------------------------------------------------------


class Exchange(Protocol):
    """The router's end of one stream: request bytes go in, the events of the answer come out, in order."""

    async def send(self, data: bytes) -> None:
        """Queue request bytes; waits while the link has no room. Raises LinkClosed."""

    async def end(self) -> None:
        """No more request bytes."""

    async def receive(self) -> StreamEvent:
        """The next of HeadReceived, DataReceived, StreamEnded, StreamReset. The loss of the link is a StreamReset.

        To ask for the next event says that the bytes of the one before are handed on.
        """


class Streams(Protocol):
    """Where a request's bytes are attached once its NodeProxy has opened the stream."""

    def attach(self, stream: StreamId) -> Exchange:
        """Raises LinkClosed when the stream's link is gone."""

    def close(self, stream: StreamId) -> None:
        """Give a stream up, attached or not: it is cancelled at the agent unless it has ended. Idempotent."""


class Links(Protocol):
    """The router's TCP links to agents."""

    def open(self, link: LinkId, stream: StreamId, head: RequestHead) -> None:
        """Begin a stream.

        Raises:
            StreamFailed: the link is gone, or carries as many streams as it may.
            UnsendableError: the head of the request is longer than a frame.
        """

    async def command(self, link: LinkId, command: Command) -> Result:
        """Have the agent do something; what came of it. As long as it takes: whoever waits no longer is cancelled.

        Raises:
            LinkClosed: the link is gone, or ends before the result is there.
            UnsendableError: the command is longer than a frame.
            ValueError: a command with this id is under way on the link.
        """

    def silence(self, link: LinkId) -> Seconds:
        """Seconds since the link's last frame; infinite when the link is gone."""

    def disconnect(self, link: LinkId, goodbye: Goodbye) -> None:
        """Say goodbye and close. Idempotent."""

    def disconnect_all(self, goodbye: Goodbye) -> None:
        """`disconnect` every link of an agent that was let in."""


class LinkEvents(Protocol):
    """What a link listener tells the fleet."""

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        """An agent, its token proven, wants in."""

    def report(self, link: LinkId, node: NodeId, report: Report) -> None: ...

    def draining(self, link: LinkId, node: NodeId) -> None:
        """The agent is about to leave."""

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        """A link that had been welcomed is gone; every stream on it has been reset."""


class LinkListener(Protocol):
    """The TCP listener for agents."""

    @property
    def port(self) -> int:
        """The port it listens on, once started."""

    async def start(self, events: LinkEvents) -> None: ...

    async def stop(self) -> None:
        """Say goodbye to every agent, and close."""


# --- The link, as the agent sees it -----------------------------------------------------------------------------------


class Serving(Protocol):
    """The agent's end of one stream: request bytes come out, the answer goes in."""

    @property
    def head(self) -> RequestHead: ...

    def body(self) -> AsyncIterator[bytes]:
        """The request body as it comes in."""

    async def send_head(self, head: Head) -> None: ...

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer; waits while the stream has no credit."""

    def end(self, usage: Usage) -> None:
        """The answer is whole."""

    def reset(self, failure: Failure) -> None:
        """The answer broke."""


Relay = Callable[[Serving], Awaitable[None]]
Obey = Callable[[Command], Awaitable[Result]]


class AgentLink(Protocol):
    """An agent's link to the router, once welcomed."""

    @property
    def welcome(self) -> Welcome: ...

    @property
    def peer(self) -> str:
        """The address that it goes to."""

    def report(self, report: Report) -> None: ...

    def drain(self) -> None:
        """Ask for nothing new."""

    async def wait_closed(self) -> str:
        """Wait until the link is gone; why, for a person."""

    async def close(self, goodbye: Goodbye, grace: Seconds) -> None:
        """Let running streams end for at most `grace` seconds, then say goodbye and close."""


class Dialer(Protocol):
    """Opens links to routers."""

    async def locate(self, url: str) -> RouterAddress:
        """Ask the router at `url` where its link port is.

        Raises:
            StreamFailed: nothing there, or something that is not a router.
        """

    async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = ...) -> AgentLink:
        """Join a router.

        `relay` is called in a task for each stream, which is cancelled with its stream, and `obey` in a task for each
        command, which is cancelled with the link. Without `obey` every command is refused.

        Raises:
            LinkClosed: no connection, or the router does not answer in time.
            JoinRefused: the router is there, but will not have this agent.
        """


# --- The house --------------------------------------------------------------------------------------------------------


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
