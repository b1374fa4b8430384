"""What happens to a fleet, as people are told of it. A contract: docs/contracts.md."""

from dataclasses import dataclass
from enum import StrEnum


class HappeningKind(StrEnum):
    """What it is. Others may be added."""

    JOINED = "joined"
    LEFT = "left"
    PAUSED = "paused"
    RESUMED = "resumed"  # it takes requests again
    DRAINED = "drained"
    BREAKER_OPENED = "breaker-opened"
    BREAKER_CLOSED = "breaker-closed"
    PRE_WARMED = "pre-warmed"  # loaded before anybody had to wait for it
    LOADED = "loaded"  # has come into memory
    LOAD_FAILED = "load-failed"
    EVICTED = "evicted"  # has left memory
    MOVED = "moved"  # a request that waited goes on waiting elsewhere


class LoadCause(StrEnum):
    """Why a model was loaded."""

    REQUEST = "request"  # somebody wanted it, here or past the router
    QUEUE = "queue"  # the router, for its queue elsewhere is deep
    HOME = "home"  # the router, for it lives there


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that has happened."""

    kind: HappeningKind
    at: float  # seconds since the Unix epoch
    node: str  # name; empty: it concerns none
    model: str  # canonical name; empty: it concerns none
    text: str  # a sentence without its full stop: `studio has joined`
    cause: str = ""  # of a pause the kind of its reason, of a load a `LoadCause`; empty: there is nothing to say
