"""The story of a request, as JSON: `GET /herd/v1/requests` and `/herd/v1/requests/ID`. A contract: docs/contracts.md.

No text of a prompt or an answer and no value of a header is in it, but for the name of the client. All `at` and `..._s`
are seconds; `at` counts from the arrival of the request.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qsl

import msgspec
import orjson

from herd.errors import ProtocolError, RequestError

DEFAULT_LIMIT = 100
# Stories that the router keeps: a story of a big fleet is some 10 KB, so all of them are some 10 MB.
KEPT = 1000
MAX_SHOWN = 40  # characters of a wrong limit that are repeated to the client
MAX_SHOWN_ID = 128  # the longest id that a client may choose

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """A request in a line."""

    id: str
    model: str  # as the client named it
    client: str
    arrived: float  # seconds since the Unix epoch
    node: str | None = None  # that served it; else where it was tried last
    outcome: str | None = None  # served, failed, cancelled, expired or rejected; null while it is under way
    status: int | None = None  # of the answer, once there is one
    waited_s: float = 0.0  # held, and in queues
    first_token_s: float | None = None  # until the first byte of an answer that is no error went to the client
    total_s: float = 0.0  # so far, while it is under way
    attempts: int = 0
    score: float | None = None  # of the node, when the request was placed there
    prompt: int | None = None  # tokens, once it is served
    completion: int | None = None
    edited: tuple[str, ...] = ()  # fields of the request that were changed on the way to `node`


@dataclass(frozen=True, slots=True)
class ReasonGiven:
    """Why not. `text` completes the sentence "<node> ..."."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class CandidateEntry:
    """A node that could serve the request: its score is the sum of its signals."""

    node: str
    score: float
    signals: dict[str, float]


@dataclass(frozen=True, slots=True)
class EliminatedEntry:
    """A node that could not."""

    node: str
    reason: ReasonGiven


@dataclass(frozen=True, slots=True)
class EditEntry:
    """A field of the request that was changed on the way, and to what."""

    field: str
    value: str | int


# --- what happens to a request ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placed:
    """The nodes were ranked; `node` won. Null: none could serve it."""

    at: float
    node: str | None
    candidates: tuple[CandidateEntry, ...]  # best first
    eliminated: tuple[EliminatedEntry, ...]
    candidates_left_out: int = 0  # of the story, for there were too many
    eliminated_left_out: int = 0
    kind: Literal["placed"] = "placed"


@dataclass(frozen=True, slots=True)
class Held:
    """No node can serve it now: it waits for a change of the fleet."""

    at: float
    wait_s: float  # at most
    kind: Literal["held"] = "held"


@dataclass(frozen=True, slots=True)
class Woken:
    """The wait is over."""

    at: float
    by: str  # unlocked: the fleet changed; expired: the time was over; full, closed: the router would not hold it
    waited_s: float
    kind: Literal["woken"] = "woken"


@dataclass(frozen=True, slots=True)
class Queued:
    """It asks for its turn at a node."""

    at: float
    node: str
    kind: Literal["queued"] = "queued"


@dataclass(frozen=True, slots=True)
class MovedOn:
    """It waits in another queue from now on."""

    at: float
    queue: str
    waited_s: float
    kind: Literal["moved"] = "moved"


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """The queue would not have it: it is placed again."""

    at: float
    node: str
    reason: ReasonGiven
    waited_s: float
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True)
class Granted:
    """It is its turn."""

    at: float
    node: str
    waited_s: float
    kind: Literal["granted"] = "granted"


@dataclass(frozen=True, slots=True)
class AttemptOpened:
    """It is sent to a node."""

    at: float
    node: str
    attempt: int
    edits: tuple[EditEntry, ...] = ()
    kind: Literal["opened"] = "opened"


@dataclass(frozen=True, slots=True)
class FirstByte:
    """The answer begins to go to the client; one that is not streamed is whole by then."""

    at: float
    status: int
    kind: Literal["first-byte"] = "first-byte"


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A node failed before a byte of its answer had gone to the client."""

    at: float
    node: str
    attempt: int
    reason: ReasonGiven
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True, slots=True)
class Served:
    """The answer is whole. Zero is what the model server does not say."""

    at: float
    node: str
    prompt: int  # tokens
    completion: int
    load_s: float
    prefill_s: float
    decode_s: float
    complete: bool
    failed: bool = False  # the answer itself says that it broke
    kind: Literal["served"] = "served"


@dataclass(frozen=True, slots=True)
class Ended:
    """The request is over."""

    at: float
    outcome: str
    status: int | None = None
    text: str = ""  # what the client was told, if not an answer
    kind: Literal["ended"] = "ended"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """So many events are left out of the story here."""

    at: float
    events: int
    kind: Literal["left-out"] = "left-out"


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event of a router that knows more than this program."""

    at: float
    kind: str


Event = (
    Placed | Held | Woken | Queued | MovedOn | TurnedAway | Granted | AttemptOpened | FirstByte | AttemptFailed | Served
    | Ended | LeftOut | Unknown
)  # fmt: skip

_KINDS: dict[str, type] = {
    get_args(get_type_hints(event)["kind"])[0]: event for event in get_args(Event) if event is not Unknown
}


@dataclass(frozen=True, slots=True)
class StoryDocument:
    """One request and its events, in order."""

    request: RequestEntry
    events: tuple[Event, ...]


# --- the router's side ------------------------------------------------------------------------------------------------


def limit_of(query: str) -> int:
    """How many requests are asked for. Raises RequestError (400)."""
    text = dict(parse_qsl(query, keep_blank_values=True)).get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(KEPT)) and 1 <= int(text) <= KEPT):
        shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
        raise RequestError(f"limit must be a whole number from 1 to {KEPT}, not {shown!r}")
    return int(text)


def encode_events(events: Iterable[Event]) -> bytes:
    """Events as a JSON list: a tenth of what they take as values, and nothing for a garbage collector to look at."""
    return orjson.dumps(tuple(events))


def encode_story(request: RequestEntry, events: bytes) -> bytes:
    """`GET /herd/v1/requests/ID`, from what `encode_events` made."""
    fields = {name: getattr(request, name) for name in RequestEntry.__slots__}
    return orjson.dumps(fields | {"events": orjson.Fragment(events)})


def encode_requests(requests: Iterable[RequestEntry]) -> bytes:
    """`GET /herd/v1/requests`."""
    return orjson.dumps({"requests": tuple(requests)})


# --- the side of whoever asks -----------------------------------------------------------------------------------------


def read_requests(document: Any) -> tuple[RequestEntry, ...]:
    """The list of a router. Raises ProtocolError when it is none."""
    listed = document.get("requests") if isinstance(document, dict) else None
    return _converted(listed, tuple[RequestEntry, ...])


def read_story(document: Any) -> StoryDocument:
    """The story of a router. Raises ProtocolError when it is none."""
    request = _converted(document, RequestEntry)
    events = document.get("events")
    if not isinstance(events, list):
        raise ProtocolError("this is no story of a request: it has no events")
    return StoryDocument(request, tuple(_event(event) for event in events))


def _event(event: Any) -> Event:
    kind = event.get("kind") if isinstance(event, dict) else None
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    found: Event = _converted(event, known or Unknown)
    return found


def _converted(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"this is no story of a request: {error}") from error
