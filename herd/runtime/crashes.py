"""What the code of an actor may raise, and what that means for the actor."""

import asyncio

from herd.runtime.errors import ActorExit, TaskCancelledError


def as_crash(error: BaseException) -> Exception:
    """`error` as something that an actor can crash of: a cancellation that nobody meant for its code is one, too."""
    if isinstance(error, Exception):
        return error
    crash = TaskCancelledError("it awaited something that was cancelled")
    crash.__cause__ = error
    return crash


def is_crash(error: BaseException) -> bool:
    """Can an actor crash of `error`? (Not of `exit_actor`, nor of what is to end the process.)"""
    return isinstance(error, Exception | asyncio.CancelledError) and not is_exit(error)


def is_exit(error: BaseException) -> bool:
    """Does `exit_actor` speak through `error`, by itself or out of a TaskGroup?"""
    if isinstance(error, BaseExceptionGroup):
        return any(is_exit(each) for each in error.exceptions)
    return isinstance(error, ActorExit)


def cancelled_from_outside(error: BaseException) -> bool:
    """Is `error` the cancellation of the running task, and not one of something that it awaited?"""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def ends_process(error: BaseException) -> bool:
    """Will `error` leave the event loop?"""
    return isinstance(error, SystemExit | KeyboardInterrupt)
