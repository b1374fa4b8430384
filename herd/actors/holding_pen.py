"""The HoldingPen: requests for which no node qualifies now wait here for a change of the fleet, never by polling."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from herd.actors.tables import keep_latest
from herd.policy.values import Ticket
from herd.types import Bytes, MiB, Seconds, TicketId

# What a router on a small machine can keep in memory while it waits for a node: bodies beyond 1 MiB lie in files.
MAX_HELD = 1024
MAX_HELD_BYTES = 256 * MiB
# Models whose latest unlocking is remembered. It matters for the time of one message only: the oldest may go.
MAX_MODELS = 65_536
# Whom one place that came free is offered to, one after the other, until somebody can use it. Each costs a placement.
MAX_OFFERS = 64


@dataclass(frozen=True, slots=True)
class Hold:
    """A request that wants to be held."""

    ticket: Ticket
    models: tuple[str, ...]  # canonical names, each once: a node that can serve any of them will do
    version: int  # of the fleet when no node qualified
    size: Bytes  # of its body
    wait: Seconds  # at most


class HoldEnd(StrEnum):
    """Why a request is held no longer."""

    UNLOCKED = "unlocked"  # a node that can serve a model of its is there: it is worth placing again
    EXPIRED = "expired"  # the time is over
    FULL = "full"  # there was no room for it
    CLOSED = "closed"  # the router is shutting down


@dataclass(frozen=True, slots=True)
class _Offer:
    """A request was woken; it has taken no place yet, as far as is known."""

    model: str
    behind: tuple[Seconds, TicketId]  # whoever is next comes behind it
    left: int  # so many more may be woken for the same place


class _Held:
    """A request in the pen."""

    __slots__ = ("arrived", "woken")

    def __init__(self, arrived: Seconds, woken: asyncio.Future[HoldEnd]) -> None:
        self.arrived = arrived
        self.woken = woken


class HoldingPen:
    """Owns the requests that wait for a node, by model and in order of arrival at the router. One that several models
    would do for waits among those of each.

    Requests for one model differ in what they need. One that was woken and is back, or has gone, has left what woke it
    to others: the next one behind it is woken in its stead.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[TicketId, _Held]] = {}
        self._count = 0
        self._bytes = 0
        self._unlocked: dict[str, int] = {}  # model -> version of the fleet at its latest unlocking
        self._offers: dict[TicketId, _Offer] = {}  # by those who were woken, the latest last
        self._closed = False

    async def hold(self, hold: Hold) -> HoldEnd:
        """Wait for a change that unlocks one of the models."""
        self.passed(hold.ticket.id)
        if self._closed:
            return HoldEnd.CLOSED
        if any(self._unlocked.get(model, -1) > hold.version for model in hold.models):
            return HoldEnd.UNLOCKED  # it happened while this message was under way
        if self._count >= MAX_HELD or self._bytes + hold.size > MAX_HELD_BYTES:
            return HoldEnd.FULL
        held = _Held(hold.ticket.arrived, asyncio.get_running_loop().create_future())
        self._enter(hold, held)
        try:
            async with asyncio.timeout(hold.wait):
                return await held.woken
        except TimeoutError:
            return HoldEnd.EXPIRED
        finally:
            self._leave(hold)

    def _enter(self, hold: Hold, held: _Held) -> None:
        for model in hold.models:
            waiting = self._held.setdefault(model, {})
            last = next(reversed(waiting.values()), None)
            waiting[hold.ticket.id] = held
            if last is not None and held.arrived < last.arrived:  # it was woken in vain, and has its old place again
                self._held[model] = dict(sorted(waiting.items(), key=lambda item: item[1].arrived))
        self._count += 1
        self._bytes += hold.size

    def _leave(self, hold: Hold) -> None:
        for model in hold.models:
            waiting = self._held[model]
            del waiting[hold.ticket.id]
            if not waiting:
                del self._held[model]
        self._count -= 1
        self._bytes -= hold.size

    def unlocked(self, models: tuple[tuple[str, int], ...], version: int) -> None:
        """Nodes may have room for so many requests for each of these models: wake those that came first."""
        for model, count in models:
            self._unlocked.pop(model, None)
            self._unlocked[model] = version  # the latest last
            keep_latest(self._unlocked, MAX_MODELS)
            asleep = ((ticket, held) for ticket, held in self._held.get(model, {}).items() if not held.woken.done())
            for ticket, held in list(islice(asleep, count)):
                self._wake(model, ticket, held, MAX_OFFERS - 1)

    def passed(self, ticket: TicketId, taken: str = "") -> None:
        """The request, if it was woken, could not use that, has left, or has `taken` another model. Idempotent."""
        offer = self._offers.pop(ticket, None)
        if offer is None or not offer.left or offer.model == taken:
            return
        behind = [
            (held.arrived, other)
            for other, held in self._held.get(offer.model, {}).items()
            if not held.woken.done() and (held.arrived, other) > offer.behind
        ]
        if behind:
            _, heir = min(behind)
            self._wake(offer.model, heir, self._held[offer.model][heir], offer.left - 1)

    def _wake(self, model: str, ticket: TicketId, held: _Held, left: int) -> None:
        held.woken.set_result(HoldEnd.UNLOCKED)
        self._offers[ticket] = _Offer(model, (held.arrived, ticket), left)
        keep_latest(self._offers, MAX_HELD)

    def close(self) -> None:
        """No node will come any more: the router is shutting down. Whoever waits, or wants to, is told so at once."""
        self._closed = True
        for waiting in self._held.values():
            for held in waiting.values():
                if not held.woken.done():
                    held.woken.set_result(HoldEnd.CLOSED)

    def held(self) -> dict[str, int]:
        """How many requests are held, by model; one that waits for several is counted for each."""
        return {model: len(waiting) for model, waiting in self._held.items()}

    def count(self) -> int:
        """Requests held."""
        return self._count
