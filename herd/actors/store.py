"""The Store: the one actor that reads and writes the router's database.

What is learned is written in batches, at most half a second after the first record of a batch; what a person said is
written before the person has an answer.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import TypeVar

from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.runtime import Timer, context
from herd.store.database import Database, StoreError
from herd.store.executor import Executor
from herd.store.records import (
    KnownCalibration,
    KnownEstimate,
    KnownKeep,
    KnownNode,
    KnownOrders,
    KnownResidency,
    KnownService,
    KnownSlot,
    KnownTrace,
    KnownUnload,
    NodeMemory,
    Pin,
    Record,
)
from herd.store.tables import TABLES
from herd.types import NodeId, Seconds

logger = logging.getLogger(__name__)

T = TypeVar("T")

# With the time that the write itself takes, what a sudden end takes with it is of the last second.
FLUSH_S = 0.5
# A disk that is full, or gone, is not back in a moment.
RETRY_S = 30.0
# Records that wait for the disk: of a busy fleet that answers 50 requests a second, the traces of more than two minutes
# beside all that it knows. Some 8 MB.
MAX_UNSAVED = 8192

# Old records are looked for soon after the start, for a router may have been away for long, but not during it; then
# once in an hour, or when so many were written that a bound may be passed.
FIRST_PRUNE_S, PRUNE_S = 60.0, 3600.0
PRUNE_AFTER = 4096


class Store:
    """Owns the only SQLite connection. A write that fails is logged, and the router goes on without it.

    Args:
        open_database: opens the file; called through the executor.
        executor: runs what blocks, in order.
        clock: says what is old.
    """

    def __init__(self, open_database: Callable[[], Database], executor: Executor, clock: Clock) -> None:
        self._open_database = open_database
        self._executor = executor
        self._clock = clock
        self._database: Database | None = None
        self._unsaved: dict[Hashable, Record] = {}  # of each key the latest record
        self._saving: dict[Hashable, Record] = {}  # the batch under way; emptied once it is in the file
        self._one_at_a_time = asyncio.Lock()  # batches
        self._flush: Timer | None = None
        self._trouble = False  # the latest batch could not be written
        self._numbers = itertools.count()
        self._written = 0  # records since the latest prune

    def on_start(self) -> None:
        """Look for old records, soon."""
        context(self).after(FIRST_PRUNE_S, self._prune_hourly)

    async def on_stop(self) -> None:
        """Write what is not written yet, and close the file."""
        await self.on_failure()
        self._executor.close()

    async def on_failure(self, *_crash: object) -> None:
        """The same; the next incarnation opens it."""
        for batch in (self._saving, self._unsaved):  # of a batch that was under way the writer knows whether it is done
            await self._write(batch)
        if self._database is not None:
            await self._executor.run(self._database.close)

    def _opened(self) -> Database:
        """The database, opened when it is first needed. Runs in the executor."""
        if self._database is None:
            self._database = self._open_database()
        return self._database

    async def _do(self, work: Callable[[Database], T]) -> T:
        """Raises StoreError."""
        return await self._executor.run(lambda: work(self._opened()))

    # --- what is learned ----------------------------------------------------------------------------------------------

    def record(self, *records: Record) -> None:
        """Remember what was learned, each in place of what was known under its key."""
        for record in records:
            key = self._key(record)
            self._unsaved.pop(key, None)
            self._unsaved[key] = record
        keep_latest(self._unsaved, MAX_UNSAVED)
        self._flush_soon()

    def record_slots(self, slots: tuple[KnownSlot, ...]) -> None:
        """Remember what owners do at hours of the week."""
        self.record(*slots)

    def _key(self, record: Record) -> Hashable:
        if isinstance(record, KnownNode):
            return "nodes", record.id
        table = TABLES[type(record)]
        if not table.key:
            return table.name, next(self._numbers)
        return table.name, *[getattr(record, name) for name in table.key]

    def _flush_soon(self) -> None:
        if self._flush is None and self._unsaved:
            wait = RETRY_S if self._trouble else FLUSH_S
            self._flush = context(self).after(wait, self._flush_now)

    async def _flush_now(self) -> None:
        """Write all that waits; what cannot be written waits on."""
        async with self._one_at_a_time:
            if self._flush is not None:
                self._flush.cancel()
                self._flush = None
            self._saving, self._unsaved = self._unsaved, {}
            written = len(self._saving)
            await self._write(self._saving)
            if self._saving:
                older = {key: record for key, record in self._saving.items() if key not in self._unsaved}
                self._unsaved = older | self._unsaved
                self._saving = {}
                keep_latest(self._unsaved, MAX_UNSAVED)
                written = 0
            self._flush_soon()
        self._written += written
        if self._written >= PRUNE_AFTER:
            await self._prune()

    async def _write(self, batch: dict[Hashable, Record]) -> None:
        """Write a batch, and empty it."""
        if not batch:
            return
        try:
            await self._do(partial(_save, batch))
        except StoreError as error:
            if not self._trouble:
                logger.error(  # noqa: TRY400 - the sentence says it all
                    "what is learned cannot be written: %s; the router goes on, and tries again every %.0f s",
                    error,
                    RETRY_S,
                )
            self._trouble = True
            return
        if self._trouble:
            logger.info("what is learned can be written again")
        self._trouble = False

    async def _prune_hourly(self) -> None:
        context(self).after(PRUNE_S, self._prune_hourly)
        await self._prune()

    async def _prune(self) -> None:
        """Forget what is old, in slices: a person's order may come in between."""
        self._written = 0
        try:
            while await self._do(lambda database: database.prune(Seconds(self._clock.wall()))):
                pass
        except StoreError as error:
            logger.error("what is old was not forgotten: %s", error)  # noqa: TRY400 - the sentence says it all

    async def _recall(self, what: str, work: Callable[[Database], tuple[T, ...]]) -> tuple[T, ...]:
        """What is known, that of the last moment included; nothing when it cannot be read."""
        await self._flush_now()
        try:
            return await self._do(work)
        except StoreError as error:
            logger.error("%s cannot be recalled: %s", what, error)  # noqa: TRY400 - the sentence says it all
            return ()

    async def load(self) -> tuple[KnownNode, ...]:
        """Open the database, and say what is known of the fleet. Raises StoreError."""
        await self._flush_now()
        return await self._do(Database.known_nodes)

    async def estimates(self) -> tuple[KnownEstimate, ...]:
        """How fast models run on nodes, and how long their answers are."""
        return await self._recall("how fast models are", lambda database: database.all(KnownEstimate))

    async def calibrations(self) -> tuple[KnownCalibration, ...]:
        """How predictions came true, the latest last."""
        return await self._recall("how predictions came true", lambda database: database.all(KnownCalibration))

    async def residencies(self) -> tuple[KnownResidency, ...]:
        """What models take in memory."""
        return await self._recall("what models take", lambda database: database.all(KnownResidency))

    async def unloads(self) -> tuple[KnownUnload, ...]:
        """When models last left the memory of nodes."""
        return await self._recall("which models were unloaded", lambda database: database.all(KnownUnload))

    async def services(self) -> tuple[KnownService, ...]:
        """How often nodes have served models."""
        return await self._recall("who served what", lambda database: database.all(KnownService))

    async def keeps(self) -> tuple[KnownKeep, ...]:
        """Which nodes were told to keep which models, the latest last."""
        return await self._recall("what nodes keep loaded", lambda database: database.all(KnownKeep))

    async def slots(self) -> tuple[KnownSlot, ...]:
        """What owners do at hours of the week."""
        return await self._recall("the habits of owners", lambda database: database.all(KnownSlot))

    async def traces(self, limit: int) -> tuple[KnownTrace, ...]:
        """What became of the latest requests, the latest last."""
        return await self._recall("what became of requests", lambda database: database.traces(limit))

    async def trace(self, request_id: str) -> KnownTrace | None:
        """What became of the latest request with this id; None too when it cannot be read."""
        found: tuple[KnownTrace | None, ...] = await self._recall(
            "what became of requests", lambda database: (database.trace(request_id),)
        )
        return found[0] if found else None

    # --- what people say ----------------------------------------------------------------------------------------------

    async def node(self, node: NodeId) -> NodeMemory:
        """What a node begins with: what it was told by hand, and what it was found to run at once.

        Not after a batch, as others: requests may be on their way to a node that has just joined.
        """
        try:
            return await self._do(lambda database: database.node(node))
        except StoreError as error:
            logger.error("what %s was told by hand is not known: %s", node, error)  # noqa: TRY400 - it says it all
            return NodeMemory()

    async def record_orders(self, orders: KnownOrders) -> None:
        """Remember what a node was told by hand."""
        try:
            await self._do(lambda database: database.remember_orders(orders))
        except StoreError as error:
            logger.error("what %s was told was not remembered: %s", orders.node, error)  # noqa: TRY400 - the same

    async def pins(self) -> tuple[Pin, ...]:
        """The models that shall stay loaded. Raises StoreError."""
        return await self._do(Database.pins)

    async def pin(self, pin: Pin) -> None:
        """Remember that a model shall stay loaded, and where."""
        try:
            await self._do(lambda database: database.pin(pin))
        except StoreError as error:
            logger.error("the pin of %s was not remembered: %s", pin.model, error)  # noqa: TRY400 - as above

    async def unpin(self, model: str) -> None:
        """Forget a pin."""
        try:
            await self._do(lambda database: database.unpin(model))
        except StoreError as error:
            logger.error("the pin of %s was not forgotten: %s", model, error)  # noqa: TRY400 - as above


def _save(batch: dict[Hashable, Record], database: Database) -> None:
    """In the executor, where nobody else has the batch in hand: in the file, or still here."""
    database.save(batch.values())
    batch.clear()
