"""Somebody between an agent and its router, who ends the TLS of both and reads along."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from herd.net.tls import client_context, server_context

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def somebody_between(
    link_port: int, certificate: str, *, router_tls: bool = True
) -> AsyncIterator[tuple[int, bytearray]]:
    """A port that passes everything on to a router's link port; and all that was read of what agents say.

    Args:
        link_port: the router's.
        certificate: what agents are shown; empty to speak plainly with them.
        router_tls: the router's link speaks TLS.
    """
    read = bytearray()
    passing: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: bytearray | None) -> None:
        with contextlib.suppress(OSError):  # one side has left
            while data := await reader.read(65536):
                if log is not None:
                    log += data
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        passing.add(task)
        tls = client_context() if router_tls else None
        try:
            theirs, ours = await asyncio.open_connection(LOOPBACK, link_port, ssl=tls)
        except OSError:  # the router is down
            writer.transport.abort()
            return
        await asyncio.gather(pass_on(reader, ours, read), pass_on(theirs, writer, None))

    server = await asyncio.start_server(met, LOOPBACK, 0, ssl=server_context(certificate, certificate))
    try:
        yield server.sockets[0].getsockname()[1], read
    finally:
        server.close()
        if passing:
            await asyncio.wait(passing)
