"""What those who watch a router are told: `GET /herd/v1/events` and `/herd/v1/logs`. A contract: docs/contracts.md."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import parse_qsl

import orjson

from herd.errors import ProtocolError, RequestError
from herd.protocols.happenings import Happening
from herd.protocols.stories import MAX_SHOWN

# Nothing is to be said, but the peer must be seen to live; proxies cut streams that are silent for a minute.
STILL_HERE_S = 15.0
STILL_HERE = b": here\n\n"

REQUESTS = 50  # that are shown: more than a tall screen has rows for


class Topic(StrEnum):
    """What can be watched."""

    STATUS = "status"  # as `GET /herd/v1/status`
    REQUESTS = "requests"  # as `GET /herd/v1/requests`
    HAPPENINGS = "happenings"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the router's log."""

    number: int  # from 1 on
    time: str  # ISO 8601, UTC
    level: str
    logger: str
    message: str
    request_id: str | None = None  # of the request that it is about


def topics_of(query: str) -> tuple[Topic, ...]:
    """The topics that are asked for, each once; the status by default. Raises RequestError (400)."""
    text = dict(parse_qsl(query, keep_blank_values=True)).get("topics")
    if text is None:
        return (Topic.STATUS,)
    found = []
    for name in text.split(","):
        if name not in frozenset(Topic):
            shown = name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}..."
            raise RequestError(f"there is no topic {shown!r}: topics are {', '.join(Topic)}")
        found.append(Topic(name))
    return tuple(dict.fromkeys(found))


def event(topic: Topic, document: bytes) -> bytes:
    """One server-sent event (https://html.spec.whatwg.org/#server-sent-events). `document`: JSON on one line."""
    return b"event: %b\ndata: %b\n\n" % (topic.encode(), document)


def decode(data: bytes) -> object:
    """The document of an event. Raises ProtocolError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"an event of the router is no JSON: {error}") from error


def encode_happenings(happenings: Iterable[tuple[int, Happening]]) -> bytes:
    """Happenings with their numbers."""
    return orjson.dumps({"happenings": [{"number": number, **asdict(one)} for number, one in happenings]})


def encode_log(lines: Iterable[LogLine]) -> bytes:
    """Lines of a log."""
    return orjson.dumps({"lines": list(lines)})
