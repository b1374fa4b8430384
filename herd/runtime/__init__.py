"""An actor runtime: Pykka actors on one asyncio loop, with a Ray-shaped API. It knows nothing of what runs on it.

In reading order:

    errors      what a call can end with
    _pykka      the one door to Pykka: its names, and its blocking ActorRef and Future made safe on a loop
    object_ref  the awaitable answer of a call, which is also the envelope that waits in the mailbox
    timers      `every` and `after`
    values      how to start an actor, who it is, how it is
    mailbox     how messages reach their handlers: the heart of the runtime
    cell        an actor's life: start, stop, failure, death
    actor       AsyncioActor, and how a plain class becomes one
    handles     what callers hold: `handle.method.remote(...)`, `.tell(...)`
    registry    the actors of one event loop: names, namespaces, dead letters
    engine      which machinery starts an actor
    api         `@remote`, `get_actor`, `stop`, `kill`, `cancel`, `list_actors`
    context     what an actor sees of itself: timers and linked tasks
    codec       values to bytes and back, for messages between actors
    virtual     an event loop whose clock jumps
    testing     run a coroutine in virtual time, round-trip every message, find leaks

    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

    counter = remote(Counter).options(name="visits").remote()
    assert await counter.add.remote(2) == 2
    counter.add.tell(3)
    await stop(counter)
"""

from herd.runtime.api import (
    ActorClass,
    cancel,
    dead_letters,
    get_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime.context import ActorContext, context
from herd.runtime.errors import (
    ActorDiedError,
    GetTimeoutError,
    PendingCallsLimitExceeded,
    RuntimeCallError,
    TaskCancelledError,
)
from herd.runtime.handles import ActorHandle, ActorMethod
from herd.runtime.object_ref import ObjectRef
from herd.runtime.timers import Timer
from herd.runtime.values import ActorState, ActorStatus, Identity

__all__ = [
    "ActorClass",
    "ActorContext",
    "ActorDiedError",
    "ActorHandle",
    "ActorMethod",
    "ActorState",
    "ActorStatus",
    "GetTimeoutError",
    "Identity",
    "ObjectRef",
    "PendingCallsLimitExceeded",
    "RuntimeCallError",
    "TaskCancelledError",
    "Timer",
    "cancel",
    "context",
    "dead_letters",
    "get_actor",
    "kill",
    "list_actors",
    "remote",
    "stop",
]
