"""For tests of actors: virtual time, messages that prove they can travel, and leaks that do not go unseen."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from herd.runtime.codec import dumps, loads
from herd.runtime.handles import ActorHandle
from herd.runtime.registry import Registry, registry
from herd.runtime.virtual import VirtualTimeLoop

P = ParamSpec("P")
T = TypeVar("T")


class LeakError(AssertionError):
    """Actors or calls were left over at the end of a test."""


def run_virtual(main: Coroutine[Any, Any, T], *, allow_alive: bool = False) -> T:
    """Run `main` on a VirtualTimeLoop of its own, and check what it leaves behind.

    Args:
        main: the test or scenario.
        allow_alive: idle actors may be left alive; they are killed. (Calls without an answer may never be left.)

    Raises:
        LeakError: `main` returned, and actors or unanswered calls are left.
        Deadlock: nothing could ever happen again before `main` returned.
        Exception: whatever `main` raises.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_checked(main, allow_alive))


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorator: an async test becomes a plain one that runs in virtual time. See `run_virtual`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return run


@contextmanager
def serialize_messages() -> Iterator[None]:
    """While this lasts, arguments and replies of all actors on the running loop make a round trip through the codec.

    What cannot travel is a TypeError: of the call when it is an argument, in the caller's ref when it is a reply.
    Handles of actors travel by their URN.
    """
    home = registry()
    before = home.wire
    home.wire = _round_trip
    try:
        yield
    finally:
        home.wire = before


async def _checked(main: Coroutine[Any, Any, T], allow_alive: bool) -> T:
    home = registry()
    try:
        result = await main
        leaks = _leaks(home, allow_alive)
    finally:
        for cell in reversed(list(home.cells)):
            cell.die(None)
    if leaks:
        raise LeakError("left over at the end: " + "; ".join(leaks))
    return result


def _leaks(home: Registry, allow_alive: bool) -> list[str]:
    leaks = []
    for cell in home.cells:
        state = cell.state
        if state.pending or state.in_flight or state.queued:
            leaks.append(f"{cell.handle!r} with {state.pending} unanswered calls, {state.in_flight} running handlers")
        elif not allow_alive:
            leaks.append(f"{cell.handle!r}, which was not stopped")
    return leaks


def _round_trip(value: Any) -> Any:
    handles: dict[str, ActorHandle] = {}

    def refer(item: object) -> str | None:
        if not isinstance(item, ActorHandle):
            return None
        urn = item.actor_ref.actor_urn
        handles[urn] = item
        return urn

    return loads(dumps(value, refer=refer), resolve=handles.__getitem__)
