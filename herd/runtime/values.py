"""What is said about actors: how one is to be started, who it is, how it is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict

# Ray's default for classes with an async method. Beyond it a handler that waits for something slow would pile up tasks
# of some 2 kB each instead of 200-byte messages.
MAX_CONCURRENCY = 1000

# Ten rounds of the default concurrency: a caller that waits behind more is better told so. About 10 MB of messages.
MAX_PENDING_CALLS = 10_000


class OptionNames(TypedDict, total=False):
    """The options by name, for `ActorClass.options`."""

    name: str | None
    namespace: str | None
    get_if_exists: bool
    max_restarts: int
    max_task_retries: int
    max_concurrency: int
    max_pending_calls: int


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """How to start an actor. See `ActorClass.options`."""

    name: str | None = None
    namespace: str | None = None
    get_if_exists: bool = False
    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int = MAX_CONCURRENCY
    max_pending_calls: int = MAX_PENDING_CALLS

    def __post_init__(self) -> None:
        if self.max_restarts < -1:
            raise ValueError(f"max_restarts must be at least 0, or -1 for no limit, not {self.max_restarts}")
        if self.max_task_retries < -1:
            raise ValueError(f"max_task_retries must be at least 0, or -1 for no limit, not {self.max_task_retries}")
        if self.max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {self.max_concurrency}")
        if self.max_pending_calls < -1 or self.max_pending_calls == 0:
            raise ValueError(f"max_pending_calls must be at least 1, or -1 for no limit, not {self.max_pending_calls}")
        for what, value in (("name", self.name), ("namespace", self.namespace)):
            if value == "":
                raise ValueError(f"a {what} must have at least one character")
        if self.get_if_exists and self.name is None:
            raise ValueError("get_if_exists needs a name")


class ActorStatus(StrEnum):
    """Where an actor is in its life: Ray's words, and STOPPING for an ordered stop under way."""

    PENDING_CREATION = "PENDING_CREATION"  # its first on_start has not ended
    ALIVE = "ALIVE"
    RESTARTING = "RESTARTING"  # it crashed; its messages wait for the next incarnation
    STOPPING = "STOPPING"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an actor is. `number` counts the actors of a loop, and stands where there is no name."""

    class_name: str
    name: str | None
    namespace: str
    number: int

    def __str__(self) -> str:
        return f'{self.class_name} "{self.name}"' if self.name is not None else f"{self.class_name} #{self.number}"


@dataclass(frozen=True, slots=True)
class MethodState:
    """What one method of an actor has done so far, over all incarnations."""

    name: str
    processed: int  # handlers that have ended, however
    failed: int  # of these, by an exception
    seconds: float  # for which its handlers held the loop
    longest: float  # of these, at a stretch


@dataclass(frozen=True, slots=True)
class ActorState:
    """One actor, as `list_actors` shows it. Times are in seconds."""

    identity: Identity
    status: ActorStatus
    queued: int  # messages in the mailbox, and async calls over max_concurrency
    in_flight: int  # async handlers that run
    pending: int  # calls that have no answer yet
    high_water: int = 0  # the longest that the mailbox has been
    oldest: float = 0.0  # age of the oldest message in the mailbox: exact where it was empty before, else at most this
    restarts: int = 0
    methods: tuple[MethodState, ...] = ()

    @property
    def processed(self) -> int:
        """Handlers that have ended."""
        return sum(method.processed for method in self.methods)

    @property
    def failed(self) -> int:
        """Handlers that have ended by an exception."""
        return sum(method.failed for method in self.methods)


@dataclass(frozen=True, slots=True)
class ClassState:
    """All actors of one class together, as `class_states` shows them. Those that are dead count in what only grows."""

    class_name: str
    living: int = 0
    queued: int = 0  # messages in mailboxes, and async calls over max_concurrency
    in_flight: int = 0  # async handlers that run
    oldest: float = 0.0  # age of the oldest message that waits, in seconds
    processed: int = 0  # handlers that have ended, however
    failed: int = 0  # of these, by an exception
    seconds: float = 0.0  # for which handlers held the loop
    longest: float = 0.0  # of these, at a stretch
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Terminated:
    """What `watch` tells: an actor is dead. It will not be restarted."""

    handle: Any  # its ActorHandle
    reason: str  # for a person
    crashed: bool  # by an error; False: it was stopped, killed, or left by `exit_actor`
