"""What is said of an actor's end, or of the end of one of its lives: to its callers, and to those who watch it."""

from typing import Any

from herd.runtime.errors import ActorDiedError, ActorUnavailableError, RuntimeCallError
from herd.runtime.incarnation import Incarnation
from herd.runtime.jobs import Watch
from herd.runtime.values import ActorStatus, Terminated


class Remembered(Incarnation):
    """An actor of which it is known how it ended."""

    __slots__ = ("_crashed", "_epitaph", "_watches", "handle")

    handle: Any  # its one ActorHandle

    def __init__(self) -> None:
        super().__init__()
        self._epitaph = "is dead"
        self._crashed = False  # of an error, for good
        self._watches: dict[Watch, None] | None = None  # of other actors, to be told of this one's death

    def bury(self, cause: BaseException | None) -> None:
        """It dies of `cause`; None: because somebody wants it to, or it does itself."""
        self._crashed = isinstance(cause, Exception)
        if cause is not None:
            self._epitaph = f"died of {cause!r}"
        elif self.status is ActorStatus.RESTARTING:
            self._epitaph = "is dead"

    def watch(self, watch: Watch) -> None:
        """Tell `watch` when this actor is dead."""
        if self.status is ActorStatus.DEAD:
            watch.tell(self._terminated())
            return
        if self._watches is None:
            self._watches = {}
        self._watches[watch] = None

    def unwatch(self, watch: Watch, /) -> None:
        if self._watches is not None:
            self._watches.pop(watch, None)

    def tell_watches(self) -> None:
        """The actor is dead: tell whoever watches it."""
        watches, self._watches = self._watches or {}, None
        for watch in watches:
            watch.tell(self._terminated())

    def _terminated(self) -> Terminated:
        return Terminated(self.handle, self._epitaph, self._crashed)

    def broken_off(self, cause: BaseException | None = None) -> RuntimeCallError:
        if self.status is not ActorStatus.RESTARTING:
            return self.dead_error(cause)
        error = ActorUnavailableError(f"{self.label} {self._epitaph}, and starts again")
        error.__cause__ = cause or self._cause  # a `def` handler that ended its own life is told after the fact
        return error

    def dead_error(self, cause: BaseException | None = None) -> ActorDiedError:
        error = ActorDiedError(f"{self.label} {self._epitaph}")
        error.__cause__ = cause
        return error
