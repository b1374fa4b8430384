"""Which headers pass a hop, and which end there."""

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
_OF_THE_ROUTER = ("access-control-", "x-herd-")


def to_backend(headers: Headers) -> Headers:
    """The client's headers that a model server gets. The length of the body travels beside them."""
    return tuple(_passing(headers, _NOT_TO_BACKEND))


def to_client(headers: Headers) -> Headers:
    """The model server's headers that the client gets."""
    passing = _passing(headers, _NOT_TO_CLIENT)
    return tuple([pair for pair in passing if not pair[0].lower().startswith(_OF_THE_ROUTER) or _is_ignored(pair)])


def _is_ignored(pair: tuple[str, str]) -> bool:
    """What of a request a server did not heed: of tools that the agent runs itself, which say so."""
    return pair[0].lower() == "x-herd-ignored"


def _passing(headers: Headers, ending: frozenset[str]) -> list[tuple[str, str]]:
    passing = [pair for pair in headers if pair[0].lower() not in ending]
    if len(passing) != len(headers):  # only then may one of those that end here be a Connection that names others
        named = [value for name, value in headers if name.lower() == "connection"]
        if named:
            ending = frozenset(token.strip().lower() for value in named for token in value.split(","))
            return [pair for pair in passing if pair[0].lower() not in ending]
    return passing


def value_of(headers: Headers, wanted: str) -> str:
    """The first value of a header, whatever the case of its name; empty when it is not there."""
    wanted = wanted.lower()
    for name, value in headers:
        if name.lower() == wanted:
            return value
    return ""
