"""Which processes listen at the ports of the agent's model servers."""

import ipaddress
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from herd.net.owner.model_servers import FORWARDERS, Role, file_name
from herd.types import Seconds

# A search through every process's sockets takes 10 to 100 ms of a processor. It is needed only for servers that are not
# recognised by their words, or whose sockets the system does not show, and those do not change by the second.
SEARCH_S = Seconds(30.0)
# On one's own machine a connection is made or refused at once.
CONNECT_S = 0.2
# Systemd, launchd and Windows' kernel may hold a port for somebody else, and everything is their child.
_SYSTEM = (0, 1, 4)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


class Listeners:
    """Finds the processes behind the agent's model servers, and knows when there is one that it cannot find.

    Calls block, for milliseconds mostly.

    Args:
        urls: of the model servers.
    """

    def __init__(self, urls: Collection[str]) -> None:
        self._addresses = tuple([Address.of(url) for url in urls])
        self._found: dict[Address, psutil.Process] = {}
        self._search_at = float("-inf")
        self.hidden = False  # a model server runs, here or where this machine ends, that no process is known of

    def look(self, roles: Mapping[psutil.Process, Role | None], now: Seconds) -> frozenset[psutil.Process]:
        """The processes that listen at the model servers' ports.

        Args:
            roles: of every process that is alive, as far as known by their words.
            now: on the monotonic clock.
        """
        self._found = {address: process for address, process in self._found.items() if process in roles}
        self.hidden = False
        listening = set()
        for address in self._addresses:
            if not is_here(address.host):
                self.hidden = True  # in a container beside this one, perhaps: then its load is among what is seen here
                continue
            process = self._found.get(address) or self._find(address, roles, now)
            if process is not None and process.pid not in _SYSTEM and not _passes_on(process):
                listening.add(process)
            elif process is not None or _answers(address):
                # A server that is known by its words, and whose sockets are out of sight, explains it.
                self.hidden = self.hidden or all(_ports(server) for server in _servers(roles))
        return frozenset(listening)

    def _find(
        self, address: Address, roles: Mapping[psutil.Process, Role | None], now: Seconds
    ) -> psutil.Process | None:
        """The process that listens at an address, for which none is known."""
        process = next((server for server in _servers(roles) if address.port in _ports(server)), None)
        if process is None and now >= self._search_at and _answers(address):
            self._search_at = now + SEARCH_S
            process = _search(address.port, roles)
        if process is not None:
            self._found[address] = process
        return process


def _servers(roles: Mapping[psutil.Process, Role | None]) -> list[psutil.Process]:
    return [process for process, role in roles.items() if role in {Role.MANAGER, Role.SERVER}]


def is_here(host: str) -> bool:
    """Whether `host` is this machine, as far as that can be said without asking a name server."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in {"localhost", socket.gethostname().lower()}
    if address.is_loopback or address.is_unspecified:
        return True
    own = [entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries]
    return str(address) in own


def _ports(process: psutil.Process) -> frozenset[int]:
    """The ports at which a process listens; none where the system does not show them."""
    try:
        sockets = process.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return frozenset()
    return frozenset([entry.laddr.port for entry in sockets if entry.status == psutil.CONN_LISTEN and entry.laddr])


def _search(port: int, roles: Mapping[psutil.Process, Role | None]) -> psutil.Process | None:
    """The process that listens at `port`, among all that are alive."""
    try:
        for entry in psutil.net_connections(kind="tcp"):
            if entry.status == psutil.CONN_LISTEN and entry.pid and entry.laddr and entry.laddr.port == port:
                return next((process for process in roles if process.pid == entry.pid), None)
    except (psutil.Error, OSError):  # macOS shows all sockets to root only, and those of one's own processes one by one
        return next((process for process in roles if port in _ports(process)), None)
    return None


def _answers(address: Address) -> bool:
    """Whether anything listens there."""
    with suppress(OSError), socket.create_connection((address.host, address.port), CONNECT_S):
        return True
    return False


def _passes_on(process: psutil.Process) -> bool:
    with suppress(psutil.Error, OSError):
        return file_name(process.name()) in FORWARDERS
    return False
