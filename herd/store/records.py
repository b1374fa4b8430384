"""What the router remembers, as values. Every time is wall clock: seconds since the Unix epoch."""

from dataclasses import dataclass

from herd.types import Bytes, NodeId, NodeName, Seconds, Tokens


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node that the router has met, and what it had."""

    id: NodeId
    name: NodeName
    models: tuple[str, ...]  # canonical names
    seen: Seconds


@dataclass(frozen=True, slots=True)
class KnownOrders:
    """What a node was told by hand, and is in force. None: it was not, or there is no end."""

    node: NodeId
    given: Seconds  # the latest of it
    drained: Seconds | None
    paused: Seconds | None
    until: Seconds | None


@dataclass(frozen=True, slots=True)
class Pin:
    """A model that shall stay loaded."""

    model: str  # canonical name
    node: NodeId  # its home; empty while it has none


@dataclass(frozen=True, slots=True)
class KnownEstimate:
    """One quantity that was seen several times, as `herd.policy.pace.Estimate` keeps it."""

    node: NodeId  # empty for what is true of a model on any node
    model: str
    what: str  # which quantity
    streams: int  # that ran at once, for a quantity that depends on it; else 0
    log: float
    weight: float
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownCalibration:
    """How predictions for a model on a node came true, as `herd.policy.calibration.Calibration` keeps it."""

    node: NodeId
    model: str
    log: float
    variance: float
    weight: float
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownResidency:
    """What a model was seen to take in memory."""

    model: str
    size: Bytes
    context: Tokens
    slots: int
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownUnload:
    """When a model last left a node's memory: its file may still be in the page cache."""

    node: NodeId
    model: str
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownLimit:
    """How many requests of a model a node was found to run at once."""

    node: NodeId
    model: str
    limit: int
    at: Seconds


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """What a node begins with."""

    orders: KnownOrders | None = None
    limits: tuple[KnownLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownService:
    """How often a node has served a model, decayed by age."""

    node: NodeId
    model: str
    weight: float
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownKeep:
    """Whether a node's server was told to keep a model loaded, and has it still."""

    node: NodeId
    model: str
    kept: bool
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownSlot:
    """What a node's owner does with it at one hour of the week."""

    node: NodeId
    slot: int  # 0 to 167
    mean: float
    spread: float
    weight: float
    at: Seconds


@dataclass(frozen=True, slots=True)
class KnownTrace:
    """What became of a request: `herd.protocols.stories.RequestEntry` in columns. No text of it, nor of its answer."""

    id: str
    arrived: Seconds
    model: str
    client: str
    node: str | None
    outcome: str
    status: int | None
    waited: float
    first_token: float | None
    total: float
    attempts: int
    score: float | None
    prompt: int | None
    completion: int | None
    edited: str  # names of fields, with commas between them
    scores: str  # of the nodes that could have served it, as JSON
    predicted: float | None = None
    took: float | None = None
    served_model: str | None = None


Record = (
    KnownNode | KnownEstimate | KnownCalibration | KnownResidency | KnownUnload | KnownLimit | KnownService | KnownKeep
    | KnownSlot | KnownTrace
)  # fmt: skip
