from pathlib import Path

import pytest
import sqlite_utils

from herd.store import database as module
from herd.store.database import Database, StoreError
from herd.store.records import KnownNode, KnownOrders, Pin
from herd.store.schema import MIGRATIONS, STEPS
from herd.types import NodeId, NodeName, Seconds

STUDIO = KnownNode(NodeId("a1"), NodeName("studio"), ("llama3.2:3b", "qwen3:8b"), Seconds(100.0))
MINI = KnownNode(NodeId("b2"), NodeName("mini"), (), Seconds(200.0))


def test_what_was_remembered_is_known_after_reopening(tmp_path: Path) -> None:
    first = Database(tmp_path / "herd.db")
    first.save([MINI])
    first.save([STUDIO])
    first.close()

    second = Database(tmp_path / "herd.db")
    assert second.known_nodes() == (STUDIO, MINI)
    second.close()


def test_a_node_is_remembered_as_it_was_last() -> None:
    database = Database(None)
    database.save([STUDIO])
    changed = KnownNode(STUDIO.id, NodeName("studio-2"), ("qwen3:8b", "gemma3:4b"), Seconds(300.0))
    database.save([changed])

    (known,) = database.known_nodes()
    assert known.name == "studio-2"
    assert sorted(known.models) == ["gemma3:4b", "qwen3:8b"]
    database.close()


def test_the_nodes_not_seen_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NODES", 2)
    database = Database(None)
    for number in range(4):
        database.save([KnownNode(NodeId(f"n{number}"), NodeName("x"), ("m",), Seconds(10.0 - number))])

    assert [node.id for node in database.known_nodes()] == ["n0", "n1"]
    database.close()


def test_a_damaged_file_is_set_aside_and_the_router_starts_afresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "herd.db"
    file.write_bytes(b"this is no database, but it is long enough to be taken for one" * 100)

    database = Database(file)

    assert database.known_nodes() == ()
    assert "set aside as herd.db.unusable-1" in caplog.text
    assert (tmp_path / "herd.db.unusable-1").exists()
    database.close()


def test_a_file_of_a_newer_version_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "herd.db"
    Database(file).close()
    newer = sqlite_utils.Database(file)
    newer.table(MIGRATIONS.migrations_table).insert(
        {"migration_set": "herd", "name": "m999_from_tomorrow", "applied_at": "2030-01-01"}
    )
    newer.close()

    Database(file).close()

    assert "written by a newer Herd: m999_from_tomorrow" in caplog.text


def test_a_file_that_cannot_be_opened_is_an_error_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file"):
        Database(tmp_path / "no such directory" / "herd.db")


def test_the_list_of_steps_is_complete() -> None:
    database = sqlite_utils.Database(memory=True)
    assert [step.name for step in MIGRATIONS.pending(database)] == list(STEPS)
    database.close()


def told(node: str, given: float = 5.0, *, drained: bool = True) -> KnownOrders:
    since = Seconds(3.0) if drained else None
    return KnownOrders(NodeId(node), Seconds(given), since, Seconds(4.0), None)


def test_what_a_node_was_told_by_hand_is_known_after_reopening_until_nothing_is_in_force(tmp_path: Path) -> None:
    first = Database(tmp_path / "herd.db")
    first.remember_orders(told("a"))
    first.remember_orders(told("a", drained=False))
    first.remember_orders(told("b"))
    first.close()

    second = Database(tmp_path / "herd.db")
    assert (second.orders(NodeId("a")), second.orders(NodeId("c"))) == (told("a", drained=False), None)
    second.remember_orders(KnownOrders(NodeId("a"), Seconds(9.0), None, None, None))
    assert (second.orders(NodeId("a")), second.orders(NodeId("b"))) == (None, told("b"))
    second.close()


def test_orders_do_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NODES", 2)
    database = Database(None)
    for number in range(4):
        database.remember_orders(told(f"n{number}", 10.0 - number))
    assert [number for number in range(4) if database.orders(NodeId(f"n{number}"))] == [0, 1]
    database.close()


def test_a_file_of_the_version_before_gets_what_is_new(tmp_path: Path) -> None:
    file = tmp_path / "herd.db"
    old = Database(file)
    old.save([STUDIO])
    old.close()
    before = sqlite_utils.Database(file)
    before.table("orders").drop()
    before.table(MIGRATIONS.migrations_table).delete_where("name = ?", ["m002_orders"])
    before.close()

    database = Database(file)
    assert (database.known_nodes(), database.orders(STUDIO.id)) == ((STUDIO,), None)
    database.close()


def test_pins_are_known_after_reopening(tmp_path: Path) -> None:
    first = Database(tmp_path / "herd.db")
    for pin in (Pin("qwen3:8b", NodeId("")), Pin("llama3.2:3b", NodeId("a1")), Pin("qwen3:8b", NodeId("b2"))):
        first.pin(pin)
    first.pin(Pin("gone:1b", NodeId("a1")))
    first.unpin("gone:1b")
    first.unpin("never:1b")
    first.close()

    second = Database(tmp_path / "herd.db")
    assert second.pins() == (Pin("llama3.2:3b", NodeId("a1")), Pin("qwen3:8b", NodeId("b2")))
    second.close()
