"""Connections that begin with a TLS handshake, and how many may do so at a time.

asyncio's own servers shake hands before anybody hears of a connection, with as many as come: whoever connects and says
nothing would take the process's file descriptors, one after another. Here they count among the others.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from herd.types import KiB, Seconds

# Two round trips, and some arithmetic: a phone on a bad network takes a second or two.
HANDSHAKE_S = Seconds(10.0)
# How long a client's farewell is waited for when a connection ends.
FAREWELL_S = Seconds(2.0)
# How soon to look again whether there are file descriptors; nothing tells. asyncio's own servers wait as long.
ACCEPT_AGAIN_S = 1.0
# What is still read of a client that speaks plainly, so that closing does not take the answer away from it.
PLAIN_READ = 64 * KiB

_HANDSHAKE = b"\x16"  # RFC 8446, section 5.1: the type of the first record
_PLAIN = b"This port speaks HTTPS: ask with https:// in place of http://.\n"
PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_PLAIN), _PLAIN)
)

logger = logging.getLogger(__name__)


class TlsListener:
    """Accepts connections, and hands on those that have shaken hands.

    Args:
        context: the server's.
        protocols: makes the protocol of a connection.
        room: how many more connections may be open, beside those that are shaking hands.
    """

    def __init__(
        self, context: ssl.SSLContext, protocols: Callable[[], asyncio.Protocol], room: Callable[[], int]
    ) -> None:
        self._context = context
        self._protocols = protocols
        self._room = room
        self._sockets: Sequence[socket.socket] = ()
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()

    @property
    def greeting(self) -> int:
        """Connections that are shaking hands."""
        return len(self._greeting)

    async def start(self, host: str, port: int, backlog: int) -> int:
        """Listen on all addresses of a host, or of this machine where it is empty; the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        try:
            for family, kind, number, _, address in dict.fromkeys(infos):
                try:
                    sock = socket.socket(family, kind, number)
                except OSError:  # the resolver knows families that this machine does not have
                    continue
                sockets.append(sock)
                sock.setblocking(False)
                if sys.platform != "win32":  # there it would let two programs share the port
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], port, *address[2:]))
                port = sock.getsockname()[1]  # the others get the one that the first one found free
                sock.listen(backlog)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        self._sockets = sockets
        self._accepting = [loop.create_task(self._accept(sock)) for sock in sockets]
        return port

    async def stop(self) -> None:
        """Take no more connections, and let go of those that have not shaken hands."""
        tasks = [*self._accepting, *self._greeting]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for sock in self._sockets:
            sock.close()
        self._sockets = ()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                logger.warning("no connection can be taken: %s", error.strerror or error)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            sock.setblocking(False)
            if self._room() <= len(self._greeting):
                sock.close()  # an answer would need a handshake first
                continue
            task = loop.create_task(self._greet(sock))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, sock: socket.socket) -> None:
        """Shake hands. What goes wrong with it concerns the one client, who is told by TLS itself."""
        loop = asyncio.get_running_loop()
        handed = False
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(HANDSHAKE_S):
                    first = await _first_byte(sock)
                    if first == _HANDSHAKE:
                        handed = True
                        await loop.connect_accepted_socket(
                            self._protocols,
                            sock,
                            ssl=self._context,
                            ssl_handshake_timeout=HANDSHAKE_S,
                            ssl_shutdown_timeout=FAREWELL_S,
                        )
                    elif first:
                        await _answer_plainly(sock)
        finally:
            if not handed:
                sock.close()


async def _first_byte(sock: socket.socket) -> bytes:
    """What a client begins with, left where it is; empty when it has closed."""
    if sys.platform == "win32":  # its loop does not watch sockets, and Python's own greeting has to do
        return _HANDSHAKE
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


async def _answer_plainly(sock: socket.socket) -> None:
    """Tell a client that speaks HTTP what to speak."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, PLAIN_ANSWER)
    sock.shutdown(socket.SHUT_WR)
    left = PLAIN_READ
    while left > 0 and (data := await loop.sock_recv(sock, 4 * KiB)):
        left -= len(data)
