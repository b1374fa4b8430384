"""What decisions are made from, and what they are: frozen values, without a clock or a source behind them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from herd.types import (
    Api,
    BackendId,
    BackendKind,
    Bytes,
    Capability,
    Dialect,
    ModelName,
    NodeId,
    NodeName,
    NodeState,
    Priority,
    RequestId,
    Seconds,
    TicketId,
    Tokens,
    Unit,
    Workload,
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node takes no request, or not this one. `text` completes the sentence "<node> ..."."""

    kind: str
    text: str
    since: Seconds | None = None  # wall clock
    until: Seconds | None = None


# What the habits of a machine's owner are worth to routing, in points: at most, and where they are not known.
TREND_MAX, TREND_UNKNOWN = 10.0, 5.0


class Circuit(StrEnum):
    """Whether a breaker lets requests pass."""

    CLOSED = "closed"  # all of them
    OPEN = "open"  # none
    HALF_OPEN = "half-open"  # one, as a trial


@dataclass(frozen=True, slots=True)
class BreakerState:
    """How a breaker stands, as far as routing cares. Of a closed one there is nothing to say."""

    circuit: Circuit = Circuit.CLOSED
    failures: int = 0  # in a row
    since: Seconds | None = None  # wall clock; when it opened last
    until: Seconds | None = None  # when it half-opens, or did


CLOSED = BreakerState()


_STARTED_BY_AGENTS = (BackendKind.MFLUX, BackendKind.QWEN_ASR)


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model on one node, as far as routing cares."""

    name: ModelName  # as its backend lists it
    backend: BackendId
    dialects: tuple[str, ...] = ()  # what the backend speaks natively
    size: Bytes = Bytes(0)
    resident: bool = False
    context: Tokens = Tokens(0)  # loaded with; 0: unknown or not loaded
    capabilities: tuple[str, ...] = ()  # empty: the backend does not say
    limit: int = 1  # requests it runs at once
    slots: int = 1  # requests that the server keeps memory for, by its own word
    size_resident: Bytes = Bytes(0)  # what it takes now; 0: not loaded, or not said
    kv_per_token: Bytes = Bytes(0)  # keys and values of one token; 0: unknown
    context_max: Tokens = Tokens(0)  # what it was trained for; 0: unknown
    active_share: float = 1.0  # of its weights that one token reads
    digest: str = ""  # of the build; empty: the backend does not say
    breaker: BreakerState = CLOSED
    apis: tuple[str, ...] = ()  # what can be asked of it there, in whatever words the backend itself speaks
    kind: str = ""  # of its backend, a `BackendKind` or a newer one

    @property
    def keepable(self) -> bool:
        """It stays in memory for as long as its server is told: Ollama alone can be told."""
        return Dialect.OLLAMA in self.dialects

    @property
    def loadable(self) -> bool:
        """It can be loaded by command, without a request."""
        return self.keepable or self.kind == BackendKind.QWEN_ASR

    @property
    def loads_at_once(self) -> bool:
        """Its program begins to load at once, and waits for no other model to make room: Ollama does."""
        return self.kind in _STARTED_BY_AGENTS

    @property
    def loads_per_request(self) -> bool:
        """Each of its requests runs a program, which loads it and takes it along when it ends."""
        return self.kind == BackendKind.MFLUX


class MemoryKind(StrEnum):
    """What models run in on a node."""

    RAM = "ram"  # no GPU that counts
    UNIFIED = "unified"  # one memory for processor and GPU
    VIDEO = "video"  # of GPUs with a memory of their own


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that a node's models run in: all of it, and what a new model could get now. 0 in all: unknown."""

    total: Bytes = Bytes(0)
    free: Bytes = Bytes(0)
    machine: Bytes = Bytes(0)  # the machine's RAM: the owner's ceiling is a share of it where models live in it
    spill: Bytes = Bytes(0)  # RAM that what is too large for all GPUs together may take beside them


@dataclass(frozen=True, slots=True)
class Hardware:
    """What bounds a node's speed."""

    kind: MemoryKind = MemoryKind.RAM
    bandwidth: float = 0.0  # bytes/s of the memory that models run in; 0: unknown
    throttled: bool = False  # it runs slower than it could, for its heat


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, as far as routing cares. `models` is keyed by canonical name."""

    id: NodeId
    name: NodeName
    state: NodeState
    models: dict[str, ModelView] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    memory: Memory = field(default_factory=Memory)
    hardware: Hardware = field(default_factory=Hardware)
    context: Tokens = Tokens(0)  # of a load when the request names none, by its server's word; 0: not declared
    breaker: BreakerState = CLOSED  # of its link
    workload: Workload | None = Workload.IDLE  # of its owner, on which the ceiling depends; None: it has none
    availability: float = 1.0  # the share of the machine that its owner leaves, 0 to 1
    trend: float = TREND_UNKNOWN  # points for what the owner is expected to leave over the next hour
    media: tuple[str, ...] = ()  # endpoints for images and speech that it has anything for, whichever model


@dataclass(frozen=True, slots=True)
class PartOf:
    """What a part of a batch needs beside all else: one answer holds vectors of one build."""

    digest: str  # of the build that has to serve it
    node: NodeId  # that it is sized for, and goes to if it can


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request needs of a node."""

    model: str  # canonical name
    api: Api
    sent: str = ""  # the name in the client's spelling
    renamed: bool = False  # that is another model's, or nobody's: `model` is what it means, or stands in for it
    needs: tuple[Capability, ...] = ()
    replaceable: bool = False  # another model is asked for next, which may have what every build of this one lacks
    prompt_tokens: Tokens = Tokens(0)
    max_tokens: Tokens | None = None  # the client's own limit of the answer
    unit: Unit = Unit.TOKEN  # of its work: that of `api`, said here as well since every node is looked at by it
    amount: Tokens | None = None  # of that work in its unit, where the request says; None: what is usual
    num_ctx: Tokens | None = None
    odd_context: bool = False  # what stands there is no number of tokens: the model server shall see it
    part: PartOf | None = None  # it is a part of a batch
    keep_alive: bool = False  # the client says how long the model shall stay
    session: str = ""  # requests of one conversation have the same; empty: of none
    continues: bool = False  # it is not the first of its conversation
    excluded: tuple[NodeId, ...] = ()  # nodes that already failed this request
    retry: bool = False  # an attempt that may have cost a model server work has failed
    moves: int = 0  # from queue to queue so far


@dataclass(frozen=True, slots=True)
class Signal:
    """One named part of a score, in points."""

    name: str
    points: float


# The parts of a score, in the order in which they are shown: seven signals, and what else counts.
SIGNALS = (
    "thermal",
    "memory_fit",
    "queue_depth",
    "estimated_wait",
    "role_affinity",
    "availability_trend",
    "context_fit",
    "overflow",
    "affinity",
    "degraded",
)
ALWAYS_SHOWN = 8  # of these; the others where they count

# What the seconds are made of by which the second scorer ranks: those until the answer is there, what of them is in
# doubt (below 0), what others lose by it, what the owner is expected to take, and that the node may be gone. Like the
# signals they may grow at their end alone: what is stored of a placement is read by their order.
PARTS = ("wait", "load", "prefill", "decode", "doubt", "eviction", "owner", "degraded")
PARTS_SHOWN = 4  # of these; the others where they count


@dataclass(frozen=True, slots=True)
class Edit:
    """A new value for one field of a request body, shown in X-Herd-Edited under the field's name."""

    field: str  # model, options.num_ctx or keep_alive: there are no others
    value: str | int


# Makes a named tuple of all its fields: `made(Kind, (first, ...))`. The constructors of the classes take three times as
# long, and a placement makes four for every node.
made = tuple.__new__


class NeededLoad(NamedTuple):
    """A model that has to be loaded before a request can start."""

    context: Tokens  # that it will be loaded with; 0: unknown
    need: Bytes  # memory that it will take; 0: unknown
    takes: float  # seconds until it is there, everything before it included
    evicts_busy: bool = False  # models that are in use have to end first
    per_request: bool = False  # what is loaded is gone again with the request


class Candidate(NamedTuple):
    """A node that could serve the request, with every part of its score.

    Named tuples are made several times as fast as frozen dataclasses, and each placement makes one for every node.
    """

    node: NodeId
    name: NodeName
    model: ModelName
    backend: BackendId
    points: tuple[float, ...]  # in the order of `SIGNALS`
    score: float  # their sum
    edits: tuple[Edit, ...] = ()  # of the best one only, as is `trial`: nobody else's are made out
    outstanding: int = 0
    wait: float = 0.0  # seconds until the request would start
    work: float = 0.0  # seconds that it then takes
    load: NeededLoad | None = None
    trial: bool = False  # the node, or the model there, has failed again and again, and is tried with this request
    parts: tuple[float, ...] = ()  # seconds, in the order of `PARTS`, where these decide and not the points

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The parts of the score, by name."""
        named = zip(SIGNALS, self.points, strict=True)
        return tuple(
            Signal(name, points) for place, (name, points) in enumerate(named) if points or place < ALWAYS_SHOWN
        )

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds by which it was ranked, by name: those until the answer is there, and the others if any."""
        named = enumerate(zip(PARTS, self.parts, strict=bool(self.parts)))
        return {name: value for place, (name, value) in named if value or place < PARTS_SHOWN}

    @property
    def completion(self) -> Seconds:
        """Until the answer is there."""
        return Seconds(self.wait + self.work)


class Eliminated(NamedTuple):
    """A node that could not, and why. `model`: what it has of it, where nobody can have that from it now.

    `media`: as of its `NodeView`.
    """

    node: NodeId
    name: NodeName
    reason: Reason
    model: ModelView | None = None
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a request goes: the first candidate, or nowhere when there is none.

    `known` says whether any node has ever had the model; `complete` whether every node has reported that was known
    when the router started, or is joining; `version` counts the fleet's changes, so that whoever waits for the next one
    can tell whether it has already happened. `over_budget`: there is a node, but the fleet's retries are used up.
    `unequipped`: images or speech are asked for, and no node has anything that makes them, or hears.
    """

    candidates: tuple[Candidate, ...]  # best first
    eliminated: tuple[Eliminated, ...]
    known: bool = False
    complete: bool = True
    version: int = 0
    retry_in: Seconds | None = None  # with the patience of so long more, a node would be made to make room
    over_budget: bool = False
    unequipped: bool = False

    @property
    def chosen(self) -> Candidate | None:
        """The winner."""
        return self.candidates[0] if self.candidates else None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's place in a queue; kept over moves and retries."""

    id: TicketId
    client: str
    arrived: Seconds  # monotonic, at the router
    priority: Priority = Priority.INTERACTIVE
    request: RequestId = RequestId("")  # whose it is


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one request on a node's model, until the ticket is released."""

    ticket: TicketId
    waited: Seconds


@dataclass(frozen=True, slots=True)
class Moved:
    """The ticket would wait too long here: acquire at this queue instead, with the same ticket."""

    queue: str
    placed: Candidate  # from now on the request's: its node, its score, its edits


@dataclass(frozen=True, slots=True)
class Refused:
    """No lease to be had here: place the request again."""

    reason: Reason
