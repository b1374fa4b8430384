"""What stands before Ollama's endpoints: Go's router with its redirects, and the checks of `Origin` and `Host`.

Everything here is decided from the head of a request; each function says how to answer, or that the request may go on.
"""

import ipaddress
import posixpath
from collections.abc import Mapping
from html import escape
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

from herd.actors.ports import Headers, HttpRequest
from herd.simulation.ollama.pages import Page

T = TypeVar("T")

_METHODS = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,"
    "X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,"
    "X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_PREFLIGHT_AGE = "43200"  # seconds: twelve hours

_VARY = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")

_OWN_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - an address that pages come from, not one to bind to
_OWN_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_DOMAINS = (".localhost", ".local", ".internal")

_PLAIN = "text/plain"

# What Go leaves as it is in the path of a URL.
_UNQUOTED = "/:@!$&'()*+,;=~"


class Routes(Generic[T]):
    """Endpoints by path and method. A path whose last segment is `*` stands for any one segment there."""

    def __init__(self, table: Mapping[str, Mapping[str, T]]) -> None:
        self._exact = {path: methods for path, methods in table.items() if not path.endswith("/*")}
        self._under = {path[:-1]: methods for path, methods in table.items() if path.endswith("/*")}

    def at(self, path: str) -> Mapping[str, T]:
        """The endpoints of a path, by method; empty when there is no such path."""
        if (methods := self._exact.get(path)) is not None:
            return methods
        parent, _, last = path.rpartition("/")
        return self._under.get(f"{parent}/", {}) if last else {}


def redirect(request: HttpRequest, routes: Routes[T]) -> Page | None:
    """Where to ask instead, if the path is not as Go likes it: with dots, doubled slashes, or one at the end."""
    path = unquote(request.path)
    clean = posixpath.normpath(f"/{path.lstrip('/')}")
    if path.endswith("/") and clean != "/":
        clean += "/"
    if clean != path:
        return _moved(request, clean, 307)
    bare = path.removesuffix("/") or "/"
    if bare != path and request.method in routes.at(bare):
        return _moved(request, bare, 301 if request.method == "GET" else 307)
    return None


def not_found(methods: Mapping[str, Any]) -> Page:
    """The answer when the path is unknown, or known for other methods."""
    if not methods:
        return Page(404, (("Content-Type", _PLAIN),), b"404 page not found")
    allow = ("Allow", ", ".join(methods))
    return Page(405, (("Content-Type", _PLAIN), allow), b"405 method not allowed")


def check_origin(request: HttpRequest) -> Page | Headers:
    """How to refuse a page of another origin or to answer its preflight; else the headers that any answer gets."""
    origin = _header(request, "origin")
    if not origin or origin in {f"{scheme}://{_header(request, 'host')}" for scheme in ("http", "https")}:
        return ()
    if not _is_own(origin):
        return Page(403)
    allowed = ("Access-Control-Allow-Origin", origin)
    if request.method != "OPTIONS":
        return (allowed, ("Vary", "Origin"))
    return Page(
        204,
        (
            allowed,
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", _HEADERS),
            ("Access-Control-Max-Age", _PREFLIGHT_AGE),
            *(("Vary", name) for name in _VARY),
        ),
    )


def check_host(request: HttpRequest) -> Page | None:
    """How to refuse a name that is not this machine's: a server on the loopback interface is not to be found by DNS.

    The machine's own name is not known here, and refused with the rest.
    """
    name = _host_name(_header(request, "host"))
    address = _address(name)
    if address is not None:
        inside = address.is_loopback or address.is_private or address.is_unspecified
        return None if inside else Page(403)
    if name and name != "localhost" and not name.endswith(_LOCAL_DOMAINS):
        return Page(403)
    return Page(204) if request.method == "OPTIONS" else None


def _is_own(origin: str) -> bool:
    """An origin that Ollama allows without being told."""
    scheme, found, rest = origin.partition("://")
    if not found:
        return False
    if scheme in _OWN_SCHEMES:
        return True
    host, colon, port = rest.partition(":")
    return scheme in {"http", "https"} and host in _OWN_HOSTS and (not colon or bool(port))


def _moved(request: HttpRequest, path: str, status: int) -> Page:
    location = quote(path, safe=_UNQUOTED) + (f"?{request.query}" if request.query else "")
    if request.method not in {"GET", "HEAD"}:
        return Page(status, (("Location", location),))
    words = {301: "Moved Permanently", 307: "Temporary Redirect"}[status]
    body = f'<a href="{escape(location)}">{words}</a>.\n\n'.encode() if request.method == "GET" else b""
    return Page(status, (("Location", location), ("Content-Type", "text/html; charset=utf-8")), body)


def _header(request: HttpRequest, name: str) -> str:
    return next((value for key, value in request.headers if key.lower() == name), "")


def _host_name(host: str) -> str:
    """A Host header without its port, in lower case; without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return (host if host.count(":") > 1 else host.partition(":")[0]).lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
