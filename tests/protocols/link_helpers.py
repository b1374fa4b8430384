"""Two ends of a link without a network between them, and ways to feed them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from herd.errors import ProtocolError
from herd.protocols.framing import MAX_FRAME, Frame, FrameDecoder, encode, fields
from herd.protocols.messages import (
    BackendInfo,
    Command,
    Failure,
    FrameType,
    Goodbye,
    Gpu,
    Head,
    Hello,
    Machine,
    ModelInfo,
    Pause,
    Report,
    RequestHead,
    Result,
    Usage,
    Welcome,
)
from herd.protocols.session import AgentSession, Event, GoodbyeReceived, HelloReceived, RouterSession, Session
from herd.types import (
    BackendId,
    Bytes,
    Dialect,
    MiB,
    ModelName,
    NodeId,
    NodeName,
    RequestId,
    RouterId,
    Seconds,
    StreamId,
    Tokens,
)

T = TypeVar("T")

ROUTER_NONCE = b"router's nonce.."
EVERYTHING = 64 * MiB  # a budget for `take` that leaves nothing behind

HELLO = Hello(
    versions=(1,),
    node_id=NodeId("6f1c"),
    name=NodeName("studio"),
    agent_version="0.1.0",
    capabilities=("pull",),
    machine=Machine("darwin", "arm64", "Apple M2 Ultra", 24, Bytes(192 * 1024 * MiB)),
    nonce=b"agent's nonce...",
)
WELCOME = Welcome(version=1, router_id=RouterId("r-1"), name=NodeName("studio-2"), router_version="0.1.0")
REPORT = Report(
    backends=(BackendInfo(BackendId("ollama-11434"), "ollama", "0.12.0", ("ollama", "openai"), parallel=2),),
    models=(
        ModelInfo(
            ModelName("llama3.3:70b"),
            BackendId("ollama-11434"),
            size=Bytes(42_520_413_916),
            digest="a6eb4748fd29",
            details={"family": "llama", "families": ["llama"], "parameter_size": "70.6B"},
            capabilities=("completion", "tools"),
            resident=True,
            context_length=Tokens(8192),
            kv_per_token=Bytes(327_680),
            context_max=Tokens(131_072),
            step=4,
            steps=9,
            active_share=0.5,
        ),
    ),
    pauses=(Pause("meeting", "The camera is in use.", Seconds(1_700_000_000.0), None),),
    cpu=0.25,
    memory_free=Bytes(100 * 1024 * MiB),
    week_slot=17,
    gpus=(Gpu("GPU-5e8f", "NVIDIA GeForce RTX 4090", "nvidia", Bytes(24 * 1024 * MiB), Bytes(20 * 1024 * MiB)),),
)
REQUEST = RequestHead(
    RequestId("q-1"),
    BackendId("ollama-11434"),
    "POST",
    "/api/chat?x=1",
    headers=(("Content-Type", "application/json"), ("Accept", "*/*")),
    dialect=Dialect.OLLAMA,
    streamed=True,
    size=-1,
)
HEAD = Head(200, (("Content-Type", "application/x-ndjson"),))
USAGE = Usage(Tokens(26), Tokens(298), Seconds(5.0), Seconds(0.13), Seconds(4.7), complete=True)
FAILURE = Failure("reset", "The backend closed the connection.")

# One honest frame of each type: stream, and the elements after it.
EXAMPLES: dict[FrameType, tuple[int, tuple[Any, ...]]] = {
    FrameType.HELLO: (0, (HELLO,)),
    FrameType.CHALLENGE: (0, (ROUTER_NONCE, b"p" * 32)),
    FrameType.PROOF: (0, (b"p" * 32,)),
    FrameType.WELCOME: (0, (WELCOME,)),
    FrameType.HEARTBEAT: (0, (REPORT,)),
    FrameType.OPEN: (5, (REQUEST,)),
    FrameType.BODY: (1, (b'{"model":', False)),
    FrameType.HEAD: (1, (HEAD,)),
    FrameType.DATA: (1, (b'{"done":false}\n',)),
    FrameType.END: (1, (USAGE,)),
    FrameType.RESET: (1, (FAILURE,)),
    FrameType.CANCEL: (1, ()),
    FrameType.WINDOW: (1, (8192,)),
    FrameType.COMMAND: (0, (Command(7, "pull", {"model": "qwen3:8b", "deep": [{"insecure": False}]}),)),
    FrameType.RESULT: (0, (Result(7, ok=False, text="No space left on the disk."),)),
    FrameType.PING: (0, (42,)),
    FrameType.PONG: (0, (42,)),
    FrameType.DRAIN: (0, ()),
    FrameType.GOODBYE: (0, (Goodbye("shutdown", "The machine is going to sleep."),)),
}


def example(kind: FrameType) -> bytes:
    """One honest frame of a type."""
    stream, values = EXAMPLES[kind]
    return encode(kind, stream, *values)


def feed_every_way(new: Callable[[], Callable[[bytes], Sequence[T]]], data: bytes) -> list[T]:
    """What a decoder makes of `data`, which must not depend on how it comes.

    Args:
        new: gives the `feed` of a new decoder.
        data: whole frames.
    """
    whole = list(new()(data))
    feed = new()
    assert [item for at in range(len(data)) for item in feed(data[at : at + 1])] == whole, "byte by byte"
    assert list(new()(data + b"\x00\x00\x00")) == whole, "with the beginning of a next frame behind it"
    return whole


def frames_in(data: bytes) -> list[Frame]:
    """The frames that a session wrote."""
    return FrameDecoder(MAX_FRAME).feed(data)


def kinds_in(data: bytes) -> list[tuple[FrameType, int]]:
    """Type and stream of each frame that a session wrote."""
    return [(FrameType(frame[0]), frame[1]) for frame in frames_in(data)]


def last_words(session: Session) -> Goodbye:
    """The Goodbye that a closed session leaves, its only frame."""
    assert session.closed
    (frame,) = frames_in(session.take(EVERYTHING))
    assert frame[0] == FrameType.GOODBYE
    (goodbye,) = fields(frame)
    assert isinstance(goodbye, Goodbye)
    assert session.take(EVERYTHING) == b""
    return goodbye


def receive_or_refuse(session: Session, data: bytes) -> list[Event]:
    """Feed bytes from anywhere: they give events, or a ProtocolError and a polite end. Anything else is a bug."""
    try:
        events = session.receive(data)
    except ProtocolError as error:
        sentence = str(error)
        goodbye = last_words(session)
        assert goodbye.code in {"protocol", "token", "version"}
        assert goodbye.text == sentence[:300] != ""
        assert session.receive(data) == []
        return []
    assert session.closed == any(isinstance(event, GoodbyeReceived) for event in events)
    return events


class Pair:
    """A router's and an agent's session that exchange what they have to say when told to."""

    def __init__(
        self,
        router_token: str | None = None,
        agent_token: str | None = None,
        hello: Hello = HELLO,
        *,
        channels: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self.router = RouterSession(ROUTER_NONCE, router_token, channels[0])
        self.agent = AgentSession(hello, agent_token, channels[1])

    @classmethod
    def welcomed(cls, token: str | None = None) -> "Pair":
        """A pair that has shaken hands."""
        pair = cls(token, token)
        while not pair.router.ready:
            if any(isinstance(event, HelloReceived) for event in pair.to_router()):
                pair.router.welcome(WELCOME)
            pair.to_agent()
        assert pair.agent.ready
        return pair

    def to_router(self) -> list[Event]:
        """Deliver what the agent has to say now."""
        return self.router.receive(self.agent.take(EVERYTHING))

    def to_agent(self) -> list[Event]:
        """Deliver what the router has to say now."""
        return self.agent.receive(self.router.take(EVERYTHING))

    def serving(self, *streams: int, head: RequestHead = REQUEST) -> list[StreamId]:
        """Open streams, and have the agent begin its answers."""
        opened = [StreamId(stream) for stream in streams]
        for stream in opened:
            self.router.open(stream, head)
        self.to_agent()
        for stream in opened:
            self.agent.send_head(stream, HEAD)
        self.to_router()
        return opened
