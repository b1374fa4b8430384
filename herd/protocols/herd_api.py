"""Herd's own JSON: what the router says of itself and of its fleet. The fields are a contract: docs/contracts.md."""

from dataclasses import dataclass
from typing import Any

import orjson

from herd.protocols.messages import BackendInfo, Machine
from herd.types import Unit


@dataclass(frozen=True, slots=True)
class InfoDocument:
    """`GET /herd/v1/info`."""

    router_id: str
    version: str
    link_port: int
    protocol_versions: tuple[int, ...]
    link_tls: bool = False  # agents have to speak TLS
    join_token: bool = False  # agents have to prove one


@dataclass(frozen=True, slots=True)
class ReasonEntry:
    """Why a node is not ready. Times are seconds since the Unix epoch."""

    kind: str
    text: str
    since: float | None
    until: float | None


@dataclass(frozen=True, slots=True)
class BreakerEntry:
    """A breaker that counts failures, or is open. Times are seconds since the Unix epoch."""

    state: str  # closed, open, half-open
    failures: int  # in a row
    since: float | None  # when it opened last; null while it is closed
    until: float | None  # when the next request may try, or could first


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model on a node. `breaker` is null while nothing has failed."""

    name: str
    resident: bool
    limit: int  # requests it runs at once
    backend: str
    size: int
    breaker: BreakerEntry | None = None
    pinned: bool = False  # kept loaded here
    capabilities: tuple[str, ...] = ()  # in Ollama's words; empty: its server does not say
    step: int = 0  # done of the images that it makes for a request
    steps: int = 0  # of all these; 0: it makes none, or its server does not say


@dataclass(frozen=True, slots=True)
class GpuEntry:
    """A GPU of a node. Memory in bytes."""

    id: str
    name: str
    vendor: str
    memory_total: int
    memory_free: int
    unified: bool


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node. `breaker` is that of its link, null while nothing has failed."""

    id: str
    name: str
    state: str
    reasons: tuple[ReasonEntry, ...]
    breaker: BreakerEntry | None
    models: tuple[ModelEntry, ...]
    running: int
    waiting: int
    cpu: float
    memory_total: int
    memory_free: int
    machine: Machine
    backends: tuple[BackendInfo, ...]
    agent_version: str
    gpus: tuple[GpuEntry, ...] = ()
    workload: str | None = None  # of its owner: idle, light, moderate, heavy; None: nobody can say
    owner_load: float | None = None  # share of the machine that the owner takes, 0 to 1
    thermal: str | None = None  # nominal, throttled, critical
    dedicated: bool = False  # it has no owner
    availability: float = 1.0  # share of the machine that is there for requests, 0 to 1
    trend: float = 5.0  # points that routing gives for the next hour, 0 to 10; 5: nothing is known
    tokens_per_s: float = 0.0  # of answers that have ended within the last minute, over that minute


@dataclass(frozen=True, slots=True)
class RateEntry:
    """Speeds that were seen of requests beside others; null: nothing yet."""

    at_once: int  # about so many requests ran on the model, this one included
    prefill: float | None  # tokens/s of each
    decode: float | None  # units/s of each
    unit: str = Unit.TOKEN.value  # token, kilopixel-step or audio-frame (10 ms)


@dataclass(frozen=True, slots=True)
class CalibrationEntry:
    """How long answers took over what was predicted of them."""

    ratio: float  # geometric mean; over 1: longer than predicted
    spread: float  # standard deviation of the ratio's natural logarithm
    weight: float  # answers that count, the older ones less


@dataclass(frozen=True, slots=True)
class WorkSpeedEntry:
    """What was learned of work that is not counted in tokens."""

    unit: str  # kilopixel-step, or audio-frame (10 ms)
    rate: float  # units/s of a request alone
    amount: float  # units that are expected of a request that does not say, on any node


@dataclass(frozen=True, slots=True)
class SpeedEntry:
    """What was learned of a model on a node; null: nothing yet."""

    model: str  # canonical name
    load_s: float | None
    first_token_s: float | None  # with the model in memory
    prefill: float | None  # tokens/s of a request alone
    decode: float | None  # tokens/s of a request alone
    answer: float  # tokens that are expected of an answer, on any node
    rates: tuple[RateEntry, ...]
    calibration: CalibrationEntry | None
    work: tuple[WorkSpeedEntry, ...] = ()  # of a model that draws or hears


@dataclass(frozen=True, slots=True)
class HourEntry:
    """An hour of a machine's week. Loads are the owner's, as shares of the machine."""

    load: float | None  # that is expected; null where nothing is known
    confidence: float  # 0 to 1: how far that is believed
    mean: float | None  # that was seen in this hour itself; null: it was not seen yet
    spread: float | None  # standard deviation of what was seen
    weight: float  # hours that were seen, the older ones counting less


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDocument(NodeEntry):
    """`GET /herd/v1/nodes/NAME`."""

    learned: tuple[SpeedEntry, ...]
    calibration: CalibrationEntry | None  # of all its models together; null: no prediction was checked yet
    week_slot: int  # the hour of the week that it is there: 0 is Monday 00:00
    week: tuple[HourEntry, ...]  # 168


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A queue that has something running or waiting, or has a model resident."""

    node: str
    model: str
    running: int
    waiting: int
    limit: int


@dataclass(frozen=True, slots=True)
class RouterEntry:
    """The router itself."""

    id: str
    version: str
    link_port: int
    protocol_versions: tuple[int, ...]
    pins: dict[str, str | None]  # by canonical name: the name of the node that keeps the model loaded; null: none can


@dataclass(frozen=True, slots=True)
class TotalsEntry:
    """The fleet in numbers."""

    nodes: int
    serving: int  # nodes that take requests and have a model
    models: int
    running: int
    waiting: int
    held: int  # requests that no node qualifies for


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """`GET /herd/v1/status`."""

    router: RouterEntry
    nodes: tuple[NodeEntry, ...]
    queues: tuple[QueueEntry, ...]
    totals: TotalsEntry


@dataclass(frozen=True, slots=True)
class PinDocument:
    """`POST` and `DELETE /herd/v1/pins/MODEL`."""

    model: str  # canonical name
    pinned: bool
    home: str | None  # name of the node that keeps it loaded; None: none can now, or it is not pinned


def encode(document: Any) -> bytes:
    """A document as JSON."""
    return orjson.dumps(document)
