"""The SQLite file: its schema, and the few things that are done with it. Blocking: called through an `Executor`."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlite_utils

from herd.errors import HerdError
from herd.store.schema import MIGRATIONS, STEPS
from herd.types import NodeId, NodeName, Seconds

logger = logging.getLogger(__name__)

# As many as a Fleet takes in: beyond, the ones not seen for longest are forgotten.
MAX_NODES = 1024


class StoreError(HerdError):
    """The database cannot be read or written: disk full, no permission, file damaged."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node that the router has met, and what it had."""

    id: NodeId
    name: NodeName
    models: tuple[str, ...]  # canonical names
    seen: Seconds  # wall clock


@dataclass(frozen=True, slots=True)
class KnownOrders:
    """What a node was told by hand, and is in force. Times are wall clock; None: it was not, or there is no end."""

    node: NodeId
    given: Seconds  # the latest of it
    drained: Seconds | None
    paused: Seconds | None
    until: Seconds | None


@dataclass(frozen=True, slots=True)
class Pin:
    """A model that shall stay loaded."""

    model: str  # canonical name
    node: NodeId  # its home; empty while it has none


@dataclass(frozen=True, slots=True)
class KnownSlot:
    """What was seen of one hour of a node's week: its owner's load."""

    node: NodeId
    slot: int
    mean: float
    spread: float
    weight: float
    at: Seconds  # wall clock


class Database:
    """The router's database. Used from one thread at a time.

    Args:
        path: the file; None for one in memory, which ends with the process.
    """

    def __init__(self, path: Path | None) -> None:
        with _errors():
            self._db = _opened(path)

    def known_nodes(self) -> tuple[KnownNode, ...]:
        """Every node that was remembered, by id."""
        with _errors():
            models: dict[str, list[str]] = {}
            for row in self._db.table("models").rows_where(order_by="node, model"):
                models.setdefault(row["node"], []).append(row["model"])
            return tuple(
                KnownNode(
                    NodeId(row["id"]),
                    NodeName(row["name"]),
                    tuple(models.get(row["id"], ())),
                    Seconds(row["seen"]),
                )
                for row in self._db.table("nodes").rows_where(order_by="id")
            )

    def remember(self, node: KnownNode) -> None:
        """Store a node in place of what was known of it."""
        with _errors(), self._db.atomic():
            self._db.table("nodes").upsert({"id": node.id, "name": node.name, "seen": node.seen}, pk="id")
            self._db.table("models").delete_where("node = ?", [node.id])
            self._db.table("models").insert_all({"node": node.id, "model": model} for model in node.models)
            kept = "select id from nodes order by seen desc, id limit ?"
            self._db.execute(f"delete from models where node not in ({kept})", [MAX_NODES])  # noqa: S608 - constant
            self._db.execute(f"delete from nodes where id not in ({kept})", [MAX_NODES])  # noqa: S608 - constant

    def orders(self, node: NodeId) -> KnownOrders | None:
        """What a node was told; None when nothing is in force."""
        with _errors():
            for row in self._db.table("orders").rows_where("node = ?", [node]):
                return KnownOrders(node, *(row[name] for name in ("given", "drained", "paused", "until")))
            return None

    def remember_orders(self, orders: KnownOrders) -> None:
        """Store what a node was told in place of what it was told before; nothing in force needs no place."""
        with _errors(), self._db.atomic():
            if orders.drained is None and orders.paused is None:
                self._db.table("orders").delete_where("node = ?", [orders.node])
                return
            self._db.table("orders").upsert(asdict(orders), pk="node")
            kept = "select node from orders order by given desc, node limit ?"
            self._db.execute(f"delete from orders where node not in ({kept})", [MAX_NODES])  # noqa: S608 - constant

    def pins(self) -> tuple[Pin, ...]:
        """Every pinned model, by name."""
        with _errors():
            rows = self._db.table("pins").rows_where(order_by="model")
            return tuple(Pin(row["model"], NodeId(row["node"])) for row in rows)

    def pin(self, pin: Pin) -> None:
        """Store a pin in place of what was known of it."""
        with _errors(), self._db.atomic():
            self._db.table("pins").upsert({"model": pin.model, "node": pin.node}, pk="model")

    def unpin(self, model: str) -> None:
        """Forget a pin, if there is one."""
        with _errors(), self._db.atomic():
            self._db.table("pins").delete_where("model = ?", [model])

    def slots(self) -> tuple[KnownSlot, ...]:
        """Every hour of every node's week that was remembered."""
        with _errors():
            rows = self._db.table("slots").rows_where(order_by="node, slot")
            return tuple(KnownSlot(**row) for row in rows)

    def remember_slots(self, slots: tuple[KnownSlot, ...]) -> None:
        """Store hours in place of what was known of them."""
        with _errors(), self._db.atomic():
            rows = [(one.node, one.slot, one.mean, one.spread, one.weight, one.at) for one in slots]
            self._db.conn.executemany("insert or replace into slots values (?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _opened(path: Path | None) -> sqlite_utils.Database:
    """The database at its newest schema. A file that is damaged, or of a newer Herd, is set aside."""
    if path is None:
        return _migrated(sqlite3.connect(":memory:", check_same_thread=False))
    try:
        return _migrated(sqlite3.connect(path, check_same_thread=False))
    except (sqlite3.DatabaseError, _NewerSchemaError) as error:
        if isinstance(error, sqlite3.OperationalError):  # no permission, disk full: the file itself may be sound
            raise
        aside = _free_name(path)
        path.rename(aside)
        logger.warning("%s cannot be used (%s): set aside as %s, starting afresh", path, error, aside.name)
    return _migrated(sqlite3.connect(path, check_same_thread=False))


class _NewerSchemaError(Exception):
    """The file was written by a newer version."""


def _migrated(connection: sqlite3.Connection) -> sqlite_utils.Database:
    db = sqlite_utils.Database(connection)
    try:
        _refuse_newer(db)
        db.enable_wal()
        MIGRATIONS.apply(db)
    except BaseException:
        db.close()
        raise
    return db


def _refuse_newer(db: sqlite_utils.Database) -> None:
    newer = [step.name for step in MIGRATIONS.applied(db) if step.name not in STEPS]
    if newer:
        raise _NewerSchemaError(f"it was written by a newer Herd: {newer[-1]}")


def _free_name(path: Path) -> Path:
    """A name beside `path` that no file has yet."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unusable-{number}")).exists():
        number += 1
    return aside


@contextmanager
def _errors() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the database failed: {error}") from error
