"""Who may give orders to a router over HTTP: whoever is on its machine, and no web page."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from herd.protocols.headers import value_of


def refuse_control(peer: str, headers: Iterable[tuple[str, str]]) -> str | None:
    """Why this request may give no orders, in a sentence; None when it may.

    A page of any web site can have a browser on this machine send requests here: browsers say so in `Origin`, and one
    that was led here by a name of the site's own says that name in `Host`.

    Args:
        peer: the client's address, without its port.
        headers: of the request.
    """
    pairs = tuple(headers)
    if not _is_here(peer):
        return "only programs on the router's own machine may do this"
    origin, host = value_of(pairs, "origin"), value_of(pairs, "host")
    if (origin and not _is_here(_host_of(origin))) or (host and not _is_here(_host_of(f"//{host}"))):
        return "no web page may do this"
    return None


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_here(host: str) -> bool:
    """Whether a name or an address is this machine's own, and nobody else's."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
