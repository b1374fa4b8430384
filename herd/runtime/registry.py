"""The actors of one event loop: their names by namespace, and what they share."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from threading import get_ident
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from herd.runtime._pykka import ActorRegistry
from herd.runtime.cell import Cell
from herd.runtime.classes import ClassTotals
from herd.runtime.crashes import ends_process
from herd.runtime.dead_letters import DeadLetters
from herd.runtime.handles import ActorHandle
from herd.runtime.incarnation import current
from herd.runtime.mailbox import BURST, Mailbox, Wakeup
from herd.runtime.object_ref import ObjectRef
from herd.runtime.tallies import HOLD_S
from herd.runtime.values import ActorOptions, ActorState, ClassState, Identity
from herd.runtime.waits import Waits, find_cycle

DEFAULT_NAMESPACE = "default"

# Enough to see who died around a failure; some 20 kB.
REMEMBERED_DEAD = 100

# Calls looked at when a time-out asks who waits for whom, some 2 ms of work, and seconds between two such looks: a
# thousand calls that expire together are not to hold the loop.
CALLS_LOOKED_AT = 10_000
LOOK_EVERY_S = 1.0


class Leaky(Protocol):
    """Something that tests want empty at their end."""

    def leaks(self) -> str:
        """What is still held, for a person; empty if nothing is."""


class Registry:
    """What the actors of one loop share. It belongs to the loop, so that loops do not see each other's names."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cells: dict[Cell, None] = {}  # the living, in the order of their start; the runtime's users bound it
        self.dead: deque[ActorState] = deque(maxlen=REMEMBERED_DEAD)
        self.totals = ClassTotals()
        self.thread = get_ident()
        self.letters = DeadLetters(loop.time)
        self.leaky: WeakSet[Leaky] = WeakSet()
        self.random = random.Random()  # noqa: S311 - for jitter; tests seed it
        self.wire: Callable[[Any], Any] | None = None
        self.burst = BURST
        self.hold_limit = HOLD_S
        self.schedule: Callable[[Mailbox], Wakeup] | None = None
        self._loop = loop
        self._looked = -LOOK_EVERY_S
        self._found: Waits[Any] = Waits((), frozenset())
        self._names: dict[tuple[str, str], Cell] = {}
        self._numbers = itertools.count(1)
        self._kept: dict[asyncio.Task[Any], None] = {}

    def find(self, name: str, namespace: str | None) -> Cell | None:
        """The living actor of that name; namespace None is that of the calling actor."""
        return self._names.get((namespace_of(namespace), name))

    def adopt(self, actor: Any, options: ActorOptions) -> Cell:
        """Give `actor`, which is about to start, its identity and its handle.

        Raises:
            ValueError: a living actor of the namespace has the name.
        """
        namespace = namespace_of(options.namespace)
        if options.name is not None and (namespace, options.name) in self._names:
            raise ValueError(f'there is an actor "{options.name}" in the namespace "{namespace}" already')
        identity = Identity(type(actor).__name__, options.name, namespace, next(self._numbers))
        cell: Cell = actor.actor_inbox
        cell.adopt(actor, identity, options, self)
        cell.handle = ActorHandle(cell, actor.actor_ref)
        self.cells[cell] = None
        if options.name is not None:
            self._names[namespace, options.name] = cell
        return cell

    def gone(self, cell: Cell) -> None:
        """`cell` is dead: its name is free."""
        self.cells.pop(cell, None)
        self.dead.append(cell.state)
        self.totals.bury(cell)
        if cell.identity.name is not None:
            self._names.pop((cell.identity.namespace, cell.identity.name), None)

    def class_states(self, namespace: str | None) -> tuple[ClassState, ...]:
        """What the actors of each class do, and have done; namespace None is that of the calling actor."""
        return self.totals.states(self.cells, namespace_of(namespace))

    def keep(self, task: "asyncio.Task[Any]") -> None:
        """Hold a task that nobody else holds until it has ended."""
        self._kept[task] = None
        task.add_done_callback(lambda ended: self._kept.pop(ended, None))

    def collapse(self, error: BaseException) -> None:
        """`error` is to end the process: have all actors stop, the last one first.

        Where the loop goes on, they stop in order; where it does not, they are dead at once, after a `def` on_stop.
        """
        for cell in reversed(list(self.cells)):
            if ends_process(error):
                cell.end_now(error)
            else:
                cell.put(cell.new_stop()[0])

    def name_cycle(self, ref: ObjectRef[Any]) -> str:
        """Which actors wait for one another because of `ref`, as the end of a sentence; empty if none do."""
        now = self._loop.time()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            waits = list(itertools.islice(self._waits(), CALLS_LOOKED_AT))
            self._found = find_cycle(ref.owner, [(waiter, owner) for waiter, owner, _ in waits])
            stuck = {(waiter, owner) for waiter, owner, begun in waits if not begun}
            if not any(pair in stuck for pair in pairwise((*self._found.cycle, *self._found.cycle[:1]))):
                self._found = Waits((), frozenset())  # all of their calls are being worked on
        # Calls within one another share a deadline: what was found for the first of them holds for the others.
        if ref.owner not in self._found.waiters:
            return ""
        cycle = (*self._found.cycle, self._found.cycle[0])
        return ": these wait for one another: " + " -> ".join(cell.label for cell in cycle)

    def _waits(self) -> Iterator[tuple[Any, Any, bool]]:
        """Calls of actors by actors that have not ended: who waits, for whom, and is it being worked on?"""
        for cell in self.cells:
            asked = itertools.chain(cell.running, (entry[0] for entry in cell.waiting or ()), cell.mailbox)
            for item in asked:
                if type(item) is ObjectRef and item.caller is not None and not item.done():
                    yield item.caller, cell, item in cell.running


_registries: WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = WeakKeyDictionary()


def registry() -> Registry:
    """The registry of the running loop. Raises RuntimeError when none runs."""
    loop = asyncio.get_running_loop()
    found = _registries.get(loop)
    if found is None:
        _forget_closed_loops()
        found = _registries[loop] = Registry(loop)
    return found


def _forget_closed_loops() -> None:
    # Actors that were alive when their loop was closed hold it, so it would stay in the table for ever.
    for loop in [loop for loop in _registries if loop.is_closed()]:
        for cell in _registries.pop(loop).cells:
            ActorRegistry.unregister(cell.handle.actor_ref)


def namespace_of(given: str | None) -> str:
    """The namespace that is meant: by default that of the calling actor."""
    if given is not None:
        return given
    cell = current.get()
    return DEFAULT_NAMESPACE if cell is None else cell.identity.namespace
