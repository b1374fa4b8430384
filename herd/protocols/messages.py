"""The messages of the link between an agent and the router: frozen values, one meaning each.

On the wire each is a frame `[type, stream, ...]` (see `framing`); `stream` is 0 for what concerns the whole link.
Values with named fields travel as maps; a field that the receiver does not know is ignored and a missing one takes
its default, so that agents and routers of neighbouring versions understand each other.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from herd.types import (
    BackendId,
    Bytes,
    Dialect,
    ModelName,
    NodeId,
    NodeName,
    RequestId,
    RouterId,
    Seconds,
    Tokens,
)

PROTOCOL_VERSIONS = (1,)

Headers = tuple[tuple[str, str], ...]


class FrameType(IntEnum):
    """First element of a frame. Numbers are never reused."""

    HELLO = 1  # agent: who I am                                   [1, 0, Hello]
    CHALLENGE = 2  # router: prove that you hold the join token    [2, 0, nonce, proof]
    PROOF = 3  # agent: here                                       [3, 0, proof]
    WELCOME = 4  # router: you are in                              [4, 0, Welcome]
    HEARTBEAT = 5  # agent: how I am                               [5, 0, Report]
    OPEN = 6  # router: a request begins                           [6, stream, RequestHead]
    BODY = 7  # router: request bytes                              [7, stream, bytes, last]
    HEAD = 8  # agent: the answer begins                           [8, stream, Head]
    DATA = 9  # agent: answer bytes                                [9, stream, bytes]
    END = 10  # agent: the answer is whole                         [10, stream, Usage]
    RESET = 11  # agent: the answer broke                          [11, stream, Failure]
    CANCEL = 12  # router: nobody waits for it any more            [12, stream]
    WINDOW = 13  # both: so many more bytes may come               [13, stream or 0, bytes]
    COMMAND = 14  # router: do this                                [14, 0, Command]
    RESULT = 15  # agent: done, or why not                         [15, 0, Result]
    PING = 16  # both: are you there?                              [16, 0, number]
    PONG = 17  # both: yes                                         [17, 0, number]
    DRAIN = 18  # agent: send me nothing new, I am about to leave  [18, 0]
    GOODBYE = 19  # both: I close this link                        [19, 0, Goodbye]


# --- Joining ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while an agent runs."""

    os: str = ""  # linux, darwin, windows
    arch: str = ""
    cpu: str = ""
    cores: int = 0
    memory_total: Bytes = Bytes(0)


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of an agent."""

    versions: tuple[int, ...]  # protocol versions it speaks
    node_id: NodeId
    name: NodeName  # the name it would like
    agent_version: str = ""
    capabilities: tuple[str, ...] = ()  # of the agent itself: optional parts of the protocol it understands
    machine: Machine = field(default_factory=Machine)
    nonce: bytes = b""  # for the proof of the join token; 16 random bytes
    router_id: RouterId = RouterId("")  # the router it belongs to; empty before it first joined one


@dataclass(frozen=True, slots=True)
class Welcome:
    """The router's answer to an agent that may join."""

    version: int  # the protocol version in force from here on
    router_id: RouterId
    name: NodeName  # the name the node got; "-2" is added when another node has it
    router_version: str = ""
    heartbeat_s: Seconds = Seconds(5.0)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Why the sender closes the link; `text` is a sentence for a person."""

    code: str  # version, token, replaced, protocol, wrong-router, shutdown
    text: str = ""


# --- How a node is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One model server beside the agent."""

    id: BackendId
    kind: str  # a BackendKind; a newer agent may know more of them
    version: str = ""
    dialects: tuple[str, ...] = ()  # what it speaks natively
    parallel: int = 0  # requests one model runs at once; 0: not declared
    context_length: Tokens = Tokens(0)  # of a load whose request names none; 0: not declared
    slots: int = 0  # requests it keeps memory for, by its own word; 0: not declared
    apis: tuple[str, ...] = ()  # what can be asked of it (`Api`, or newer ones), natively or by the agent's translation


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model on a backend's disk, and its residency. Empty strings and zeros mean "the backend does not say"."""

    name: ModelName
    backend: BackendId
    size: Bytes = Bytes(0)
    digest: str = ""
    modified_at: str = ""  # RFC 3339
    details: dict[str, Any] = field(default_factory=dict)  # as in Ollama's /api/tags
    capabilities: tuple[str, ...] = ()  # of `Capability`, or newer ones
    resident: bool = False
    size_resident: Bytes = Bytes(0)
    size_vram: Bytes = Bytes(0)
    context_length: Tokens = Tokens(0)  # the model is loaded with this context
    expires_at: str = ""  # RFC 3339; when an idle model is unloaded
    kv_per_token: Bytes = Bytes(0)  # keys and values of one token of context, at 2 bytes a number
    context_max: Tokens = Tokens(0)  # what it was trained for
    active_share: float = 1.0  # of its weights that one token reads; below 1 for a mixture of experts
    step: int = 0  # done of the images that it makes
    steps: int = 0  # of all these


@dataclass(frozen=True, slots=True)
class Gpu:
    """A memory that models run in, other than a machine's plain RAM."""

    id: str  # the same after a restart: the maker's UUID, or where it is plugged in
    name: str
    vendor: str  # nvidia, amd, intel, apple
    memory_total: Bytes  # what models could have of it if nothing else were there
    memory_free: Bytes  # what a new model could get now
    unified: bool = False  # it is part of the machine's own memory
    bandwidth: int = 0  # bytes/s; 0: unknown


@dataclass(frozen=True, slots=True)
class Pause:
    """A reason for which the node takes no new request."""

    kind: str
    text: str
    since: Seconds  # wall clock
    until: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A node's state, whole: each heartbeat replaces the one before."""

    backends: tuple[BackendInfo, ...] = ()
    models: tuple[ModelInfo, ...] = ()
    pauses: tuple[Pause, ...] = ()
    cpu: float = 0.0  # share of all cores in use, 0 to 1
    memory_total: Bytes = Bytes(0)
    memory_free: Bytes = Bytes(0)  # what a new process could get
    week_slot: int = 0  # 0 to 167: hours since Monday 00:00 in the node's own time zone
    gpus: tuple[Gpu, ...] = ()  # where there are any, models run in their memory
    workload: str = ""  # of the owner: a `Workload`; empty: unknown
    owner_load: float | None = None  # share of the machine that the owner takes, 0 to 1; None: unknown
    thermal: str = ""  # a `Thermal`; empty: unknown
    dedicated: bool = False  # it has no owner


# --- One request ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request for a backend. `path` carries the query. Hop-by-hop headers are already gone."""

    request_id: RequestId
    backend: BackendId
    method: str
    path: str
    headers: Headers = ()
    dialect: Dialect = Dialect.OLLAMA
    streamed: bool = False  # the client asked for a stream
    size: int = 0  # bytes of the body that follows; -1: not known beforehand
    model: str = ""  # whom it is for, by the backend's name for it: for people, since the body says it to the backend


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a backend's answer."""

    status: int
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took, read by the agent from the answer's tail. Zero where the backend does not say."""

    prompt: Tokens = Tokens(0)
    completion: Tokens = Tokens(0)
    load_s: Seconds = Seconds(0.0)
    prefill_s: Seconds = Seconds(0.0)
    decode_s: Seconds = Seconds(0.0)
    complete: bool = False  # the dialect's own terminator was seen
    failed: bool = False  # the answer itself says, in its own form, that it broke
    cached: Tokens = Tokens(0)  # of the prompt: these did not have to be read again


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an answer broke; `text` is a sentence for a person and holds nothing of the request."""

    kind: str  # connect, reset, timeout, no-backend, link, internal
    text: str = ""


# --- Commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """Something the router wants the agent to do; answered by one Result with the same id."""

    id: int
    name: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a Command."""

    id: int
    ok: bool
    value: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # when not ok: why, for a person
