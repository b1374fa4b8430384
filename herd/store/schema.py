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
def m004_learned(db: sqlite_utils.Database) -> None:
    """What the router learns of its nodes and models. Each table is one tree, by its key: half of what two take."""
    of_a_pair = "node text not null, model text not null"
    tables = {
        "estimates": (
            f"{of_a_pair}, what text not null, streams integer not null, log real not null, weight real not null,"
            " at real not null, primary key (node, model, what, streams)"
        ),
        "residencies": (
            "model text not null primary key, size integer not null, context integer not null,"
            " slots integer not null, at real not null"
        ),
        "unloads": f"{of_a_pair}, at real not null, primary key (node, model)",
        "limits": f'{of_a_pair}, "limit" integer not null, at real not null, primary key (node, model)',
        "services": f"{of_a_pair}, weight real not null, at real not null, primary key (node, model)",
        "keeps": f"{of_a_pair}, kept integer not null, at real not null, primary key (node, model)",
        "slots": (
            "node text not null, slot integer not null, mean real not null, spread real not null,"
            " weight real not null, at real not null, primary key (node, slot)"
        ),
    }
    for name, columns in tables.items():
        db.execute(f"create table {name} ({columns}) strict, without rowid")


@MIGRATIONS()
def m005_traces(db: sqlite_utils.Database) -> None:
    """What became of requests, in the order of their ends."""
    db.execute(
        "create table traces (number integer primary key, id text not null, arrived real not null,"
        " model text not null, client text not null, node text, outcome text not null, status integer,"
        " waited real not null, first_token real, total real not null, attempts integer not null, score real,"
        " prompt integer, completion integer, edited text not null, scores text not null) strict"
    )
    db.execute("create index traces_by_id on traces (id)")


@MIGRATIONS()
def m006_predictions(db: sqlite_utils.Database) -> None:
    """How long requests were to take and did, in seconds, and what is made of that for each model on each node."""
    db.execute("alter table traces add column predicted real")
    db.execute("alter table traces add column took real")
    db.execute(
        "create table calibrations (node text not null, model text not null, log real not null,"
        " variance real not null, weight real not null, at real not null, primary key (node, model))"
        " strict, without rowid"
    )


@MIGRATIONS()
def m007_served_models(db: sqlite_utils.Database) -> None:
    """Which model served a request that named another one, or an alias."""
    db.execute("alter table traces add column served_model text")


STEPS = (
    "m001_known_nodes",
    "m002_orders",
    "m003_pins",
    "m004_learned",
    "m005_traces",
    "m006_predictions",
    "m007_served_models",
)
