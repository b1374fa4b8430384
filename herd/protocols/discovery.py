"""How a router is known on the local network: the values of its mDNS record, to and from TXT."""

from dataclasses import dataclass

from herd.types import RouterId

SERVICE_TYPE = "_herd._tcp.local."


@dataclass(frozen=True, slots=True)
class RouterAddress:
    """Where a router listens."""

    hosts: tuple[str, ...]  # IPv4 and IPv6 addresses, or names, best first
    http_port: int
    link_port: int
    router_id: RouterId
    versions: tuple[int, ...] = (1,)  # link protocol versions it speaks
