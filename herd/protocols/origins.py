"""Web pages: by which names they may reach the router, and of which origins they may be.

Origins are allowed as Ollama allows them, which leaves that to gin-contrib/cors: what is always allowed, what a page is
answered, and that a page of any other origin is refused whatever it asks. What names Ollama takes on the loopback
interface is what the router takes on every one: a page whose own name is made to lead here ("DNS rebinding") is of the
router's origin, for its browser.
"""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from re import ASCII
from re import compile as pattern
from typing import NamedTuple
from urllib.parse import urlsplit

from herd.errors import RequestError
from herd.protocols.headers import Headers
from herd.protocols.visits import Visit

_NAME = pattern(r"[a-z0-9_-][a-z0-9._-]*", ASCII)
_LOCAL_DOMAINS = (".localhost", ".local", ".internal")
# A router is called by a few names, again and again, and to read one takes a hundredth of what a request does.
REMEMBERED = 256
LONGEST = 300  # characters of a Host that is a name (253 by RFC 1035, a dot and a port), and is remembered
MAX_SHOWN = 80  # characters of a wrong Host that are repeated to the client

_OWN_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - addresses that pages come from, not one to bind to
_OWN_SCHEMES = ("app://", "file://", "tauri://", "vscode-webview://", "vscode-file://")

_METHODS = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,"
    "X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,"
    "X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_PREFLIGHT_AGE = "43200"  # seconds: twelve hours
_PREFLIGHT_VARY = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")


class Page(NamedTuple):
    """A whole answer without a body."""

    status: int
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names that are the router's.

    Attributes:
        own: this machine's, with and without its domain, in lower case.
        allowed: further ones, and `*.example.com` for all that end so.
    """

    own: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    def check(self, host: str) -> None:
        """Let a Host header pass. Raises RequestError (403) that names what would."""
        if not self.known(host):
            shown = host if len(host) <= MAX_SHOWN else f"{host[:MAX_SHOWN]}..."
            text = (
                f"this router is not known by the name {shown!r}: use its IP address, or start it with "
                "--allowed-host and that name"
            )
            raise RequestError(text, status=403)

    def known(self, host: str) -> bool:
        """Whether a Host header is none, or names this router."""
        if not host:  # HTTP/1.0
            return True
        name = _name(host)
        return name is not None and (not name or is_address(name) or self._named(name))

    def certain(self, host: str) -> bool:
        """Whether a Host header has a name that nobody else on the network can lead here."""
        name = _name(host)
        if not name:
            return False
        return is_address(name) or name == "localhost" or name in self.own or name in self.allowed

    def preflight(self, host: str) -> bool:
        """Whether OPTIONS is answered without an Origin: Ollama does it for names that it knows, not for addresses."""
        name = _name(host)
        return name is not None and not is_address(name) and self._named(name)

    def _named(self, name: str) -> bool:
        if name == "localhost" or name in self.own or name in self.allowed:
            return True
        domains = (*_LOCAL_DOMAINS, *(each[1:] for each in self.allowed if each.startswith("*.")))
        return name.endswith(domains)


def _name(host: str) -> str | None:
    return host_name(host) if len(host) <= LONGEST else None


@lru_cache(maxsize=REMEMBERED)
def host_name(host: str) -> str | None:
    """A Host header without its port and brackets, in lower case; None when it is no host at all."""
    if not host.isascii() or "," in host:
        return None
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or not is_address(name):
            return None
    elif host.count(":") > 1:  # an IPv6 address without brackets
        name, rest = host, ""
    else:
        name, colon, port = host.partition(":")
        rest = colon + port
    if rest and not (rest[0] == ":" and (rest == ":" or rest[1:].isdigit())):
        return None
    name = name.lower().removesuffix(".") or name
    return name if not name or _NAME.fullmatch(name) or is_address(name) else None


@lru_cache(maxsize=REMEMBERED)
def is_address(name: str) -> bool:
    """Whether it is an IP address, and so no name that anybody could lead elsewhere."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins of web pages that may ask, beside those that Ollama always allows.

    Attributes:
        allowed: origins, with one `*` each at most, which stands for anything; `*` alone for all.
    """

    allowed: tuple[str, ...] = ()

    def answer(self, visit: Visit, hosts: Hosts) -> Page | Headers:
        """The answer to a preflight or to a page that may not ask; else the headers that any answer to it gets."""
        if not any(visit.origins):
            return Page(204) if visit.method == "OPTIONS" and hosts.preflight(visit.host) else ()
        foreign = [each for each in visit.origins if each not in {f"http://{visit.host}", f"https://{visit.host}"}]
        if not foreign:
            return ()
        everybody = "*" in self.allowed
        if not everybody and not all(map(self._allows, foreign)):
            return Page(403)
        allowed = ("Access-Control-Allow-Origin", "*" if everybody else foreign[0])
        preflight = visit.method == "OPTIONS"
        vary = () if everybody else _PREFLIGHT_VARY if preflight else ("Origin",)
        varies = tuple(("Vary", name) for name in vary)
        if not preflight:
            return (allowed, *varies)
        permits = (
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", _HEADERS),
            ("Access-Control-Max-Age", _PREFLIGHT_AGE),
        )
        return Page(204, (allowed, *permits, *varies))

    def _allows(self, origin: str) -> bool:
        return _always_allowed(origin) or any(_matches(pattern, origin) for pattern in self.allowed)


def _matches(pattern: str, origin: str) -> bool:
    start, star, end = pattern.partition("*")
    if not star:
        return origin == pattern
    return len(origin) >= len(start) + len(end) and origin.startswith(start) and origin.endswith(end)


def _always_allowed(origin: str) -> bool:
    if origin.startswith(_OWN_SCHEMES):
        return True
    scheme, _, rest = origin.partition("://")
    host, colon, port = rest.partition(":")
    # Whatever stands behind the colon, as for Ollama: no browser lets a page be called anything there but a number.
    return scheme in {"http", "https"} and host in _OWN_HOSTS and (not colon or port != "")


def is_own_page(origin: str, host: str, hosts: Hosts) -> bool:
    """Whether a page is the router's own: of its host and port, by a name that can only mean this machine.

    Any other name may be that of a stranger who has it resolved to an address of this machine's.
    """
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc == host.lower() and hosts.certain(host)
