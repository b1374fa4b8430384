"""What a router has told a dashboard, topic by topic: a tolerant reader of its documents.

The router may be of another version. What it does not say is unknown here and what it says besides is passed over; only
a field of another type than its contract (docs/contracts.md) is an error, for nobody knows what it means then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from herd.cli.process import printable
from herd.errors import HerdError

# Lines that the tallest terminal shows of them, and as many again: a dashboard scrolls back no further.
KEPT_HAPPENINGS = 200

# With more nodes than this, drawing is worth a look at the clock: the router then tells of a change once a second.
CROWD = 20

# As JSON's readers have it, and nothing is computed with more.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Reason(msgspec.Struct, frozen=True):
    """Why a node is as it is: `text` completes the sentence "<node> ..."."""

    text: str = ""
    since: float | None = None
    until: float | None = None


class Breaker(msgspec.Struct, frozen=True):
    """Of a node's link, or of a model on it."""

    state: str = ""
    until: float | None = None

    @property
    def open(self) -> bool:
        """What it is of has failed, and is left alone for a while."""
        return self.state not in {"", "closed"}


class Model(msgspec.Struct, frozen=True):
    """A model on a node."""

    name: str = ""
    resident: bool = False
    pinned: bool = False
    breaker: Breaker | None = None


class Gpu(msgspec.Struct, frozen=True):
    """Memory in bytes."""

    name: str = ""
    memory_total: Count = 0
    memory_free: Count = 0
    unified: bool = False


class Machine(msgspec.Struct, frozen=True):
    """What does not change of a node."""

    arch: str = ""
    cpu: str = ""
    cores: Count = 0
    memory_total: Count = 0


class Node(msgspec.Struct, frozen=True):
    """A node, as far as a line of it goes. None: the router does not say."""

    name: str = ""
    state: str = ""
    reasons: tuple[Reason, ...] = ()
    breaker: Breaker | None = None
    models: tuple[Model, ...] = ()
    running: Count | None = None
    waiting: Count | None = None
    cpu: float | None = None
    memory_total: Count = 0
    memory_free: Count = 0
    machine: Machine = Machine()
    gpus: tuple[Gpu, ...] = ()
    availability: float | None = None  # share of the machine
    trend: float | None = None  # points, 0 to 10
    tokens_per_s: float | None = None


class Queue(msgspec.Struct, frozen=True):
    """Of a model on a node."""

    node: str = ""
    model: str = ""
    running: Count = 0
    waiting: Count = 0
    limit: Count | None = None


class Router(msgspec.Struct, frozen=True):
    """The router itself."""

    version: str = ""


class Totals(msgspec.Struct, frozen=True):
    """The fleet in numbers. None: the router does not say."""

    nodes: Count | None = None
    serving: Count | None = None
    models: Count | None = None
    running: Count | None = None
    waiting: Count | None = None
    held: Count | None = None


class Status(msgspec.Struct, frozen=True):
    """The fleet."""

    router: Router = Router()
    nodes: tuple[Node, ...] = ()
    queues: tuple[Queue, ...] = ()
    totals: Totals = Totals()


class Request(msgspec.Struct, frozen=True):
    """A request in a line; see `protocols.stories.RequestEntry`."""

    id: str = ""
    model: str = ""
    client: str = ""
    arrived: float | None = None
    node: str | None = None
    outcome: str | None = None
    waited_s: float | None = None
    first_token_s: float | None = None
    total_s: float | None = None
    score: float | None = None
    completion: Count | None = None
    served_model: str | None = None


class Happening(msgspec.Struct, frozen=True):
    """Something that happened to the fleet; `text` is a sentence part."""

    number: Count = 0
    at: float | None = None
    kind: str = ""
    node: str = ""
    text: str = ""


class _Requests(msgspec.Struct, frozen=True):
    requests: tuple[Request, ...] = ()


class _Happenings(msgspec.Struct, frozen=True):
    happenings: tuple[Happening, ...] = ()


class Connection(StrEnum):
    """How a dashboard stands with its router."""

    OPENING = "connecting"
    LIVE = "live"
    LOST = "lost"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a dashboard knows. Times are seconds since the Unix epoch."""

    url: str = ""
    connection: Connection = Connection.OPENING
    since: float | None = None  # it stands so
    why: str = ""  # the connection is lost: a sentence
    status: Status | None = None
    entries: Mapping[str, Any] = field(default_factory=dict)  # the nodes of the status as they came, by name
    requests: tuple[Request, ...] = ()  # those under way first
    happenings: tuple[Happening, ...] = ()  # the latest last
    detail: Mapping[str, Any] = field(default_factory=dict)  # `GET /herd/v1/nodes/NAME`, of the node asked for last
    anew: bool = True  # what the stream says next of happenings is all that the router keeps

    @property
    def nodes(self) -> tuple[Node, ...]:
        """None as long as the router has told nothing."""
        return self.status.nodes if self.status is not None else ()

    @property
    def crowded(self) -> bool:
        """There are so many nodes that a frame a second has to do."""
        return len(self.nodes) > CROWD


def heard(seen: Seen, topic: str, document: Any) -> Seen:
    """What is known after a document of a topic: those of `/herd/v1/events`, or `node` for that of one node.

    Raises:
        HerdError: it does not mean what this program knows by it; what was seen before still stands.
    """
    match topic:
        case "status":
            status = _read(document, Status, topic)
            entries = {node.name: entry for node, entry in zip(status.nodes, document.get("nodes") or (), strict=True)}
            return replace(seen, status=status, entries=entries)
        case "requests":
            return replace(seen, requests=_read(document, _Requests, topic).requests)
        case "happenings":
            told = _read(document, _Happenings, topic).happenings
            # The router starts to count anew with its own start, so after a break all of what it keeps is taken.
            before = () if seen.anew else seen.happenings
            return replace(seen, happenings=(*before, *told)[-KEPT_HAPPENINGS:], anew=False)
        case "node":
            _read(document, Node, topic)
            return replace(seen, detail=document)
        case _:
            return seen


def connected(seen: Seen, now: float) -> Seen:
    """The stream is open. `now`: wall clock."""
    return replace(seen, connection=Connection.LIVE, since=now, why="", anew=True)


def lost(seen: Seen, why: str, now: float) -> Seen:
    """There is no stream, and `why` is a sentence; since when, is kept over further attempts. `now`: wall clock."""
    since = seen.since if seen.connection is Connection.LOST else now
    return replace(seen, connection=Connection.LOST, since=since, why=why)


def _read(document: Any, kind: type[T], topic: str) -> T:
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        why = printable(str(error))
        raise HerdError(f"what the router says of {topic} cannot be read ({why}): is it of another version?") from error
