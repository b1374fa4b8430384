"""What decisions are made from, and what they are: frozen values, without a clock or a source behind them."""

from dataclasses import dataclass, field
from enum import StrEnum

from herd.types import (
    BackendId,
    Bytes,
    Capability,
    Dialect,
    ModelName,
    NodeId,
    NodeName,
    NodeState,
    Priority,
    Seconds,
    TicketId,
    Tokens,
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node takes no request, or not this one. `text` completes the sentence "<node> ..."."""

    kind: str
    text: str
    since: Seconds | None = None  # wall clock
    until: Seconds | None = None


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
    breaker: BreakerState = CLOSED


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, as far as routing cares. `models` is keyed by canonical name."""

    id: NodeId
    name: NodeName
    state: NodeState
    models: dict[str, ModelView] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    breaker: BreakerState = CLOSED  # of its link


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request needs of a node."""

    model: str  # canonical name
    dialect: Dialect
    sent: str = ""  # the name in the client's spelling
    needs: tuple[Capability, ...] = ()
    prompt_tokens: Tokens = Tokens(0)
    num_ctx: Tokens | None = None
    keep_alive: bool = False  # the client says how long the model shall stay
    excluded: tuple[NodeId, ...] = ()  # nodes that already failed this request
    retry: bool = False  # an attempt that may have cost a model server work has failed


@dataclass(frozen=True, slots=True)
class Load:
    """What the ledger holds against a node: requests placed there that have not ended."""

    node: int = 0
    model: int = 0  # of those, for the model asked for
    last_chosen: int = 0  # number of the node's latest placement; 0: never
    trials: int = 0  # requests that try a breaker of the node, or of the model asked for, which is half open


@dataclass(frozen=True, slots=True)
class Signal:
    """One named part of a score, in points."""

    name: str
    points: float


@dataclass(frozen=True, slots=True)
class Edit:
    """A new value for one field of a request body, shown in X-Herd-Edited under the field's name."""

    field: str  # model, options.num_ctx or keep_alive: there are no others
    value: str | int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that could serve the request, with every part of its score."""

    node: NodeId
    name: NodeName
    model: ModelName
    backend: BackendId
    signals: tuple[Signal, ...]
    edits: tuple[Edit, ...] = ()
    outstanding: int = 0
    trial: bool = False  # the node, or the model there, has failed again and again, and is tried with this request

    @property
    def score(self) -> float:
        """Points over all signals."""
        return sum([signal.points for signal in self.signals])


@dataclass(frozen=True, slots=True)
class Eliminated:
    """A node that could not, and why."""

    node: NodeId
    name: NodeName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a request goes: the first candidate, or nowhere when there is none.

    `known` says whether any node has ever had the model; `complete` whether every node has reported that was known
    when the router started, or is joining; `version` counts the fleet's changes, so that whoever waits for the next one
    can tell whether it has already happened. `over_budget`: there is a node, but the fleet's retries are used up.
    """

    candidates: tuple[Candidate, ...]  # best first
    eliminated: tuple[Eliminated, ...]
    known: bool = False
    complete: bool = True
    version: int = 0
    over_budget: bool = False

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


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one request on a node's model, until the ticket is released."""

    ticket: TicketId
    waited: Seconds


@dataclass(frozen=True, slots=True)
class Moved:
    """The ticket waits in vain here: acquire at this queue instead, with the same ticket."""

    queue: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No lease to be had here: place the request again."""

    reason: Reason
