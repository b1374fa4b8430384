"""What the process behind a model server's port says of its settings, where the system lets us look."""

import asyncio
import ipaddress
from urllib.parse import urlsplit

import psutil


class PsutilServerProcesses:
    """Reads other processes' environments; implements the port `ServerProcesses`.

    Linux and Windows show those of one's own user, macOS too but for system programs; root sees all. A server in a
    container, or on another machine, has no process here.
    """

    async def variable(self, base_url: str, name: str) -> str | None:
        """The variable `name` of the process that listens at `base_url`; None when it is not set or cannot be read."""
        parts = urlsplit(base_url)
        if not parts.port or not _is_here(parts.hostname or ""):
            return None
        return await asyncio.to_thread(_variable, parts.port, name)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _variable(port: int, name: str) -> str | None:
    """Blocking: looks through the system's sockets, some milliseconds on a busy machine."""
    try:
        sockets = psutil.net_connections(kind="tcp")
        pids = [
            entry.pid
            for entry in sockets
            if entry.status == psutil.CONN_LISTEN and entry.pid and entry.laddr and entry.laddr.port == port
        ]
        return psutil.Process(pids[0]).environ().get(name) if pids else None
    except (psutil.Error, OSError):
        return None
