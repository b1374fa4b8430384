"""The story of a request, as JSON: `GET /herd/v1/requests` and `/herd/v1/requests/ID`. A contract: docs/contracts.md.

No text of a prompt or an answer and no value of a header is in it, but for the name of the client. All `at` and `..._s`
are seconds; `at` counts from the arrival of the request.

All of it is typed dictionaries, not dataclasses: each request makes some twenty, in a quarter of the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, TypeVar, get_args, get_type_hints
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


class WorkEntry(TypedDict):
    """Work that is not counted in tokens."""

    unit: str  # kilopixel-step, or audio-frame (10 ms)
    amount: int  # of these; 0: nobody says


class RequestEntry(TypedDict):
    """A request in a line."""

    id: str
    model: str  # as the client named it
    client: str
    arrived: float  # seconds since the Unix epoch
    node: str | None  # where it was placed last: if it was served, by this one
    outcome: str | None  # served, failed, cancelled, expired or rejected; null while it is under way
    status: int | None  # of the answer, once there is one
    waited_s: float  # held, and in queues
    first_token_s: float | None  # until the first byte of an answer that is no error went to the client
    total_s: float  # so far, while it is under way
    attempts: int
    score: float | None  # of `node`, when it was placed there
    prompt: int | None  # tokens, once it is served; null for work that is counted in something else
    completion: int | None
    edited: tuple[str, ...]  # fields of the request that are changed on the way to `node`
    predicted_s: float | None  # from when it was placed at `node`, or moved there, until the whole answer; as told then
    took_s: float | None  # from then on, instead; null unless it was predicted and is served whole
    served_model: str | None  # that it was placed for last, as `node` lists it; null where that is the one asked for
    work: NotRequired[WorkEntry]  # of pictures and speech, once it is served; not of what is known by its row alone


class ReasonGiven(TypedDict):
    """Why not. `text` completes the sentence "<node> ..."."""

    kind: str
    text: str


class CandidateEntry(TypedDict):
    """A node that could serve the request: its score is the sum of its signals, or minus that of its `seconds`."""

    node: str
    score: float
    signals: dict[str, float]
    predicted_s: float | None  # until the whole answer, from now on; null where nothing was predicted
    seconds: NotRequired[dict[str, float]]  # by which it was ranked, part by part


class EliminatedEntry(TypedDict):
    """A node that could not."""

    node: str
    reason: ReasonGiven


class EditEntry(TypedDict):
    """A field of the request that was changed on the way, and to what."""

    field: str
    value: str | int


# --- what happens to a request ----------------------------------------------------------------------------------------


class Placed(TypedDict):
    """The nodes were ranked; `node` won. Null: none could serve it."""

    kind: Literal["placed"]
    at: float
    node: str | None
    candidates: list[CandidateEntry]  # best first
    eliminated: list[EliminatedEntry]
    candidates_left_out: int  # of the story, for there were too many
    eliminated_left_out: int
    model: NotRequired[str]  # canonical name, where several models may serve the request: they are tried in turn


class Held(TypedDict):
    """No node can serve it now: it waits for a change of the fleet."""

    kind: Literal["held"]
    at: float
    wait_s: float  # at most


class Woken(TypedDict):
    """The wait is over."""

    kind: Literal["woken"]
    at: float
    by: str  # unlocked: the fleet changed; expired: the time was over; full, closed: the router would not hold it
    waited_s: float


class Queued(TypedDict):
    """It asks for its turn at a node."""

    kind: Literal["queued"]
    at: float
    node: str


class MovedOn(TypedDict):
    """It waits in another queue from now on, whose name is `node id/model`: the candidate's, with its score there."""

    kind: Literal["moved"]
    at: float
    queue: str
    candidate: CandidateEntry
    waited_s: float


class TurnedAway(TypedDict):
    """The queue would not have it: it is placed again."""

    kind: Literal["refused"]
    at: float
    node: str
    reason: ReasonGiven
    waited_s: float


class Granted(TypedDict):
    """It is its turn."""

    kind: Literal["granted"]
    at: float
    node: str
    waited_s: float


class AttemptOpened(TypedDict):
    """It is sent to a node."""

    kind: Literal["opened"]
    at: float
    node: str
    attempt: int
    edits: list[EditEntry]


class FirstByte(TypedDict):
    """The answer begins to go to the client; one that is not streamed is whole by then."""

    kind: Literal["first-byte"]
    at: float
    status: int


class AttemptFailed(TypedDict):
    """A node failed before a byte of its answer had gone to the client. Attempt 0: it could not even be sent there."""

    kind: Literal["failed"]
    at: float
    node: str
    attempt: int
    reason: ReasonGiven


class Served(TypedDict):
    """The answer is whole. Zero is what the model server does not say."""

    kind: Literal["served"]
    at: float
    node: str
    prompt: int  # tokens
    completion: int
    work: NotRequired[WorkEntry]  # instead of these
    load_s: float
    prefill_s: float
    decode_s: float
    complete: bool  # with the end that its format asks for
    failed: bool  # the answer itself says that it broke
    predicted_s: float | None  # both as in the line of the request
    took_s: float | None


class PlannedPart(TypedDict):
    """A part of a batch, as it was planned."""

    id: str  # of its own story
    node: str
    inputs: int


class SplitUp(TypedDict):
    """The request is served in parts, at once: in the order of its inputs."""

    kind: Literal["split"]
    at: float
    parts: list[PlannedPart]
    predicted_s: float  # until all of them are there
    alone_s: float  # what one node would have taken


class PartServed(TypedDict):
    """A part has its answer."""

    kind: Literal["part"]
    at: float
    id: str
    part: int  # counted from 1
    node: str  # that served it
    status: int
    attempts: int


class Unsplit(TypedDict):
    """The parts do not make one answer: the request is served in one piece, from the beginning."""

    kind: Literal["unsplit"]
    at: float
    text: str  # why


class Ended(TypedDict):
    """The request is over."""

    kind: Literal["ended"]
    at: float
    outcome: str
    status: int | None
    text: str  # what the client was told, if not an answer


class LeftOut(TypedDict):
    """So many events are left out of the story here."""

    kind: Literal["left-out"]
    at: float
    events: int


Event = (
    Placed | Held | Woken | Queued | MovedOn | TurnedAway | Granted | AttemptOpened | FirstByte | AttemptFailed | Served
    | SplitUp | PartServed | Unsplit | Ended | LeftOut
)  # fmt: skip

_KINDS: dict[str, type] = {get_args(get_type_hints(event)["kind"])[0]: event for event in get_args(Event)}


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


def encode_events(events: tuple[Event, ...]) -> bytes:
    """Events as a JSON list: half of what they take as values, and nothing for a garbage collector to look at.

    It is kept, and bytes of orjson's own would keep all of the buffer that they were written into.
    """
    return bytes(memoryview(orjson.dumps(events)))


# A node, its score, and its signals in their order, all in hundredths of a point; zeros at the end are left out.
ScoreRow = tuple[str, int, list[int]]


class Scores(msgspec.Struct, array_like=True):
    """The scores of one placement, for a store."""

    rows: list[ScoreRow] = []  # the best first
    left_out: int = 0  # candidates
    eliminated: int = 0  # nodes that were out
    seconds: list[int] = []  # of the best one, in hundredths and in their order, where it was ranked by them


def encode_scores(scores: Scores) -> str:
    """As a JSON list, which is as short as it may be."""
    seconds = [scores.seconds] if scores.seconds else []
    return orjson.dumps([scores.rows, scores.left_out, scores.eliminated, *seconds]).decode()


def decode_scores(text: str) -> Scores:
    """What `encode_scores` was given; nothing where the text is not its own."""
    try:
        scores = msgspec.json.decode(text, type=Scores)
    except msgspec.MsgspecError:
        return Scores()
    return scores


def encode_story(request: RequestEntry, events: bytes) -> bytes:
    """`GET /herd/v1/requests/ID`, from what `encode_events` made."""
    return orjson.dumps({**request, "events": orjson.Fragment(events)})


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
    known = [(event, _KINDS[event["kind"]]) for event in events if _known(event)]
    return StoryDocument(request, tuple(_converted(event, kind) for event, kind in known))


def _known(event: Any) -> bool:
    """A newer router may know of events that this program does not."""
    return isinstance(event, dict) and isinstance(event.get("kind"), str) and event["kind"] in _KINDS


def _converted(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"this is no story of a request: {error}") from error
