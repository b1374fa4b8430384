"""What a call to an actor can end with, beside the actor's own exception. The names and meanings are Ray's."""

from herd.runtime._pykka import ActorDeadError


class RuntimeCallError(Exception):
    """Root of this file: the runtime, not the actor's code, ended the call."""


class ActorDiedError(RuntimeCallError, ActorDeadError):
    """The actor is dead, or died before it answered. `__cause__` is the exception it died of, if it did of one."""


class GetTimeoutError(RuntimeCallError, TimeoutError):
    """The call did not end within its `timeout`; its work has been cancelled."""


class TaskCancelledError(RuntimeCallError):
    """The call was cancelled, by its caller or by something that its handler waited for."""


class PendingCallsLimitExceeded(RuntimeCallError):
    """The actor has `max_pending_calls` unanswered calls already; this one was not queued."""
