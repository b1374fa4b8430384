"""For tests of actors: virtual time, messages that prove they can travel, any order of turns, and no unseen leak."""

import asyncio
import functools
import math
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar, overload

from herd.runtime.codec import dumps, loads
from herd.runtime.handles import ActorHandle
from herd.runtime.mailbox import Mailbox
from herd.runtime.registry import Registry, registry
from herd.runtime.virtual import VirtualTimeLoop

P = ParamSpec("P")
T = TypeVar("T")


class LeakError(AssertionError):
    """Actors, calls, leases or lost messages were left over at the end of a test."""


def run_virtual(
    main: Coroutine[Any, Any, T],
    *,
    allow_alive: bool = False,
    allow_lost: bool = False,
    serialize_messages: bool = False,
    shuffle: int | None = None,
) -> T:
    """Run `main` on a VirtualTimeLoop of its own, and check what it leaves behind.

    Args:
        main: the test or scenario.
        allow_alive: idle actors may be left alive; they are killed. (Calls without an answer may never be left.)
        allow_lost: messages may have been told to dead actors.
        serialize_messages: every message between actors makes a round trip through the codec.
        shuffle: a seed: of the actors that have messages, chance says who handles the next one. (Messages to one actor
            keep their order.) None: actors take turns in the order in which they were woken.

    Raises:
        LeakError: `main` returned, and actors, unanswered calls, leases or lost messages are left.
        Deadlock: nothing could ever happen again before `main` returned.
        Exception: whatever `main` raises.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_checked(main, allow_alive, allow_lost, serialize_messages, shuffle))


@overload
def virtual_time(test: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...


@overload
def virtual_time(**settings: Any) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]: ...


def virtual_time(test: Any = None, /, **settings: Any) -> Any:
    """Decorator: an async test becomes a plain one that runs in virtual time. Settings are those of `run_virtual`."""
    if test is None:
        return functools.partial(virtual_time, **settings)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return run_virtual(test(*args, **kwargs), **settings)

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


@contextmanager
def shuffled(seed: int) -> Iterator[None]:
    """While this lasts, chance decides which actor of the running loop handles its next message. See `run_virtual`."""
    home = registry()
    before = home.schedule, home.burst
    home.schedule, home.burst = _Shuffle(seed), 1
    try:
        yield
    finally:
        home.schedule, home.burst = before


async def _checked(
    main: Coroutine[Any, Any, T], allow_alive: bool, allow_lost: bool, serialize: bool, shuffle: int | None
) -> T:
    home = registry()
    home.random.seed(shuffle or 0)  # the same seed, the same waits before restarts
    home.hold_limit = math.inf  # where time stands still, nobody waits for a handler
    try:
        with ExitStack() as stack:
            if serialize:
                stack.enter_context(serialize_messages())
            if shuffle is not None:
                stack.enter_context(shuffled(shuffle))
            result = await main
            leaks = _leaks(home, allow_alive, allow_lost)
    finally:
        for cell in reversed(list(home.cells)):
            cell.die(None)
    if leaks:
        raise LeakError("left over at the end: " + "; ".join(leaks))
    return result


def _leaks(home: Registry, allow_alive: bool, allow_lost: bool) -> list[str]:
    leaks = []
    for cell in home.cells:
        state = cell.state
        if state.pending or state.in_flight or state.queued:
            work = f"{state.pending} unanswered calls, {state.in_flight} running handlers"
            leaks.append(f"{cell.handle!r} with {work}, {state.queued} messages waiting")
        elif not allow_alive:
            leaks.append(f"{cell.handle!r}, which was not stopped")
    if home.letters.lost and not allow_lost:
        leaks.append(f"{home.letters.lost} messages told to the dead, the last one: {home.letters.last_lost}")
    return [*leaks, *filter(None, (thing.leaks() for thing in home.leaky))]


class _Turn:
    """A mailbox that waits for its turn."""

    __slots__ = ("mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox: Mailbox | None = mailbox

    def cancel(self) -> None:
        self.mailbox = None


class _Shuffle:
    """The turn of a mailbox, drawn by lot."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it is to be repeatable
        self._turns: list[_Turn] = []

    def __call__(self, mailbox: Mailbox) -> _Turn:
        turn = _Turn(mailbox)
        # Not to be drawn before a handler that this mailbox has just begun has taken its first step.
        mailbox.loop.call_soon(self._enter, turn, mailbox.loop)
        return turn

    def _enter(self, turn: _Turn, loop: asyncio.AbstractEventLoop) -> None:
        self._turns.append(turn)
        loop.call_soon(self._next)  # as many as there are turns

    def _next(self) -> None:
        mailbox = self._turns.pop(self._random.randrange(len(self._turns))).mailbox
        if mailbox is not None:
            mailbox.context.run(mailbox.drain)


def _round_trip(value: Any) -> Any:
    handles: dict[str, ActorHandle] = {}

    def refer(item: object) -> str | None:
        if not isinstance(item, ActorHandle):
            return None
        urn = item.actor_ref.actor_urn
        handles[urn] = item
        return urn

    return loads(dumps(value, refer=refer), resolve=handles.__getitem__)
