"""How people at a node's own machine reach its agent, of which nothing listens on the network: what they ask for lies
where it looks, and what it has to say where they do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import msgspec

from herd.errors import ProtocolError
from herd.policy.values import Reason
from herd.protocols.herd_api import encode
from herd.types import BackendId, Bytes, ModelName, NodeName, RequestId, RouterId, Seconds, Tokens

MAX_MODELS = 128  # in a document for a view, those in memory first: no screen shows more


@dataclass(frozen=True, slots=True)
class HandPause:
    """A pause that was asked for on the machine itself. Times are wall clock."""

    since: Seconds
    until: Seconds | None = None  # None: until it is taken back


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A model beside the agent. Zeros and empty texts: its server does not say."""

    name: ModelName
    backend: BackendId
    resident: bool
    size: Bytes = Bytes(0)  # on the disk
    size_resident: Bytes = Bytes(0)  # in memory, that of GPUs included
    size_vram: Bytes = Bytes(0)
    context_length: Tokens = Tokens(0)
    expires_at: str = ""  # RFC 3339; when it is let go if nobody asks for it
    step: int = 0  # done of the images that it makes
    steps: int = 0  # of all these


@dataclass(frozen=True, slots=True)
class ShownServer:
    """A model server that the agent looks at."""

    id: BackendId
    url: str
    kind: str = ""  # a `BackendKind`; empty while it does not answer, as is the next
    version: str = ""
    trouble: str = ""  # why it does not answer; empty: it does


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """A request that a model server is answering now."""

    id: RequestId
    model: ModelName  # by the name that the server knows; empty: it is for none, or the router does not say
    backend: BackendId
    path: str  # what is asked for, such as /api/chat
    since: Seconds  # wall clock, as all times here


@dataclass(frozen=True, slots=True)
class ShownWork:
    """What the model servers do, and have done since the agent started."""

    running: tuple[ShownRequest, ...] = ()  # the oldest first, as many as fit a screen
    under_way: int = 0  # all of them
    served: int = 0
    failed: int = 0
    cancelled: int = 0  # nobody waited for the answer any more
    tokens_per_s: float = 0.0  # of the answers that ended in the last minute


@dataclass(frozen=True, slots=True)
class ShownGpu:
    """A memory that models run in, other than plain RAM."""

    name: str
    memory_total: Bytes
    memory_free: Bytes


@dataclass(frozen=True, slots=True)
class ShownMachine:
    """The machine as it was seen last."""

    cpu: float  # share of all cores in use, 0 to 1
    memory_total: Bytes
    memory_free: Bytes
    gpus: tuple[ShownGpu, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownWeek:
    """What the owner is expected to take, by the hour of the week in the machine's own time: 168 of each."""

    load: tuple[float | None, ...]  # share of the machine, 0 to 1; None: nothing is known
    confidence: tuple[float, ...]  # 0 to 1


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
    router_url: str = ""  # where people reach that router
    router_peer: str = ""  # the address that the link goes to
    router_version: str = ""
    link_since: Seconds | None = None  # since when it stands, or is away
    lost: str = ""  # why the last one ended; empty: none has since the agent started
    lost_at: Seconds | None = None
    servers: tuple[ShownServer, ...] = ()
    work: ShownWork = field(default_factory=ShownWork)
    machine: ShownMachine | None = None  # None: it was not looked at yet
    owner_load: float | None = None  # share of the machine that the owner takes, 0 to 1; None: unknown
    week_slot: int | None = None  # the hour of the week that it is now
    week: ShownWeek | None = None  # None: no router has told
    at: Seconds = Seconds(0.0)  # all this was so then


@dataclass(frozen=True, slots=True)
class AgentDocument(AgentStatus):
    """The same for a view, and what does not change."""

    id: str = ""  # of the node
    wanted_name: str = ""
    version: str = ""  # of the agent
    all_models: int = 0  # those in `models` are the ones that fit a screen


def document(status: AgentStatus, about: Mapping[str, str]) -> bytes:
    """A line of JSON for a view. `about`: the fields that `AgentDocument` has besides."""
    resident = [model for model in status.models if model.resident]
    others = [model for model in status.models if not model.resident]
    known: dict[str, Any] = {item.name: getattr(status, item.name) for item in fields(AgentStatus)}
    known |= {"models": tuple((resident + others)[:MAX_MODELS]), "all_models": len(status.models), **about}
    return encode(AgentDocument(**known)) + b"\n"


def read_document(line: bytes) -> AgentDocument:
    """What `document` made. Raises ProtocolError."""
    try:
        return msgspec.json.decode(line, type=AgentDocument)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"this is not what an agent tells its view: {error}") from error


class AgentDesk(Protocol):
    """Where an agent and the people at its machine leave word for each other."""

    async def pause(self) -> HandPause | None:
        """The pause that was asked for, though its time may be over; None: none. Soon, and raises nothing."""

    def show(self, status: AgentStatus) -> None:
        """Have people see this from now on. At once, and raises nothing."""
