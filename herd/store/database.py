"""The router's SQLite file, and the few things that are done with it. Blocking: called through an `Executor`."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import sqlite_utils

from herd.errors import HerdError
from herd.store.opening import UNSOUND, afresh, damaged, opened, told_in
from herd.store.records import KnownNode, KnownOrders, KnownTrace, NodeMemory, Pin, Record
from herd.store.tables import DAY_S, KEYED, LIMITS, TABLES, TRACES, Table
from herd.types import NodeId, NodeName, Seconds

logger = logging.getLogger(__name__)

DATABASE = "herd.db"  # in a router's data directory

T = TypeVar("T")
R = TypeVar("R")

# As many as a Fleet takes in: beyond, the ones not seen for longest are forgotten.
MAX_NODES = 1024
# A machine that was not switched on for a year is gone. What people said is said anew each time its node joins.
NODES_S = Seconds(365 * DAY_S)
# Traces that one call forgets, in some tens of milliseconds: a person's order may wait behind it.
SLICE = 1024

# A value that SQLite will not have: no number, a number beyond 64 bits, half a character.
UNFIT = (sqlite3.IntegrityError, OverflowError, UnicodeEncodeError)


class StoreError(HerdError):
    """The database cannot be read or written: disk full, no permission."""


class Database:
    """The router's database. Used from one thread at a time.

    A file that turns out to be damaged while it is in use is set aside, and what was to be done is done to a new one.
    What people said is taken over into that as far as it can be read: it is not learned again by itself.

    Args:
        path: the file; None for one in memory, which ends with the process.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        with _errors():
            self._db = opened(path)

    def _do(self, work: Callable[[sqlite_utils.Database], T]) -> T:
        with _errors():
            try:
                return work(self._db)
            except UNSOUND as error:
                if self._path is None or not damaged(error):
                    raise
                told = told_in(self._db.conn)
                self._db.close()
                self._db = afresh(self._path, error, told)
                return work(self._db)

    # --- in batches ---------------------------------------------------------------------------------------------------

    def save(self, records: Iterable[Record]) -> None:
        """Store records, each in place of what was known under its key: all of them, or none."""
        batch = tuple(records)
        self._do(lambda db: _save(db, batch))

    def all(self, kind: type[R]) -> tuple[R, ...]:
        """Every record of a kind that has a key, by age: the latest last."""
        table = TABLES[kind]
        order = ", ".join((table.time, *table.key))
        sql = f'select {table.names} from "{table.name}" order by {order}'  # noqa: S608 - constants
        return self._do(lambda db: tuple(table.records(db.execute(sql))))

    def node(self, node: NodeId) -> NodeMemory:
        """What one node begins with."""
        sql = f"select {LIMITS.names} from limits where node = ?"  # noqa: S608 - constants
        limits = self._do(lambda db: tuple(LIMITS.records(db.execute(sql, [node]))))
        return NodeMemory(self.orders(node), limits)

    def traces(self, limit: int) -> tuple[KnownTrace, ...]:
        """At most so many, those of the requests that ended last; the latest last."""
        sql = f"select {TRACES.names} from traces order by number desc limit ?"  # noqa: S608 - constants
        return self._do(lambda db: tuple(TRACES.records(db.execute(sql, [limit]))))[::-1]

    def trace(self, request_id: str) -> KnownTrace | None:
        """That of the latest request with this id."""
        sql = f"select {TRACES.names} from traces where id = ? order by number desc limit 1"  # noqa: S608 - constants
        return self._do(lambda db: next(TRACES.records(db.execute(sql, [request_id])), None))

    def prune(self, now: Seconds) -> bool:
        """Forget what is too old, and what is too much; True when there is more of it than one call takes.

        Args:
            now: wall clock.
        """
        return self._do(lambda db: _prune(db, now))

    # --- nodes --------------------------------------------------------------------------------------------------------

    def known_nodes(self) -> tuple[KnownNode, ...]:
        """Every node that was remembered, by id."""
        return self._do(_known_nodes)

    # --- what people said: at once ------------------------------------------------------------------------------------

    def orders(self, node: NodeId) -> KnownOrders | None:
        """What a node was told; None when nothing is in force."""
        rows = self._do(lambda db: list(db.table("orders").rows_where("node = ?", [node])))
        names = ("given", "drained", "paused", "until")
        return KnownOrders(node, *(rows[0][name] for name in names)) if rows else None

    def remember_orders(self, orders: KnownOrders) -> None:
        """Store what a node was told in place of what it was told before; nothing in force needs no place."""

        def work(db: sqlite_utils.Database) -> None:
            with db.atomic():
                if orders.drained is None and orders.paused is None:
                    db.table("orders").delete_where("node = ?", [orders.node])
                    return
                db.table("orders").upsert(asdict(orders), pk="node")
                kept = "select node from orders order by given desc, node limit ?"
                db.execute(f"delete from orders where node not in ({kept})", [MAX_NODES])  # noqa: S608 - constant

        self._do(work)

    def pins(self) -> tuple[Pin, ...]:
        """Every pinned model, by name."""
        rows = self._do(lambda db: list(db.table("pins").rows_where(order_by="model")))
        return tuple(Pin(row["model"], NodeId(row["node"])) for row in rows)

    def pin(self, pin: Pin) -> None:
        """Store a pin in place of what was known of it."""
        self._do(lambda db: db.table("pins").upsert({"model": pin.model, "node": pin.node}, pk="model"))

    def unpin(self, model: str) -> None:
        """Forget a pin, if there is one."""

        def work(db: sqlite_utils.Database) -> None:
            with db.atomic():
                db.table("pins").delete_where("model = ?", [model])

        self._do(work)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _save(db: sqlite_utils.Database, batch: tuple[Record, ...]) -> None:
    try:
        _save_all(db, batch)
    except UNFIT as error:  # which shall not take the others with it
        logger.error("something that was learned cannot be stored (%s): it is left out", error)  # noqa: TRY400
        with db.atomic():
            for record in batch:
                with suppress(*UNFIT):
                    _save_all(db, (record,))


def _save_all(db: sqlite_utils.Database, batch: tuple[Record, ...]) -> None:
    rows: dict[Table, list[tuple[object, ...]]] = {}
    with db.atomic():
        for record in batch:
            if isinstance(record, KnownNode):
                _save_node(db, record)
            else:
                table = TABLES[type(record)]
                rows.setdefault(table, []).append(table.values(record))
        for table, values in rows.items():
            db.conn.executemany(table.insert, values)


def _save_node(db: sqlite_utils.Database, node: KnownNode) -> None:
    db.table("nodes").upsert({"id": node.id, "name": node.name, "seen": node.seen}, pk="id")
    db.table("models").delete_where("node = ?", [node.id])
    db.table("models").insert_all({"node": node.id, "model": model} for model in node.models)
    kept = "select id from nodes order by seen desc, id limit ?"
    db.execute(f"delete from models where node not in ({kept})", [MAX_NODES])  # noqa: S608 - constant
    db.execute(f"delete from nodes where id not in ({kept})", [MAX_NODES])  # noqa: S608 - constant


def _known_nodes(db: sqlite_utils.Database) -> tuple[KnownNode, ...]:
    models: dict[str, list[str]] = {}
    for row in db.table("models").rows_where(order_by="node, model"):
        models.setdefault(row["node"], []).append(row["model"])
    return tuple(
        KnownNode(NodeId(row["id"]), NodeName(row["name"]), tuple(models.get(row["id"], ())), Seconds(row["seen"]))
        for row in db.table("nodes").rows_where(order_by="id")
    )


def _prune(db: sqlite_utils.Database, now: Seconds) -> bool:
    with db.atomic():
        for table in KEYED:
            db.execute(f"delete from {table.name} where {table.time} < ?", [now - table.age])  # noqa: S608 - constants
            (count,) = db.execute(f"select count(*) from {table.name}").fetchone()  # noqa: S608 - constants
            key = ", ".join(table.key)
            oldest = f"select {key} from {table.name} order by {table.time}, {key} limit ?"  # noqa: S608 - constants
            if count > table.rows:
                db.execute(f"delete from {table.name} where ({key}) in ({oldest})", [count - table.rows])  # noqa: S608
        db.execute("delete from orders where given < ?", [now - NODES_S])
        db.execute("delete from nodes where seen < ?", [now - NODES_S])
        db.execute("delete from models where node not in (select id from nodes)")
        return _prune_traces(db, now) >= SLICE


def _prune_traces(db: sqlite_utils.Database, now: Seconds) -> int:
    """Of the oldest, those that are too many or too old; at most a slice of them.

    What is of a time that has not come stays: a machine without a battery for its clock begins in the past.
    """
    first, last = db.execute("select min(number), max(number) from traces").fetchone()
    if first is None:
        return 0
    sql = "delete from traces where number < ? and (number <= ? or arrived < ?)"
    bounds = (first + SLICE, last - TRACES.rows, now - TRACES.age)
    return db.execute(sql, bounds).rowcount


@contextmanager
def _errors() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except (sqlite3.Error, OSError, *UNFIT) as error:
        raise StoreError(f"the database failed: {error}") from error
