"""Everything Herd raises on purpose. Each error knows its HTTP status and says one sentence to a person."""


class HerdError(Exception):
    """Root of the tree. `str(error)` is the sentence for a person: what is wrong, where, and what to do."""

    status: int = 500


class ConfigError(HerdError):
    """A flag, an environment variable or a key of herd.toml cannot be used; commands exit with 2."""


class ProtocolError(HerdError):
    """The peer broke the link's rules. The text is safe to send to it before the connection is closed."""

    status = 502


class RequestError(HerdError):
    """The client's request cannot be served as it is: bad JSON, a missing field, an unknown model.

    Args:
        message: the sentence; where a client matches on it, Ollama's own words.
        status: HTTP status of the answer.
        code: OpenAI's `error.code`, or None.
        headers: extra answer headers, such as `Allow` or `Retry-After`.
    """

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class BodyTooLarge(HerdError):
    """The request body is longer than the limit in force."""

    status = 413


class StreamFailed(HerdError):
    """An exchange with a node broke: link lost, backend refused or died. Before its first byte a request is retried.

    Args:
        message: the sentence.
        kind: of the failure (`protocols.messages.Failure`); None for what it is by its class.
    """

    status = 502
    kind = "reset"

    def __init__(self, message: str = "", kind: str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class Unreachable(StreamFailed):
    """No connection came about, so the request has reached nobody."""

    kind = "connect"


class TimedOut(StreamFailed):
    """A server that is there did not answer in the time that it was given."""

    kind = "timeout"


class LinkClosed(StreamFailed):
    """The node's link is gone, and with it every stream on it."""

    kind = "link"


class JoinRefused(HerdError):
    """The router is there but does not let this agent join: wrong token, wrong version, another router's agent.

    Args:
        text: the sentence.
        code: the code of its Goodbye.
    """

    status = 502

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code
