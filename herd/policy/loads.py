"""What the ledger holds against a node: the tickets that were placed there, and the loads under way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from herd.types import Bytes, Seconds, Tokens

# A load that shows in no heartbeat after so long has failed in silence: Ollama itself gives up after as long.
RESERVED_S = Seconds(300.0)
# Nobody waits for a load any more: the next heartbeats show whether it came about all the same.
ABANDONED_S = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Memory for a load that was asked for; shared by all who wait for it. Times are monotonic."""

    size: Bytes
    context: Tokens  # 0: unknown
    done: Seconds  # when the model is expected to be there
    expires: Seconds
    evicts_busy: bool = False
    commanded: bool = False  # the router has asked for it by itself: it goes on whoever waits
    expected: bool = False  # nobody asked for this context: it is what the server is expected to take by itself
    per_request: bool = False  # what is loaded is gone again with the request that it is loaded for


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """The tickets of one model on one node."""

    outstanding: int = 0
    running: int = 0
    ends: float = 0.0  # sum of the times at which the running ones are expected to end; monotonic
    waiting: Seconds = Seconds(0.0)  # sum of the work of those that have not begun

    def ahead(self, limit: int, now: Seconds) -> Seconds:
        """Seconds until a further ticket would begin, when so many run at once."""
        if self.outstanding < limit:
            return Seconds(0.0)
        return Seconds((max(0.0, self.ends - self.running * now) + self.waiting) / limit)


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """All of one node's. `models` holds those with tickets, `reservations` those that are being loaded."""

    outstanding: int = 0
    last_chosen: int = 0  # number of the node's latest placement; 0: never
    models: Mapping[str, ModelLoad] = field(default_factory=dict)
    reservations: Mapping[str, Reservation] = field(default_factory=dict)
    reserved: int = 0  # bytes of them together
    leaving: bool = False  # what is in the node's memory has been asked to make room


NO_TICKETS = ModelLoad()
NO_LOAD = NodeLoad()
