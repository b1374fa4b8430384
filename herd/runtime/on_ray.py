"""The engine that hands classes to a Ray cluster, where each actor is a process. Needs the extra `ray`.

Callers keep their handles, refs and errors. Classes meant for both engines use `async def` and a `max_concurrency` of
their own, and arguments, answers and exceptions that can be pickled. What does not carry over:

- Order. Calls of one caller mostly arrive in order; those sent while the actor starts do not, and those that it gets
  while a stop is on its way may be handled still.
- What waits in an actor's process is lost when that crashes: for Ray it was under way, and costs a retry each. With
  `max_task_retries=0` what is sent while an actor is down ends with ActorUnavailableError.
- What is told to an actor that is down, or crashes, is a dead letter; what is beyond `max_pending_calls` is one too,
  and these are counted in each process that sends.
- What `__init__` or on_start raises is in no `remote(...)`: calls end with ActorDiedError, whose text has it.
- An actor lives no longer than the process that started it, and once dead keeps its name in processes that hold its
  handle and did not stop it.
- `context(self)`, `exit_actor`, Supervisor and Leases are the local engine's, and on_failure is not called.
- Handles of local actors, and refs of either engine, cannot be sent to an actor on Ray.
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import ray
import ray.exceptions
import ray.util
from ray._private import state as cluster_state  # what Ray's own `ray.nodes()` stands on

from herd.runtime import errors
from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.deadlines import as_timeout, deadline, due, earliest
from herd.runtime.engine import using
from herd.runtime.handles import HOOKS
from herd.runtime.object_ref import ObjectRef, new_ref
from herd.runtime.registry import DEFAULT_NAMESPACE, registry
from herd.runtime.values import ActorOptions, ActorState, ActorStatus, Identity

log = logging.getLogger("herd.runtime")

# Ray's error for ours. The first that fits: Ray's ActorUnavailableError is a RayActorError too.
ERRORS = (
    (ray.exceptions.ActorUnavailableError, errors.ActorUnavailableError),
    (ray.exceptions.RayActorError, errors.ActorDiedError),
    (ray.exceptions.TaskCancelledError, errors.TaskCancelledError),
    (ray.exceptions.PendingCallsLimitExceeded, errors.PendingCallsLimitExceeded),
)

# Why a told message came to nothing, by its error.
LOST: dict[type[BaseException], DeadLetterReason] = {
    errors.PendingCallsLimitExceeded: DeadLetterReason.FULL,
    errors.ActorDiedError: DeadLetterReason.DEAD,
}


class RayEngine:
    """Actors on the cluster that this process is connected to: after `ray.init`, or as one of Ray's workers.

    Inside an actor on Ray the functions of `herd.runtime` use one of these too.
    """

    def __init__(self) -> None:
        if not ray.is_initialized():  # else Ray would start a cluster by itself, open to the network
            raise RuntimeError("there is no Ray cluster: use local_cluster(), or ray.init() before")
        self._started: dict[RayHandle, None] = {}  # Ray ends an actor of which nobody holds a handle
        self._stops: dict[asyncio.Task[bool], None] = {}

    def start(self, plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "RayHandle":
        if options.name is not None:
            _find(options.name, options.namespace)  # so that the name of a dead one is free
        # Options are named as Ray names them. An actor mostly waits: the number of processors does not bound theirs.
        handle = RayHandle(hosted(plain).options(**asdict(options), num_cpus=0).remote(*args, **kwargs))
        self._started[handle] = None
        return handle

    def get_actor(self, name: str, namespace: str | None) -> "RayHandle":
        actor = _find(name, namespace)
        if actor is None:
            raise ValueError(f'there is no actor "{name}"')
        return RayHandle(actor)

    def stop(self, handle: Any) -> "asyncio.Future[bool]":
        task = asyncio.get_running_loop().create_task(self._stop(handle, actor_of(handle)))
        self._stops[task] = None
        task.add_done_callback(self._stops.pop)
        return asyncio.shield(task)

    async def _stop(self, handle: "RayHandle", actor: Any) -> bool:
        try:
            await actor.__ray_ready__.remote()  # once it is up, what was sent before is there before what follows
        except ray.exceptions.ActorUnavailableError:
            pass  # it has just crashed; the stop meets what is started in its place
        except ray.exceptions.RayActorError:
            return False
        with suppress(ray.exceptions.RayActorError):  # its end
            await actor.herd_stop.options(max_task_retries=-1).remote()
        self.kill(handle, no_restart=True)  # it is dead, but else Ray keeps its name as long as we hold a handle
        return True

    def kill(self, handle: Any, *, no_restart: bool) -> None:
        actor = actor_of(handle)
        if no_restart:
            self._started.pop(handle, None)
        ray.kill(actor, no_restart=no_restart)

    def list_actors(self) -> list[ActorState]:
        """The actors of this Ray job, whoever started them. What Ray does not tell here, namespaces and numbers of
        messages, reads "" and 0. (Ray's public list knows more, but asks the dashboard, which need not run.)
        """
        job = ray.get_runtime_context().get_job_id()
        found = [entry for entry in cluster_state.actors().values() if entry["JobID"] == job]
        found.sort(key=lambda entry: (entry["State"] != "DEAD", entry["StartTime"] or float("inf")))
        return [_actor_state(entry, number) for number, entry in enumerate(found, 1)]


@contextmanager
def local_cluster(cpus: int = 2) -> Iterator[RayEngine]:
    """A Ray cluster of this machine alone, on `cpus` processors, for as long as the block runs.

    Two things Ray takes from the environment only, as it is imported: with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 it opens
    its ports on the loopback interface alone, and with RAY_USAGE_STATS_ENABLED=0 it does not call home.
    """
    ray.init(
        address="local",
        num_cpus=cpus,
        namespace=DEFAULT_NAMESPACE,
        object_store_memory=80_000_000,  # Ray's smallest is 75 MB; messages below 100 kB do not go through it
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
        _system_config={"enable_output_error_log_if_still_retry": False},  # it prints a line for each retry
    )
    try:
        yield RayEngine()
    finally:
        ray.shutdown()


# --- The caller's side -----------------------------------------------------------------------------------------------


class RayHandle:
    """An actor on Ray, as others see it; like an ActorHandle. It can be sent to other actors on Ray."""

    __slots__ = ("_actor",)

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> "RayMethod":
        if name.startswith(("_", "herd_")) or name in HOOKS or not hasattr(self._actor, name):
            raise AttributeError(f"{self!r} has no method {name!r} to call")
        return RayMethod(self._actor, name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return RayHandle, (self._actor,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RayHandle) and bool(self._actor == other._actor)

    def __hash__(self) -> int:
        return int(self._actor.__hash__())

    def __repr__(self) -> str:
        return f"<RayHandle {self._actor!r}>"


def actor_of(handle: Any) -> Any:
    """Ray's own handle of the same actor. Raises TypeError for what is no RayHandle."""
    if not isinstance(handle, RayHandle):
        raise TypeError(f"expected a handle of an actor on Ray, not {handle!r}")
    return handle._actor  # noqa: SLF001 - kept from callers, not from the engine


class RayMethod:
    """One method of one actor on Ray; like an ActorMethod."""

    __slots__ = ("_actor", "_name", "_timeout")

    def __init__(self, actor: Any, name: str, timeout: float | None) -> None:
        self._actor = actor
        self._name = name
        self._timeout = timeout

    def options(self, *, timeout: float | None) -> "RayMethod":
        """See `ActorMethod.options`."""
        return RayMethod(self._actor, self._name, as_timeout(timeout))

    def remote(self, *args: Any, **kwargs: Any) -> ObjectRef[Any]:
        """See `ActorMethod.remote`. Raises TypeError, or what pickling raises, if an argument cannot be sent."""
        now = asyncio.get_running_loop().time()
        when = None if self._timeout is None and due.get() is None else earliest(self._timeout, now)
        left = None if when is None else when - now
        ref = self._send(self._actor.herd_ask.options(name=repr(self)), left, *args, **kwargs)
        if when is not None and not ref.done():
            ref.expire_at(when)
        return ref

    def tell(self, *args: Any, **kwargs: Any) -> None:
        """See `ActorMethod.tell`. Raises likewise."""
        entry = self._actor.herd_tell.options(name=repr(self), max_task_retries=0)
        self._send(entry, *args, **kwargs).add_done_callback(self._told)

    def _send(self, entry: Any, *args: Any, **kwargs: Any) -> ObjectRef[Any]:
        loop, work = asyncio.get_running_loop(), Work(repr(self))
        ref = new_ref(loop, work, None)
        try:
            work.answer = entry.remote(self._name, *args, **kwargs)
        except ray.exceptions.PendingCallsLimitExceeded as error:
            ref.fail(ours(error))
        else:
            work.answer.future().add_done_callback(functools.partial(_pass_on, loop, ref))
        return ref

    def _told(self, ref: ObjectRef[Any]) -> None:
        error = ref.exception()
        if error is not None:
            registry().letters.add(LOST.get(type(error), DeadLetterReason.KILLED), repr(self), told=True)

    def __call__(self, *_args: Any, **_kwargs: Any) -> None:
        raise TypeError(f"{self!r} runs in its actor: use .remote(...) or .tell(...)")

    def __repr__(self) -> str:
        return f"{self._actor!r}: {self._name}"


@dataclass(slots=True)
class Work:
    """What Ray does for a ref of ours: its owner."""

    label: str
    answer: Any = None  # Ray's own ref

    def describe(self, _message: Any) -> str:
        return self.label

    def cancel_work(self, _ref: ObjectRef[Any]) -> None:
        if self.answer is not None and ray.is_initialized():
            ray.cancel(self.answer)

    def name_cycle(self, _ref: ObjectRef[Any]) -> str:
        return ""  # no process knows who waits in the others


def _pass_on(loop: asyncio.AbstractEventLoop, ref: ObjectRef[Any], answer: Any) -> None:
    """Bring an answer from Ray's thread to the loop that asked."""
    with suppress(RuntimeError):  # that loop is closed, and nobody waits
        loop.call_soon_threadsafe(_settle, ref, answer)


def _settle(ref: ObjectRef[Any], answer: Any) -> None:
    error = answer.exception()
    if error is None:
        ref.reply(answer.result())
    else:
        ref.fail(ours(error))


def ours(error: BaseException) -> BaseException:
    """What a caller gets for an error of Ray: the handler's own exception, or one of `herd.runtime.errors`.

    Ray's error is its `__cause__`, and has the traceback from the actor's process in its text.
    """
    found: BaseException = (isinstance(error, ray.exceptions.RayTaskError) and error.cause) or error
    for theirs, kind in ERRORS:
        if isinstance(found, theirs):
            found = kind(str(found))
            break
    if found is not error and found.__cause__ is None:
        found.__cause__ = error
    return found


# --- The actor's side ------------------------------------------------------------------------------------------------


class Host:
    """Mixed into a class for Ray: it runs the hooks, ends an actor in order, and lets told messages crash it.

    Its coroutines make every actor an asyncio actor of Ray's: `def` handlers run undivided there too.
    """

    herd_life: "Life"

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc] # Ray awaits it
        self.herd_life = Life()
        with using(self.herd_life.engine):
            super().__init__(*args, **kwargs)
            await _result(self.on_start())  # type: ignore[attr-defined] # one of Hooks, or the class's own

    async def herd_ask(self, method: str, left: float | None, /, *args: Any, **kwargs: Any) -> Any:
        """Run a handler for a caller who waits `left` seconds at most."""
        with self.herd_life.working(), nullcontext() if left is None else deadline(left):
            return await _result(getattr(self, method)(*args, **kwargs))

    async def herd_tell(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        """Run a handler for nobody. If it raises, the actor crashes."""
        with self.herd_life.working():
            try:
                await _result(getattr(self, method)(*args, **kwargs))
            except Exception:
                log.exception("Unhandled exception in %r:", self)
                ray.kill(ray.get_runtime_context().current_actor, no_restart=False)

    async def herd_stop(self) -> None:
        """Let what runs end, run on_stop, and exit. A second one waits for the first."""
        life = self.herd_life
        if life.end is None:
            life.end = asyncio.get_running_loop().create_task(self.herd_retire())
        await asyncio.shield(life.end)
        ray.actor.exit_actor()

    async def herd_retire(self) -> None:
        await self.herd_life.idle.wait()
        with using(self.herd_life.engine):
            try:
                await _result(self.on_stop())  # type: ignore[attr-defined] # likewise
            except Exception:
                log.exception("Unhandled exception in %r:", self)

    @property
    def actor_inbox(self) -> NoReturn:
        """Where `context` looks for the local engine's side of an actor."""
        raise TypeError(f"{self!r} runs on Ray, where actors have no context: that is the local engine's")


class Hooks:
    """For classes that have none."""

    def on_start(self) -> None: ...

    def on_stop(self) -> None: ...


class Life:
    """What the engine keeps of an actor, in its process."""

    def __init__(self) -> None:
        self.engine = RayEngine()
        self.end: asyncio.Task[None] | None = None  # the ordered stop, once it has begun
        self.idle = asyncio.Event()
        self.idle.set()
        self._running = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around one handler."""
        if self.end is not None:
            raise errors.ActorDiedError("the actor is being stopped")
        self._running += 1
        self.idle.clear()
        try:
            with using(self.engine):
                yield
        finally:
            self._running -= 1
            if not self._running:
                self.idle.set()


@functools.cache  # one entry for each decorated class
def hosted(plain: type) -> Any:
    """`plain` as a class of Ray's actors."""
    body = {"__module__": plain.__module__, "__doc__": plain.__doc__}
    return ray.remote(type(plain.__name__, (Host, plain, Hooks), body))


async def _result(answer: Any) -> Any:
    """Of a handler or a hook, `def` or `async def`."""
    return await answer if inspect.isawaitable(answer) else answer


def _find(name: str, namespace: str | None) -> Any:
    """Ray's handle of the living actor of that name, or None."""
    where = ray.get_runtime_context().namespace if namespace is None else namespace
    try:
        actor = ray.get_actor(name, where)
    except ValueError:
        return None
    if {"name": name, "namespace": where} in ray.util.list_named_actors(all_namespaces=True):
        return actor
    ray.kill(actor)  # it is dead, but else Ray keeps its name as long as this process holds a handle
    return None


def _actor_state(entry: dict[str, Any], number: int) -> ActorState:
    identity = Identity(entry["ActorClassName"], entry["Name"] or None, "", number)
    word = entry["State"].replace("DEPENDENCIES_UNREADY", "PENDING_CREATION")
    return ActorState(identity, ActorStatus(word), queued=0, in_flight=0, pending=0, restarts=entry["NumRestarts"])
