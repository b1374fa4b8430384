"""The router's end of a link."""

from dataclasses import replace
from functools import partial

from herd.errors import LinkClosed, ProtocolError, StreamFailed
from herd.protocols.credit import LINK, MAX_STREAMS
from herd.protocols.endpoint import MAX_STREAM_ID, Session
from herd.protocols.events import (
    DataReceived,
    DrainReceived,
    Event,
    HeadReceived,
    HelloReceived,
    ReportReceived,
    ResultReceived,
    StreamEnded,
    StreamReset,
)
from herd.protocols.fitness import (
    flaw_of_answer,
    flaw_of_hello,
    flaw_of_report,
    sentence,
    told,
    with_fit_gpus,
    with_fit_models,
    with_fit_owner,
)
from herd.protocols.framing import encode
from herd.protocols.handshake import NONCE_SIZE, HandshakeError, agent_proof, check_proof, common_version, router_proof
from herd.protocols.headers import to_client
from herd.protocols.messages import Command, Failure, FrameType, Head, Hello, Report, RequestHead, Result, Welcome
from herd.protocols.states import ROUTER, LinkState, StreamState
from herd.types import StreamId


class RouterSession(Session):
    """The router's end.

    Args:
        nonce: 16 random bytes, fresh for this session.
        token: the join token that an agent must prove; None when any agent may ask to join.
        channel: over TLS the SHA-256 of the router's certificate, to which the proofs are bound; empty on a plain link.

    All sends but `goodbye` raise LinkClosed once the session is closed and ValueError before `welcome`; a value that
    does not fit a frame raises UnsendableError.
    """

    def __init__(self, nonce: bytes, token: str | None = None, channel: bytes = b"") -> None:
        if len(nonce) != NONCE_SIZE:
            raise ValueError(f"the nonce must have {NONCE_SIZE} bytes")
        super().__init__(ROUTER, guarded=token is not None)
        self._nonce = nonce
        self._token = token
        self._channel = channel
        self._handlers |= {
            FrameType.HELLO: self._on_hello,
            FrameType.HEARTBEAT: self._on_report,
            FrameType.RESULT: self._on_result,
            FrameType.DRAIN: DrainReceived,
            FrameType.HEAD: self._on_head,
            FrameType.DATA: self._on_data,
            FrameType.END: StreamEnded,
            FrameType.RESET: self._on_reset,
        }

    def welcome(self, welcome: Welcome) -> None:
        """Let the agent in, as the answer to HelloReceived. `welcome.version` is `version`."""
        self._require_deciding()
        frame = encode(FrameType.WELCOME, LINK, welcome)
        self._enter(LinkState.OPEN)
        self._control(frame)

    def open(self, stream: StreamId, head: RequestHead) -> None:
        """Begin a stream under an id that this session has not had: 1 to 2**62, in any order.

        Raises:
            StreamFailed: `MAX_STREAMS` are open.
            ValueError: the id is in use or out of range.
        """
        self._require_ready()
        if not 0 < stream <= MAX_STREAM_ID or stream in self._streams:
            raise ValueError(f"{stream} is in use, or no id of a stream")
        if len(self._streams) >= MAX_STREAMS:
            raise StreamFailed(f"The node has {MAX_STREAMS} requests open already.")
        frame = encode(FrameType.OPEN, stream, head)
        self._begin(stream, StreamState.WAITING)
        if head.size:
            self._outbox.open(stream, started=True)
        self._control(frame)

    def send_body(self, stream: StreamId, data: bytes) -> None:
        """Send request bytes."""
        if self._is_live(stream):
            self._outbox.put_piece(stream, data)

    def end_body(self, stream: StreamId) -> None:
        """The request has no more bytes; need not be said of one of size 0."""
        if self._is_live(stream) and self._outbox.is_open(stream):
            self._outbox.put_tail(stream, encode(FrameType.BODY, stream, b"", True))

    def cancel(self, stream: StreamId) -> None:
        """Give a stream up; what it has not sent is dropped."""
        if self._is_live(stream):
            self._forget(stream)
            self._control(encode(FrameType.CANCEL, stream))

    def command(self, command: Command) -> None:
        """Ask the agent for something; a ResultReceived with the same id answers."""
        self._require_ready()
        self._control(encode(FrameType.COMMAND, LINK, command))

    def _require_deciding(self) -> None:
        if self.closed:
            raise LinkClosed("The agent has left.")
        if self._state is not LinkState.DECIDING:
            raise ValueError(f"no agent waits for an answer: the link is {self._state}")

    def _on_hello(self, hello: Hello) -> Event | None:
        if flaw := flaw_of_hello(hello):
            raise ProtocolError(f"HELLO cannot be accepted: {flaw}.")
        self._version = common_version(hello.versions, "agent")
        if self._token is None:
            return HelloReceived(hello)
        if len(hello.nonce) != NONCE_SIZE:
            raise HandshakeError(
                "token",
                f"This router wants a join token, and the HELLO has no nonce of {NONCE_SIZE} bytes to prove one with: "
                "start herd-node with --join-token.",
            )
        proof = router_proof(self._token, hello, self._nonce, self._channel)
        expected = agent_proof(self._token, hello, self._nonce, self._channel)
        self._handlers[FrameType.PROOF] = partial(self._on_proof, hello, expected)
        self._control(encode(FrameType.CHALLENGE, LINK, self._nonce, proof))
        return None

    def _on_proof(self, hello: Hello, expected: bytes, proof: bytes) -> Event:
        check_proof(
            proof,
            expected,
            "The agent's join token is not the router's: start herd-node with the --join-token that herd was given.",
        )
        return HelloReceived(hello)

    def _on_report(self, report: Report) -> Event:
        if flaw := flaw_of_report(report):
            raise ProtocolError(f"HEARTBEAT cannot be accepted: {flaw}.")
        return ReportReceived(with_fit_owner(with_fit_gpus(with_fit_models(report))))

    def _on_result(self, result: Result) -> Event:
        return ResultReceived(replace(result, text=sentence(result.text)))

    def _on_head(self, stream: StreamId, head: Head) -> Event:
        """Nothing of an agent's head may tell a client where this answer ends and another begins: that is HTTP's."""
        if flaw := flaw_of_answer(head):
            self.cancel(stream)
            return StreamReset(stream, Failure("reset", f"the node's answer cannot be passed on: {flaw}"))
        return HeadReceived(stream, Head(head.status, to_client(head.headers)))

    def _on_reset(self, stream: StreamId, failure: Failure) -> Event:
        return StreamReset(stream, told(failure))

    def _on_data(self, stream: StreamId, data: bytes, _last: bool) -> Event:
        return DataReceived(stream, data)
