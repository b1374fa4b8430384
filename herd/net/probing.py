"""Looking at what others may have in the way of a router's link, and of programs on this machine's ports.

Nothing here joins a router or changes anything; each look takes some seconds at most.
"""

import asyncio
import hashlib
import os
import secrets
import ssl
from collections.abc import Collection
from dataclasses import dataclass

import psutil

from herd.errors import JoinRefused, ProtocolError
from herd.net.known_routers import Expectation, KnownRouters
from herd.net.owner.model_servers import Role, role_of
from herd.net.tls import client_context
from herd.protocols.agent_session import AgentSession
from herd.protocols.discovery import RouterAddress
from herd.protocols.events import GoodbyeReceived
from herd.protocols.handshake import NONCE_SIZE
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.types import KiB, NodeId, NodeName, Seconds

CONNECT_S = Seconds(2.0)  # a machine that is there answers in milliseconds
PROOF_S = Seconds(2.0)

# A name that no agent has, for theirs are hexadecimal digits: whatever the router makes of it is no node of anybody's.
_LOOKER = NodeId("looking")


@dataclass(frozen=True, slots=True)
class Link:
    """What is to be seen of a router's link port from here. Each trouble is a sentence, or empty."""

    place: str  # host and port
    unreachable: str = ""  # no TCP connection
    wrong_tls: str = ""  # it does not speak TLS as it says
    stranger: str = ""  # the certificate is not the one that this machine's agent knows it by
    wrong_token: str = ""  # it and this machine do not hold the same join token


async def look_at_link(address: RouterAddress, token: str, known: KnownRouters | None) -> Link:
    """Knock at the link port of a router, and have it prove the join token if one is given.

    The router proves itself first, and then it is left: no agent joins, and its node is not disturbed.

    Args:
        address: the first of its hosts is asked.
        token: the join token that this machine has and the router wants; empty: whether it is right is not looked at.
        known: the routers that this machine's agent knows by their certificates; None: it knows none.
    """
    host, port = address.hosts[0], address.link_port
    place = f"{host} port {port}"
    context = client_context() if address.tls else None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return Link(place, wrong_tls=f"it does not speak TLS ({(error.reason or 'no TLS').replace('_', ' ').lower()})")
    except TimeoutError:
        return Link(place, unreachable="no answer")
    except OSError as error:
        return Link(place, unreachable=_reason(error))
    try:
        channel = _channel(writer)
        stranger = _stranger(address, channel, known, proven=bool(token))
        return Link(place, stranger=stranger, wrong_token=await _proof(reader, writer, token, channel) if token else "")
    finally:
        writer.transport.abort()  # nothing is under way, and a farewell of TLS would be waited for


def _channel(writer: asyncio.StreamWriter) -> bytes:
    """What the proofs are bound to: the certificate's digest, as this end sees it; empty without TLS."""
    tls = writer.get_extra_info("ssl_object")
    return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").digest() if tls is not None else b""


def _stranger(address: RouterAddress, certificate: bytes, known: KnownRouters | None, *, proven: bool) -> str:
    if known is None:
        return ""
    try:
        Expectation(known, address, proven=proven).check(certificate)
    except JoinRefused as refused:
        return str(refused)
    return ""


async def _proof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, channel: bytes) -> str:
    """Why the router does not prove that it holds the token; empty where it does."""
    hello = Hello(PROTOCOL_VERSIONS, _LOOKER, NodeName(_LOOKER), nonce=secrets.token_bytes(NONCE_SIZE))
    session = AgentSession(hello, token, channel)
    try:
        async with asyncio.timeout(PROOF_S):
            writer.write(session.take(64 * KiB))
            while data := await reader.read(64 * KiB):
                for event in session.receive(data):
                    if isinstance(event, GoodbyeReceived):
                        return event.goodbye.text or event.goodbye.code
                if session.take(64 * KiB):  # our own proof, which nobody is to have: the router's was right
                    return ""
    except ProtocolError as error:
        return str(error)
    except TimeoutError:
        return "the router did not answer the hello"
    except OSError as error:
        return f"the connection broke: {_reason(error)}"
    return "the router closed the connection"


def _reason(error: OSError) -> str:
    number = error.errno
    return os.strerror(number) if number and number > 0 else error.strerror or str(error)


@dataclass(frozen=True, slots=True)
class Listener:
    """A program that listens on a port of this machine; of other users' programs some systems tell nothing."""

    port: int
    program: str  # empty: it cannot be said
    pid: int | None
    of_herd: bool = False


def listeners(ports: Collection[int]) -> tuple[Listener, ...]:
    """Who listens on these ports. Blocking: some milliseconds, on a busy machine more."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # macOS tells root alone
        return ()
    found = {
        entry.laddr.port: entry.pid
        for entry in sockets
        if entry.status == psutil.CONN_LISTEN and entry.laddr and entry.laddr.port in ports
    }
    return tuple(_listener(port, pid) for port, pid in sorted(found.items()))


def _listener(port: int, pid: int | None) -> Listener:
    if pid is None:
        return Listener(port, "", None)
    try:
        process = psutil.Process(pid)
        return Listener(port, process.name(), pid, role_of(process.cmdline()) is Role.HERD)
    except (psutil.Error, OSError):
        return Listener(port, "", pid)
