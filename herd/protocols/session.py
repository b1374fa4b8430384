"""The link between an agent and the router, without a socket: bytes in, events out; values in, bytes out.

    session = RouterSession(nonce=token_bytes(16))
    events = session.receive(data)        # from the socket
    session.open(stream, head)            # and the other sends
    data = session.take(64 * KiB)         # to the socket

Whoever owns a session feeds it what the socket reads, writes what `take` gives while the socket has room, and says
`consumed` when received bytes were handed on.

This module is the door; behind it, in reading order: `messages` and `events` (what is said), `states` (what may be said
when), `framing` (how it looks), `handshake`, `credit` and `outbox` (how much may be sent, and in which order),
`endpoint` (what both ends have in common), `router_session` and `agent_session`.

A stream has ended once END or RESET was sent or received, or CANCEL was. The other end may have ended it in the same
moment, so sends on a stream that has ended do nothing; on one that was never opened they raise ValueError, as does
everything that is sent out of order.
"""

from herd.protocols.agent_session import AgentSession
from herd.protocols.credit import MAX_STREAMS
from herd.protocols.endpoint import Session
from herd.protocols.events import (
    BodyReceived,
    CommandReceived,
    DataReceived,
    DrainReceived,
    Event,
    GoodbyeReceived,
    HeadReceived,
    HelloReceived,
    PongReceived,
    ReportReceived,
    ResultReceived,
    StreamCancelled,
    StreamEnded,
    StreamEvent,
    StreamOpened,
    StreamReset,
    Welcomed,
)
from herd.protocols.framing import UnsendableError
from herd.protocols.handshake import HandshakeError
from herd.protocols.outbox import STREAM_BUFFER
from herd.protocols.router_session import RouterSession
from herd.protocols.states import describe_states

__all__ = [
    "MAX_STREAMS",
    "STREAM_BUFFER",
    "AgentSession",
    "BodyReceived",
    "CommandReceived",
    "DataReceived",
    "DrainReceived",
    "Event",
    "GoodbyeReceived",
    "HandshakeError",
    "HeadReceived",
    "HelloReceived",
    "PongReceived",
    "ReportReceived",
    "ResultReceived",
    "RouterSession",
    "Session",
    "StreamCancelled",
    "StreamEnded",
    "StreamEvent",
    "StreamOpened",
    "StreamReset",
    "UnsendableError",
    "Welcomed",
    "describe_states",
]
