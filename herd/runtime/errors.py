"""What a call to an actor can end with, beside the actor's own exception. The names and meanings are Ray's."""

from herd.runtime._pykka import ActorDeadError


class RuntimeCallError(Exception):
    """Root of this file: the runtime, not the actor's code, ended the call."""


class ActorDiedError(RuntimeCallError, ActorDeadError):
    """The actor is dead, or died before it answered.

    `__cause__` of calls that were waiting or under way is the exception that it died of, if it did of one.
    """


class ActorUnavailableError(RuntimeCallError):
    """The actor crashed while it worked on the call, and starts again; `__cause__` is what it crashed of.

    Nobody knows how much of the call was done. Later calls to the same handle meet the new incarnation.
    """


class GetTimeoutError(RuntimeCallError, TimeoutError):
    """The call did not end before its deadline; its work has been cancelled."""


class TaskCancelledError(RuntimeCallError):
    """The call was cancelled, by its caller or by something that its handler waited for."""


class PendingCallsLimitExceeded(RuntimeCallError):
    """The actor has `max_pending_calls` unanswered calls already; this one was not queued."""


class ActorKilled(Exception):
    """What an actor crashes of when `kill` leaves it to be restarted."""


class RestartLimitExceeded(Exception):
    """An actor, or a group of them, crashed more often than its policy allows; `__cause__` is the last crash."""


class ActorExit(BaseException):
    """What `exit_actor` raises. Not an Exception: a handler's own `except Exception` is not to keep its actor alive."""
