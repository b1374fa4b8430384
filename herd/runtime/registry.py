"""The actors of one event loop: their names by namespace, and the messages that reached nobody."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from herd.runtime._pykka import ActorRegistry
from herd.runtime.cell import Cell, current
from herd.runtime.handles import ActorHandle
from herd.runtime.values import ActorOptions, ActorState, Identity

log = logging.getLogger("herd.runtime")

DEFAULT_NAMESPACE = "default"

# Enough to see who died around a failure; some 20 kB.
REMEMBERED_DEAD = 100


class Registry:
    """What the actors of one loop share. It belongs to the loop, so that loops do not see each other's names."""

    def __init__(self) -> None:
        self.cells: dict[Cell, None] = {}  # the living, in the order of their start; the runtime's users bound it
        self.dead: deque[ActorState] = deque(maxlen=REMEMBERED_DEAD)
        self.dead_letters = 0
        self.wire: Callable[[Any], Any] | None = None
        self._names: dict[tuple[str, str], Cell] = {}
        self._numbers = itertools.count(1)
        self._hooks: dict[asyncio.Task[None], None] = {}

    def find(self, name: str, namespace: str | None) -> Cell | None:
        """The living actor of that name; namespace None is that of the calling actor."""
        return self._names.get((_namespace(namespace), name))

    def adopt(self, actor: Any, options: ActorOptions) -> Cell:
        """Give `actor`, which is about to start, its identity and its handle.

        Raises:
            ValueError: a living actor of the namespace has the name.
        """
        namespace = _namespace(options.namespace)
        identity = Identity(type(actor).__name__, options.name, namespace, next(self._numbers))
        if options.name is not None and (namespace, options.name) in self._names:
            raise ValueError(f'there is an actor "{options.name}" in the namespace "{namespace}" already')
        cell: Cell = actor.actor_inbox
        cell.adopt(actor, identity, options, self)
        cell.handle = ActorHandle(cell, actor.actor_ref)
        self.cells[cell] = None
        if options.name is not None:
            self._names[namespace, options.name] = cell
        return cell

    def gone(self, cell: Cell, actor: Any) -> None:
        """`cell` is dead: its name is free, and Pykka is told."""
        self.cells.pop(cell, None)
        self.dead.append(cell.state)
        if cell.identity.name is not None:
            self._names.pop((cell.identity.namespace, cell.identity.name), None)
        actor.actor_stopped.set()
        ActorRegistry.unregister(actor.actor_ref)

    def keep(self, task: "asyncio.Task[None]") -> None:
        """Hold the task of a dead actor's last hook until it has ended."""
        self._hooks[task] = None
        task.add_done_callback(lambda ended: self._hooks.pop(ended, None))

    def dead_letter(self, actor: str, message: str) -> None:
        """Count a message that was told to a dead actor."""
        self.dead_letters += 1
        # Logged at powers of two: the first is seen, and a flood is a handful of lines.
        if self.dead_letters & (self.dead_letters - 1) == 0:
            log.warning("dead letter number %d: %s, which is dead: %s", self.dead_letters, actor, message)


_registries: WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = WeakKeyDictionary()


def registry() -> Registry:
    """The registry of the running loop. Raises RuntimeError when none runs."""
    loop = asyncio.get_running_loop()
    found = _registries.get(loop)
    if found is None:
        _forget_closed_loops()
        found = _registries[loop] = Registry()
    return found


def _forget_closed_loops() -> None:
    # Actors that were alive when their loop was closed hold it, so it would stay in the table for ever.
    for loop in [loop for loop in _registries if loop.is_closed()]:
        for cell in _registries.pop(loop).cells:
            ActorRegistry.unregister(cell.handle.actor_ref)


def _namespace(given: str | None) -> str:
    if given is not None:
        return given
    cell = current.get()
    return DEFAULT_NAMESPACE if cell is None else cell.identity.namespace
