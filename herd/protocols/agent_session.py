"""The agent's end of a link."""

from herd.errors import ProtocolError
from herd.protocols.credit import LINK, MAX_STREAMS
from herd.protocols.endpoint import MAX_STREAM_ID, Session
from herd.protocols.events import BodyReceived, CommandReceived, Event, StreamCancelled, StreamOpened, Welcomed
from herd.protocols.fitness import flaw_of_request
from herd.protocols.framing import encode
from herd.protocols.handshake import NONCE_SIZE, HandshakeError, agent_proof, check_proof, common_version, router_proof
from herd.protocols.messages import Failure, FrameType, Head, Hello, Report, RequestHead, Result, Usage, Welcome
from herd.protocols.states import AGENT, LinkState, StreamState
from herd.types import StreamId


class AgentSession(Session):
    """The agent's end; its HELLO can be taken at once.

    Args:
        hello: who the agent is; with a token, `hello.nonce` is 16 random bytes, fresh for this session.
        token: the join token that the router must prove; None when any router will do.
        channel: over TLS the SHA-256 of the certificate that the router has shown; empty on a plain link.

    All sends but `goodbye` raise LinkClosed once the session is closed and ValueError before Welcomed; a value that
    does not fit a frame raises UnsendableError.
    """

    def __init__(self, hello: Hello, token: str | None = None, channel: bytes = b"") -> None:
        if token is not None and len(hello.nonce) != NONCE_SIZE:
            raise ValueError(f"the nonce of the hello must have {NONCE_SIZE} bytes")
        super().__init__(AGENT, guarded=token is not None)
        self._hello = hello
        self._token = token
        self._channel = channel
        self._left: dict[StreamId, int] = {}  # bytes of a body of known size that are still to come
        self._handlers |= {
            FrameType.CHALLENGE: self._on_challenge,
            FrameType.WELCOME: self._on_welcome,
            FrameType.OPEN: self._on_open,
            FrameType.BODY: self._on_body,
            FrameType.CANCEL: StreamCancelled,
            FrameType.COMMAND: CommandReceived,
        }
        self._control(encode(FrameType.HELLO, LINK, hello))

    def report(self, report: Report) -> None:
        """Send a heartbeat, in place of one that was not taken yet."""
        self._require_ready()
        self._outbox.put_report(encode(FrameType.HEARTBEAT, LINK, report))

    def send_head(self, stream: StreamId, head: Head) -> None:
        """Begin the answer."""
        if self._is_live(stream):
            self._outbox.put_head(stream, encode(FrameType.HEAD, stream, head))

    def send_data(self, stream: StreamId, data: bytes) -> None:
        """Send bytes of the answer."""
        if self._is_live(stream):
            self._outbox.put_piece(stream, data)

    def end(self, stream: StreamId, usage: Usage) -> None:
        """The answer is whole. The stream ends once this was taken, which is after all of its bytes."""
        if self._is_live(stream):
            self._outbox.put_tail(stream, encode(FrameType.END, stream, usage))

    def reset(self, stream: StreamId, failure: Failure) -> None:
        """The answer broke, after the bytes that were sent so far."""
        if self._is_live(stream):
            self._outbox.put_tail(stream, encode(FrameType.RESET, stream, failure))

    def result(self, result: Result) -> None:
        """Answer a command."""
        self._require_ready()
        self._control(encode(FrameType.RESULT, LINK, result))

    def drain(self) -> None:
        """Ask for nothing new."""
        self._require_ready()
        self._control(encode(FrameType.DRAIN, LINK))

    def _on_challenge(self, nonce: bytes, proof: bytes) -> None:
        if self._token is None:
            raise HandshakeError("token", "This router wants a join token: start herd-node with --join-token.")
        text = "The router does not hold this agent's join token: start both with the same --join-token."
        if self._channel:
            text = f"{text} If they are the same, somebody stands between the two, with a certificate of their own."
        if len(nonce) != NONCE_SIZE:
            raise HandshakeError("token", text)
        check_proof(proof, router_proof(self._token, self._hello, nonce, self._channel), text)
        self._control(encode(FrameType.PROOF, LINK, agent_proof(self._token, self._hello, nonce, self._channel)))

    def _on_welcome(self, welcome: Welcome) -> Event:
        if self._state is LinkState.GUARDED:
            raise HandshakeError(
                "token",
                "The router does not ask for this agent's join token, so it may be another's: start herd with the same "
                "--join-token, or herd-node without one.",
            )
        self._version = common_version([welcome.version], "router")
        return Welcomed(welcome)

    def _on_open(self, stream: StreamId, head: RequestHead) -> Event | None:
        if not 0 < stream <= MAX_STREAM_ID or stream in self._streams:
            raise ProtocolError(f"OPEN names stream {stream}, which is in use, or no id of a stream.")
        if len(self._streams) >= MAX_STREAMS:
            raise ProtocolError(f"OPEN comes while {MAX_STREAMS} streams are open, which is all there may be.")
        self._begin(stream, StreamState.RECEIVING if head.size else StreamState.SERVING)
        self._outbox.open(stream, started=False)
        if flaw := flaw_of_request(head):  # one client's doing, perhaps: no reason to leave the others
            self.reset(stream, Failure("internal", f"the request cannot be passed on: {flaw}"))
            return None
        if head.size > 0:
            self._left[stream] = head.size
        return StreamOpened(stream, head)

    def _on_body(self, stream: StreamId, data: bytes, last: bool) -> Event:
        if stream in self._left:
            self._left[stream] -= len(data)
            if self._left[stream] < 0 or (last and self._left[stream]):
                raise ProtocolError(f"BODY of stream {stream} is not as long as its OPEN declared.")
        if last:
            self._streams[stream] = StreamState.SERVING
        return BodyReceived(stream, data, last)

    def _forget(self, stream: StreamId) -> None:
        self._left.pop(stream, None)
        super()._forget(stream)
