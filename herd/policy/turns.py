"""Stage 4: whose turn it is in a queue.

- `interactive` goes before `batch`; but while both wait, `BATCH_SHARE` grants are not made without one of them going to
  batch, so that a night's work gets on while people talk.
- Within a class the clients take turns, so that one with a hundred requests does not hold up one with a single one.
- Within a client the oldest goes first. A ticket that was moved or tried before is older than the queue may suggest: it
  keeps its arrival, and so stands before what came to this queue first.
"""

from bisect import bisect_left, insort
from collections import OrderedDict

from herd.policy.values import Ticket
from herd.types import Priority, Seconds

# Of so many grants that are made while both classes wait, one is batch's: routing's own number. A person then waits for
# an eighth of the machine's time more than without batch, and batch gets that eighth.
BATCH_SHARE = 8

# Arrival, and a number that says who of two with the same arrival was here first.
Place = tuple[Seconds, int]


class Turns:
    """Those that wait, and whose turn it is: the order of a queue's `Leases`.

    A step looks up two tables and searches one client's line by halves; none grows with all that wait. (A line is a
    list: to put something into its middle moves a few kilobytes at most.) Clients that nobody waits for are forgotten.
    """

    def __init__(self) -> None:
        self._lines: dict[Priority, OrderedDict[str, list[tuple[Place, str]]]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._places: dict[str, tuple[Ticket, Place]] = {}
        self._came = 0
        self._batch_waits = 0  # interactive grants, since the last to batch, while a batch ticket waited

    def __len__(self) -> int:
        return len(self._places)

    def add(self, ticket: str, claim: Ticket) -> None:
        """`claim` waits from now on, under its id `ticket`; its client, if new here, is last in turn."""
        self._came += 1
        place = (claim.arrived, self._came)
        self._places[ticket] = (claim, place)
        insort(self._lines[claim.priority].setdefault(claim.client, []), (place, ticket))

    def remove(self, ticket: str, *, granted: bool) -> None:
        """A ticket waits no more. Granted, it was its client's turn and its class's; else it is as if it had not come.

        Raises:
            KeyError: it does not wait.
        """
        claim, place = self._places.pop(ticket)
        clients = self._lines[claim.priority]
        line = clients[claim.client]
        del line[bisect_left(line, (place, ticket))]
        if not line:
            del clients[claim.client]
        elif granted:
            clients.move_to_end(claim.client)
        if granted:
            self._count(claim.priority)

    def first(self) -> str:
        """Whose turn it is. Raises StopIteration when nobody waits."""
        interactive, batch = self._lines[Priority.INTERACTIVE], self._lines[Priority.BATCH]
        turn = batch if batch and (not interactive or self._batch_waits >= BATCH_SHARE - 1) else interactive
        return next(iter(turn.values()))[0][1]

    def _count(self, granted: Priority) -> None:
        """What batch has coming. It stays while no batch ticket waits, for one that gives up and comes again."""
        if granted is Priority.BATCH:
            self._batch_waits = 0
        elif self._lines[Priority.BATCH]:
            self._batch_waits += 1
