"""An actor runtime: Pykka actors on one asyncio loop, with a Ray-shaped API. It knows nothing of what runs on it.

In reading order:

    errors        what a call can end with
    values        how to start an actor, who it is, how it is
    _pykka        the one door to Pykka: its names, and its blocking ActorRef and Future made safe on a loop
    object_ref    the awaitable answer of a call, which is also the envelope that waits in the mailbox
    deadlines     what a call's deadline means for the calls that it leads to
    dead_letters  messages that no handler was started for, by reason
    jobs          `every`, `after`, `watch`: what an actor tells itself
    tallies       how long handlers hold the loop
    mailbox       what an actor takes and refuses
    crashes       what an actor's code may raise, and what that means
    dispatcher    how messages reach their handlers: the heart of the runtime
    incarnation   what an actor has under way, which ends with a crash
    epitaph       what is said of an actor's end, to callers and to those who watch
    cell          an actor's life: start, stop, crash, new start, death
    actor         AsyncioActor, and how a plain class becomes one
    handles       what callers hold: `handle.method.remote(...)`, `.tell(...)`
    waits         who waits for whom, when a call is late
    classes       what all actors of one class have done together
    registry      the actors of one event loop: names, namespaces, what they share
    local         how an actor starts on this loop
    restarts      when a crashed actor is started again, and when that is given up
    supervision   supervisors: ordered start, restart together, reverse stop
    engine        which machinery starts an actor: this loop, or a Ray cluster
    on_ray        the latter
    api           `@remote`, `get_actor`, `stop`, `kill`, `cancel`, `wait`, `list_actors`, `class_states`
    context       what an actor sees of itself: timers, linked tasks, watches, children
    leases        so many at a time: tickets that wait, and never leak
    codec         values to bytes and back, for messages between actors
    virtual       an event loop whose clock jumps
    probe         an actor that tests send to and answer for
    testing       run a coroutine in virtual time, round-trip every message, shuffle actors, find leaks

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
    class_states,
    dead_letters,
    get_actor,
    kill,
    list_actors,
    remote,
    stop,
    wait,
)
from herd.runtime.context import ActorContext, context, exit_actor
from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.deadlines import deadline
from herd.runtime.errors import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    PendingCallsLimitExceeded,
    RestartLimitExceeded,
    RuntimeCallError,
    TaskCancelledError,
)
from herd.runtime.handles import ActorHandle, ActorMethod
from herd.runtime.jobs import Timer, Watch
from herd.runtime.leases import Leases, leased
from herd.runtime.object_ref import ObjectRef
from herd.runtime.restarts import RestartPolicy, Strategy
from herd.runtime.supervision import Supervisor
from herd.runtime.values import ActorState, ActorStatus, ClassState, Identity, MethodState, Terminated

__all__ = [
    "ActorClass",
    "ActorContext",
    "ActorDiedError",
    "ActorHandle",
    "ActorMethod",
    "ActorState",
    "ActorStatus",
    "ActorUnavailableError",
    "ClassState",
    "DeadLetterReason",
    "GetTimeoutError",
    "Identity",
    "Leases",
    "MethodState",
    "ObjectRef",
    "PendingCallsLimitExceeded",
    "RestartLimitExceeded",
    "RestartPolicy",
    "RuntimeCallError",
    "Strategy",
    "Supervisor",
    "TaskCancelledError",
    "Terminated",
    "Timer",
    "Watch",
    "cancel",
    "class_states",
    "context",
    "dead_letters",
    "deadline",
    "exit_actor",
    "get_actor",
    "kill",
    "leased",
    "list_actors",
    "remote",
    "stop",
    "wait",
]
