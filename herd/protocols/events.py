"""What a session tells its owner about the frames that came in."""

from dataclasses import dataclass

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
from herd.types import StreamId

# --- The link ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """Router: an agent asks to join, and has proven its token if one is needed. Answer: `welcome` or `refuse`."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Welcomed:
    """Agent: it has joined."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class ReportReceived:
    """Router: a heartbeat."""

    report: Report


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """Agent: the router wants something done; answer with one Result of the same id."""

    command: Command


@dataclass(frozen=True, slots=True)
class ResultReceived:
    """Router: a command's outcome."""

    result: Result


@dataclass(frozen=True, slots=True)
class PongReceived:
    """Both: the answer to `ping(number)`."""

    number: int


@dataclass(frozen=True, slots=True)
class DrainReceived:
    """Router: the agent is about to leave and wants nothing new."""


@dataclass(frozen=True, slots=True)
class GoodbyeReceived:
    """Both: the peer closes the link; every stream on it has ended."""

    goodbye: Goodbye


# --- Streams, at the router -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadReceived:
    """The answer begins."""

    stream: StreamId
    head: Head


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of the answer, never none. Say `consumed` when they were handed on."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The answer is whole, and the stream over."""

    stream: StreamId
    usage: Usage


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The answer broke, and the stream is over."""

    stream: StreamId
    failure: Failure


# --- Streams, at the agent --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A request begins; BodyReceived follow, but for a head of size 0."""

    stream: StreamId
    head: RequestHead


@dataclass(frozen=True, slots=True)
class BodyReceived:
    """Bytes of the request; the last ones may be none. Say `consumed` when they were handed on."""

    stream: StreamId
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class StreamCancelled:
    """Nobody waits for the answer any more, and the stream is over."""

    stream: StreamId


StreamEvent = HeadReceived | DataReceived | StreamEnded | StreamReset

Event = (
    HelloReceived
    | Welcomed
    | ReportReceived
    | CommandReceived
    | ResultReceived
    | PongReceived
    | DrainReceived
    | GoodbyeReceived
    | StreamEvent
    | StreamOpened
    | BodyReceived
    | StreamCancelled
)
