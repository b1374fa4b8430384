"""How people at a node's own machine reach its agent, of which nothing listens on the network: what they ask for lies
where it looks, and what it has to say where they do.
"""

from dataclasses import dataclass
from typing import Protocol

from herd.policy.values import Reason
from herd.types import BackendId, ModelName, NodeName, RouterId, Seconds


@dataclass(frozen=True, slots=True)
class HandPause:
    """A pause that was asked for on the machine itself. Times are wall clock."""

    since: Seconds
    until: Seconds | None = None  # None: until it is taken back


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A model beside the agent."""

    name: ModelName
    backend: BackendId
    resident: bool


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What an agent shows of itself."""

    linked: bool = False  # a router has let it in, and the link stands
    router_id: RouterId | None = None  # of the router that did so last; None: none has since the agent started
    name: NodeName | None = None  # that the router gave it
    backends: tuple[BackendId, ...] = ()  # model servers that answer
    models: tuple[ShownModel, ...] = ()
    pauses: tuple[Reason, ...] = ()
    workload: str = ""  # of the owner; empty: unknown, as is the next
    thermal: str = ""
    dedicated: bool = False
    trouble: str = ""  # with the router, when it was last tried; empty while linked


class AgentDesk(Protocol):
    """Where an agent and the people at its machine leave word for each other."""

    async def pause(self) -> HandPause | None:
        """The pause that was asked for, though its time may be over; None: none. Soon, and raises nothing."""

    def show(self, status: AgentStatus) -> None:
        """Have people see this from now on. At once, and raises nothing."""
