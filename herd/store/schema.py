"""The schema, as the steps that lead to it. A step that was released is never changed: the next one corrects it."""

import sqlite_utils
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("herd")


@MIGRATIONS()
def m001_known_nodes(db: sqlite_utils.Database) -> None:
    """Nodes that the router has met, and the models they had."""
    db.table("nodes").create({"id": str, "name": str, "seen": float}, pk="id", strict=True)
    db.table("models").create({"node": str, "model": str}, pk=("node", "model"), strict=True)


@MIGRATIONS()
def m002_orders(db: sqlite_utils.Database) -> None:
    """Nodes that were drained or paused by hand, and when, in seconds since the Unix epoch."""
    db.table("orders").create(
        {"node": str, "given": float, "drained": float, "paused": float, "until": float},
        pk="node",
        not_null={"given"},
        strict=True,
    )


@MIGRATIONS()
def m003_pins(db: sqlite_utils.Database) -> None:
    """Models that shall stay loaded, and where; an empty node is one that has not been found yet."""
    db.table("pins").create({"model": str, "node": str}, pk="model", strict=True)


@MIGRATIONS()
def m004_slots(db: sqlite_utils.Database) -> None:
    """What was learned of the owners' weeks."""
    columns = {"node": str, "slot": int, "mean": float, "spread": float, "weight": float, "at": float}
    db.table("slots").create(columns, pk=("node", "slot"), strict=True)


STEPS = ("m001_known_nodes", "m002_orders", "m003_pins", "m004_slots")
