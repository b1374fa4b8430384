"""Who may do what: one decision for every request, from its head alone.

Without keys whoever reaches the router may use the models and read how the fleet stands; what changes the fleet is for
this machine. Keys close the first, and open the second from elsewhere.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from herd.errors import RequestError
from herd.protocols.origins import Hosts, Origins, is_own_page
from herd.protocols.paths import Endpoint, EndpointKind
from herd.protocols.visits import Visit
from herd.types import Dialect

# Watchdogs ask these, by whatever name containers have for each other; they tell a stranger's page nothing.
_PROBES = frozenset({"herd.healthz", "herd.readyz"})
# And these are asked by clients that look whether an Ollama is there, and by agents that look for the link port.
_OPEN = frozenset({"ollama.root", "herd.info"})
_OWN = frozenset({EndpointKind.HERD, EndpointKind.WATCHED, EndpointKind.CONTROL})

_FOREIGN = frozenset({"cross-site", "same-site"})  # `Sec-Fetch-Site` of what another's page asks for

# Keys of one request that are looked at: clients send one, some the same in both headers. A head has room for hundreds,
# and each is compared with every key there is.
MAX_GIVEN = 4

_CHALLENGE = (("WWW-Authenticate", "Bearer"),)
# In the words of each service where its clients have come to know them.
_NO_KEY = {
    Dialect.OLLAMA: "unauthorized",
    Dialect.OPENAI: "You didn't provide an API key: send one of this router's as Authorization: Bearer.",
    Dialect.ANTHROPIC: "x-api-key header is required",
}
_WRONG_KEY = {
    Dialect.OLLAMA: "unauthorized",
    Dialect.OPENAI: "Incorrect API key provided: it is none of this router's.",
    Dialect.ANTHROPIC: "invalid x-api-key",
}
_OWN_NEEDS_KEY = "this router has keys: ask on its own machine, or send one (herd commands: --admin-key)"
_OWN_WRONG_KEY = "this router does not know this key: ask on its own machine, or send another (herd --admin-key)"
_WRONG_ADMIN_KEY = "this key does not let you change the fleet"
_WAYS = (
    "the fleet is changed on the router's own machine only: go there, send its admin key (herd --admin-key), or start "
    "it with --lan-admin, which lets the whole local network"
)
_NO_PAGES = "the fleet is not changed from web pages: run the herd command in a terminal instead"
_NO_HOLDING = "a web page that may not read this stream may not hold it open either"


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key: what it is called (empty: nothing), and its digest. The key itself is kept nowhere."""

    name: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what.

    Attributes:
        keys: of clients; where there are any, nobody else is served.
        admin: digest of the key that opens everything; None: there is none.
        lan_admin: private addresses may change the fleet as this machine may.
        hosts: the names that are the router's.
        origins: of web pages that may ask.
    """

    keys: tuple[Key, ...] = ()
    admin: bytes | None = field(default=None, repr=False)
    lan_admin: bool = False
    hosts: Hosts = field(default_factory=Hosts)
    origins: Origins = field(default_factory=Origins)

    def admit(self, endpoint: Endpoint, visit: Visit) -> str:
        """Let a request pass; the name of the client's key, empty where it has none.

        Raises:
            RequestError: 401 without a key or with a wrong one, 403 by a wrong name or from where it may not come.
        """
        if endpoint.name in _PROBES:
            return ""
        self.hosts.check(visit.host)
        # The page tells nothing before it has asked for the status, for which it sends a key where one is needed.
        if endpoint.name in _OPEN or endpoint.kind is EndpointKind.PAGE:
            return ""
        name, admin = self._known(visit.keys)
        own = endpoint.kind in _OWN
        changes = endpoint.changed_by(visit.method)
        # What a page can send it sends for whoever looks at it, from where that person is.
        if changes and not self._no_foreign_page(visit):
            raise RequestError(_NO_PAGES, status=403)
        # As an image, say: there is nothing for the page to see, and places for those who watch are few.
        if endpoint.kind is EndpointKind.WATCHED and visit.site in _FOREIGN and not any(visit.origins):
            raise RequestError(_NO_HOLDING, status=403)
        if self.keys and name is None and not admin and not (own and (visit.here or changes)):
            raise _unauthorized(endpoint, given=bool(visit.keys))
        if changes and not (admin or visit.here or (self.lan_admin and visit.near)):
            if visit.keys and name is None and (self.keys or self.admin is not None):
                raise RequestError(_WRONG_ADMIN_KEY, status=401, headers=_CHALLENGE)
            raise RequestError(_WAYS, status=403)
        return name or ""

    def _known(self, given: Sequence[str]) -> tuple[str | None, bool]:
        """The name of the client's key (None: it has none of them), and whether one is the admin's.

        Every key is compared with every one that is given, so that the time tells nothing of which it was, or how near.
        """
        name, admin = None, False
        if self.keys or self.admin is not None:
            for each in given[:MAX_GIVEN]:
                digest = digest_of(each)
                for key in self.keys:
                    if hmac.compare_digest(digest, key.digest):
                        name = key.name
                admin |= hmac.compare_digest(digest, self.admin or b"")
        return name, admin

    def _no_foreign_page(self, visit: Visit) -> bool:
        """Browsers send `Sec-Fetch-Site` or `Origin` with every request that a page has them make."""
        if visit.site in _FOREIGN:
            return False
        return all(is_own_page(origin, visit.host, self.hosts) for origin in visit.origins)


def _unauthorized(endpoint: Endpoint, *, given: bool) -> RequestError:
    said = _WRONG_KEY if given else _NO_KEY
    own = _OWN_WRONG_KEY if given else _OWN_NEEDS_KEY
    text = own if endpoint.kind in _OWN else said[endpoint.dialect]
    return RequestError(text, status=401, code="invalid_api_key", headers=_CHALLENGE)


def digest_of(key: str) -> bytes:
    """What is kept of a key: of one length for all, so that comparing takes one time for all."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
