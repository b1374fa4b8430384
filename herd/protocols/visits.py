"""What the head of a request tells of whoever sends it: the name it was asked by, the page behind it, keys, the way."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from herd.protocols.headers import Headers

# What proxies add. One on this machine makes everybody look as if they were here.
_FORWARDED = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "cf-connecting-ip"}
)
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, as far as a head tells.

    Attributes:
        method: of the request.
        peer: the address at the other end of the connection.
        host: the Host header, as sent.
        origins: every Origin header; empty where no web page asks.
        site: `Sec-Fetch-Site`, in lower case.
        keys: what was given as a key, by `Authorization: Bearer` or `x-api-key`. Never shown.
        proxied: it came through a proxy that says so, and who is behind that is anybody's guess.
    """

    method: str
    peer: str
    host: str = ""
    origins: tuple[str, ...] = ()
    site: str = ""
    keys: tuple[str, ...] = ()
    proxied: bool = False

    def __repr__(self) -> str:
        return f"<Visit {self.method} from {self.peer}>"

    @property
    def here(self) -> bool:
        """Whether it comes from this machine."""
        found = _address(self.peer)
        return not self.proxied and found is not None and found.is_loopback

    @property
    def near(self) -> bool:
        """Whether it comes from this machine or from an address of a private network."""
        found = _address(self.peer)
        return not self.proxied and found is not None and (found.is_private or found.is_link_local)


def visit(method: str, peer: str, headers: Headers) -> Visit:
    """Read a head, in one walk: it is done for every request."""
    hosts: list[str] = []
    origins: list[str] = []
    keys: list[str] = []
    site, proxied = "", False
    for name, value in headers:
        match name.lower():
            case "host":
                hosts.append(value.strip())
            case "origin":
                origins.append(value.strip())
            case "authorization" if value[: len(_BEARER)].lower() == _BEARER:
                keys.append(value[len(_BEARER) :].strip())
            case "x-api-key":
                keys.append(value.strip())
            case "sec-fetch-site":
                site = value.strip().lower()
            case other if other in _FORWARDED:
                proxied = True
    # Of two, which the listener refuses, neither is a name.
    return Visit(method, peer, ",".join(hosts), tuple(origins), site, tuple(keys), proxied)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as a socket shows it, one of IPv4 in IPv6's clothes included; None for what is none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
