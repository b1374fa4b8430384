"""Which headers pass a hop, and which end there."""

from collections.abc import Iterable

Headers = tuple[tuple[str, str], ...]

# RFC 9110, section 7.6.1, and the ones that this hop makes anew.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    }
)

# Towards a model server: it stands on its own host, answers 403 to a foreign Host or Origin, must not see the client's
# key for the router, and is asked for plain bytes, so that the agent can read the usage in the tail.
_NOT_TO_BACKEND = HOP_BY_HOP | {
    "host",
    "origin",
    "referer",
    "authorization",
    "cookie",
    "x-api-key",
    "accept-encoding",
    "content-length",
}

# Towards the client: who serves, and to which origins, is the router's to say.
_NOT_TO_CLIENT = HOP_BY_HOP | {"server", "date", "vary"}


def to_backend(headers: Iterable[tuple[str, str]]) -> Headers:
    """The client's headers that a model server gets. The length of the body travels beside them."""
    return tuple(_passing(headers, _NOT_TO_BACKEND))


def to_client(headers: Iterable[tuple[str, str]]) -> Headers:
    """The model server's headers that the client gets."""
    return tuple(
        (name, value)
        for name, value in _passing(headers, _NOT_TO_CLIENT)
        if not name.lower().startswith(("access-control-", "x-herd-"))
    )


def _passing(headers: Iterable[tuple[str, str]], ending: frozenset[str]) -> Iterable[tuple[str, str]]:
    headers = tuple(headers)
    named = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }
    return ((name, value) for name, value in headers if name.lower() not in ending and name.lower() not in named)


def value_of(headers: Iterable[tuple[str, str]], wanted: str) -> str:
    """The first value of a header, whatever the case of its name; empty when it is not there."""
    wanted = wanted.lower()
    return next((value for name, value in headers if name.lower() == wanted), "")
