"""The Store: the one actor that reads and writes the router's database."""

import logging
from collections.abc import Callable

from herd.store.database import Database, KnownNode, KnownOrders, KnownSlot, Pin, StoreError
from herd.store.executor import Executor
from herd.types import NodeId

logger = logging.getLogger(__name__)


class Store:
    """Owns the only SQLite connection. A write that fails is logged, and the router goes on without it.

    Args:
        open_database: opens the file; called through the executor.
        executor: runs what blocks, in order.
    """

    def __init__(self, open_database: Callable[[], Database], executor: Executor) -> None:
        self._open_database = open_database
        self._executor = executor
        self._database: Database | None = None

    async def on_stop(self) -> None:
        """Close the file: what was recorded before is in it."""
        if self._database is not None:
            await self._executor.run(self._database.close)
        self._executor.close()

    async def on_failure(self, *_crash: object) -> None:
        """Close the file; the next incarnation opens it."""
        if self._database is not None:
            await self._executor.run(self._database.close)

    async def _opened(self) -> Database:
        """The database, opened when it is first needed. Raises StoreError."""
        if self._database is None:
            self._database = await self._executor.run(self._open_database)
        return self._database

    async def load(self) -> tuple[KnownNode, ...]:
        """Open the database, and say what is known of the fleet. Raises StoreError."""
        database = await self._opened()
        return await self._executor.run(database.known_nodes)

    async def record(self, node: KnownNode) -> None:
        """Remember a node."""
        try:
            database = await self._opened()
            await self._executor.run(lambda: database.remember(node))
        except StoreError as error:
            logger.error("%s was not remembered: %s", node.name, error)  # noqa: TRY400 - the sentence says it all

    async def orders(self, node: NodeId) -> KnownOrders | None:
        """What a node was told by hand; None too when it cannot be read."""
        try:
            database = await self._opened()
            return await self._executor.run(lambda: database.orders(node))
        except StoreError as error:
            logger.error("what %s was told by hand is not known: %s", node, error)  # noqa: TRY400 - it says it all
            return None

    async def record_orders(self, orders: KnownOrders) -> None:
        """Remember what a node was told by hand."""
        try:
            database = await self._opened()
            await self._executor.run(lambda: database.remember_orders(orders))
        except StoreError as error:
            logger.error("what %s was told was not remembered: %s", orders.node, error)  # noqa: TRY400 - the same

    async def pins(self) -> tuple[Pin, ...]:
        """The models that shall stay loaded. Raises StoreError."""
        database = await self._opened()
        return await self._executor.run(database.pins)

    async def pin(self, pin: Pin) -> None:
        """Remember that a model shall stay loaded, and where."""
        try:
            database = await self._opened()
            await self._executor.run(lambda: database.pin(pin))
        except StoreError as error:
            logger.error("the pin of %s was not remembered: %s", pin.model, error)  # noqa: TRY400 - as above

    async def unpin(self, model: str) -> None:
        """Forget a pin."""
        try:
            database = await self._opened()
            await self._executor.run(lambda: database.unpin(model))
        except StoreError as error:
            logger.error("the pin of %s was not forgotten: %s", model, error)  # noqa: TRY400 - as above

    async def slots(self) -> tuple[KnownSlot, ...]:
        """What was learned of the owners' weeks."""
        database = await self._opened()
        return await self._executor.run(database.slots)

    async def record_slots(self, slots: tuple[KnownSlot, ...]) -> None:
        """Remember what was learned of the owners' weeks."""
        try:
            database = await self._opened()
            await self._executor.run(lambda: database.remember_slots(slots))
        except StoreError as error:
            logger.error("the owners' hours were not remembered: %s", error)  # noqa: TRY400 - as above
