"""What all actors of a class have done together: single actors come and go, and take with them what they counted.

Nothing is counted for this that actors do not count anyway, and it is added up when somebody asks, or an actor dies.
"""

from collections.abc import Iterable

from herd.runtime.incarnation import Incarnation
from herd.runtime.values import ClassState


class ClassTotals:
    """By namespace and class, what its dead actors have done. There are as many entries as the program has classes."""

    def __init__(self) -> None:
        self._dead: dict[tuple[str, str], _Sum] = {}

    def bury(self, cell: Incarnation) -> None:
        """An actor is dead."""
        key = (cell.identity.namespace, cell.identity.class_name)
        total = self._dead.get(key)
        if total is None:
            total = self._dead[key] = _Sum()
        total.add(cell)

    def states(self, living: Iterable[Incarnation], namespace: str) -> tuple[ClassState, ...]:
        """Every class of a namespace, by its name.

        Args:
            living: all actors of the loop.
            namespace: of the actors that count.
        """
        sums = {name: total.copy() for (where, name), total in self._dead.items() if where == namespace}
        for cell in living:
            identity = cell.identity
            if identity.namespace != namespace:
                continue
            total = sums.get(identity.class_name)
            if total is None:
                total = sums[identity.class_name] = _Sum()
            total.add(cell)
            total.lives(cell)
        return tuple(sums[name].state(name) for name in sorted(sums))


class _Sum:
    __slots__ = ("failed", "in_flight", "living", "longest", "oldest", "processed", "queued", "restarts", "seconds")

    def __init__(self) -> None:
        self.living = self.queued = self.in_flight = self.processed = self.failed = self.restarts = 0
        self.oldest = self.seconds = self.longest = 0.0

    def add(self, cell: Incarnation) -> None:
        """What it has done."""
        self.restarts += cell.restarts
        for tally in cell.tallies.values():
            self.processed += tally.processed
            self.failed += tally.failed
            self.seconds += tally.seconds
            self.longest = max(self.longest, tally.longest)

    def lives(self, cell: Incarnation) -> None:
        """How it stands."""
        self.living += 1
        self.queued += len(cell.mailbox) + len(cell.waiting or ())
        self.in_flight += len(cell.running)
        self.oldest = max(self.oldest, cell.age_of_oldest())

    def copy(self) -> "_Sum":
        """Of dead actors: there is nothing that waits or runs."""
        copied = _Sum()
        copied.restarts, copied.processed, copied.failed = self.restarts, self.processed, self.failed
        copied.seconds, copied.longest = self.seconds, self.longest
        return copied

    def state(self, class_name: str) -> ClassState:
        return ClassState(
            class_name,
            self.living,
            self.queued,
            self.in_flight,
            self.oldest,
            self.processed,
            self.failed,
            self.seconds,
            self.longest,
            self.restarts,
        )
