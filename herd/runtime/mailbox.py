"""An actor's mailbox: what it takes and what it refuses.

A message is one wake-up of the loop away from its handler, and a burst of messages shares one wake-up; an idle actor
is an object and nothing else. Only `put` may be called from other threads than the loop's.
"""

import asyncio
import contextvars
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Protocol

from herd.runtime._pykka import ProxyCall
from herd.runtime.dead_letters import DeadLetterReason, DeadLetters
from herd.runtime.errors import ActorDiedError, GetTimeoutError, PendingCallsLimitExceeded
from herd.runtime.jobs import Job
from herd.runtime.object_ref import ObjectRef, new_ref
from herd.runtime.tallies import Tally
from herd.runtime.values import ActorOptions, ActorStatus, Identity

# Messages handled in one wake-up before the loop gets its turn. A wake-up costs about as much as one small message, so
# with 64 it is lost in the noise, and even handlers of 50 us each hold up a socket for no more than 3 ms.
BURST = 64

UNBORN = Identity("", None, "", 0)  # of a mailbox that has no actor yet
STOP = ProxyCall(("stop",), (), {})  # what a ref for an ordered stop says that it is for


class Wakeup(Protocol):
    """A wake-up that is under way."""

    def cancel(self) -> None: ...


class Home(Protocol):
    """The registry of the actor's loop, as a mailbox needs it."""

    wire: Callable[[Any], Any] | None  # when set, every argument and reply goes through it
    letters: DeadLetters
    burst: int  # messages in one wake-up
    hold_limit: float  # seconds after which a handler's step is worth a line in the log
    schedule: "Callable[[Mailbox], Wakeup] | None"  # when set, it decides which mailbox's turn is next

    def name_cycle(self, ref: ObjectRef[Any]) -> str: ...

    def keep(self, task: "asyncio.Task[Any]") -> None:
        """Hold a task that nobody else holds until it has ended."""


class Stop:
    """The message of an ordered stop; `stopped` gives True once the actor is dead, False if it was dead before."""

    __slots__ = ("stopped",)

    def __init__(self, stopped: ObjectRef[bool]) -> None:
        self.stopped = stopped


class Starting:
    """Stands for the wake-up that the start of an incarnation will be."""

    def cancel(self) -> None:
        """A start is not cancelled here; it looks whether it is still wanted."""


STARTING = Starting()


class Mailbox(ABC):
    """Takes messages. `Dispatcher` adds how they reach their handlers, and `Cell` the actor's life."""

    __slots__ = (
        *("_mark", "_open", "_since", "_stops", "_taken", "_thread", "_wakeup", "actor"),
        *("async_methods", "context", "high_water", "home", "identity", "loop", "mailbox", "options", "pending"),
        *("running", "status", "tallies", "waiting"),
    )

    identity: Identity
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context  # in which all the actor's code runs
    options: ActorOptions
    home: Home
    _thread: int  # the loop's

    def __init__(self) -> None:
        self.identity = UNBORN
        self.actor: Any = None  # the instance, as long as it lives
        self.async_methods: frozenset[str] = frozenset()
        self.status = ActorStatus.PENDING_CREATION
        # Calls are bounded by max_pending_calls. Tells are not, on purpose: what is told (a release, a report) must not
        # be lost in a burst, and as its sender does not wait, a bound could not slow it down either.
        self.mailbox: deque[Any] = deque()
        # Calls over max_concurrency: is it asked, and since when does it wait? Most actors never have any.
        self.waiting: deque[tuple[ObjectRef[Any], bool, float]] | None = None
        self.running: dict[ObjectRef[Any], bool] = {}  # async handlers, at most max_concurrency; and: is it asked?
        self.pending = 0  # calls that take room, so a cancelled one counts until its place in the mailbox is free
        self.tallies: dict[Any, Tally] = {}  # by method; as many as the class has, and its timers call
        self.high_water = 0
        self._open = True  # messages are taken
        self._wakeup: Wakeup | None = STARTING  # None: the actor sleeps, and the next message must wake it
        self._stops: list[ObjectRef[bool]] = []  # callers that wait for the end
        self._since = 0.0  # no message in the mailbox came before, in loop time
        self._taken = 0  # messages taken out of the mailbox since `_mark` was made
        self._mark: tuple[int, float] | None = None  # after so many more messages, none came before that time

    @abstractmethod
    def drain(self) -> None:
        """One wake-up: handle a burst of messages."""

    @abstractmethod
    def stop_between_lives(self, message: Stop) -> bool:
        """Take the Stop if the actor is between two lives: then there is none to end in order."""

    # --- Taking messages --------------------------------------------------------------------------------------------

    def put(self, item: Any, /) -> None:
        """Take a message: an ObjectRef (a call), a Stop, a Job, or anything else, which is told."""
        if get_ident() != self._thread:
            self.loop.call_soon_threadsafe(self.put, item)
            return
        if not self._open:
            self._refuse(item, DeadLetterReason.DEAD)
            return
        if type(item) is ObjectRef:
            if self.pending >= self.options.max_pending_calls != -1:
                item.fail(PendingCallsLimitExceeded(f"{self.label} has {self.pending} unanswered calls already"))
                self.home.letters.add(DeadLetterReason.FULL, self.describe(item.message), told=False)
                return
            self.pending += 1
        elif type(item) is Stop and self.stop_between_lives(item):
            return
        self.put_told(item)

    def put_told(self, message: Any, /) -> None:
        """`put`, for what neither a bound nor a stop concerns: what is told."""
        if not self._open or get_ident() != self._thread:
            self.put(message)
            return
        mailbox = self.mailbox
        if not mailbox:
            self._since = self.loop.time()
            if self._wakeup is None:
                self._wake()
        mailbox.append(message)

    def check_loop(self, *, blocks: bool) -> None:
        """For senders that are not on the loop: can anything come of a message?

        Args:
            blocks: this thread is to wait for the answer.

        Raises:
            RuntimeError: the loop is closed, or this thread would have to run it.
        """
        if self.loop.is_closed():
            raise RuntimeError(f"the event loop of {self.label} is closed")
        if blocks and get_ident() == self._thread:
            raise RuntimeError(f"{self.label} has its event loop in this thread, which therefore cannot wait for it")

    def new_call(self, message: Any) -> ObjectRef[Any]:
        """An envelope for `message`, to be `put`."""
        return new_ref(self.loop, self, message)

    def new_stop(self) -> tuple[Stop, ObjectRef[bool]]:
        """A Stop, to be `put`, and what it ends with."""
        stopped = new_ref(self.loop, self, STOP)
        return Stop(stopped), stopped

    def cancel_work(self, ref: ObjectRef[Any]) -> None:
        """`ref` has ended: nobody needs its work any more."""
        if ref.task is not None:
            ref.task.cancel()

    def _wake(self) -> None:
        if self.home.schedule is None:
            self._wakeup = self.loop.call_soon(self.drain, context=self.context)
        else:
            self._wakeup = self.home.schedule(self)

    def take_waiting(self) -> list[Any]:
        """The calls and told messages over max_concurrency, in order, which wait for room no more."""
        waiting, self.waiting = self.waiting or (), None
        return [ref if asked else ref.message for ref, asked, _ in waiting]

    def drop(self, item: Any, reason: DeadLetterReason, cause: BaseException | None = None) -> None:
        """`item`, which was taken, will not be handled, because the actor died of `cause`, or stops."""
        if type(item) is ObjectRef:
            self.pending -= 1
        self._refuse(item, reason, cause)

    def _refuse(self, item: Any, reason: DeadLetterReason, cause: BaseException | None = None) -> None:
        """`item` will not be handled."""
        if type(item) is ObjectRef:
            if item.done():
                self._dropped(item)
            else:
                item.fail(self.dead_error(cause))
                self.home.letters.add(reason, self.describe(item.message), told=False)
        elif type(item) is Stop:
            if self.status is ActorStatus.DEAD:
                item.stopped.reply(False)
            else:
                self._stops.append(item.stopped)
        elif not isinstance(item, Job):
            self.home.letters.add(reason, self.describe(item), told=True)

    def _dropped(self, ref: ObjectRef[Any]) -> None:
        """The call ended before its turn came."""
        late = isinstance(ref.exception(), GetTimeoutError)
        reason = DeadLetterReason.EXPIRED if late else DeadLetterReason.CANCELLED
        self.home.letters.add(reason, self.describe(ref.message), told=False)

    # --- What is said -----------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Are messages taken?"""
        return self._open

    @property
    def label(self) -> str:
        """Who the actor is, for a person; empty before it is adopted."""
        return "" if self.identity is UNBORN else str(self.identity)

    def describe(self, message: Any) -> str:
        """For a person: the actor and what it is asked to do, never what the message holds."""
        if type(message) is ProxyCall:
            what = ".".join(message.attr_path)
        elif isinstance(message, Job):
            what = message.name
        else:
            what = f"a message of type {type(message).__name__}"
        return f"{self.label}: {what}"

    def name_cycle(self, ref: ObjectRef[Any]) -> str:
        """Which actors wait for one another because of `ref`, for an error; empty if none do."""
        return self.home.name_cycle(ref)

    @abstractmethod
    def dead_error(self, cause: BaseException | None = None) -> ActorDiedError:
        """Why a message cannot be handled any more."""

    def age_of_oldest(self) -> float:
        """Seconds that the oldest message has waited: exact where the mailbox was empty before, else at most this."""
        if self.waiting:
            return self.loop.time() - self.waiting[0][2]
        return self.loop.time() - self._since if self.mailbox else 0.0
