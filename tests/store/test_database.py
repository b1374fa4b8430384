import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from herd.store import database as module
from herd.store import opening
from herd.store.database import Database, StoreError
from herd.store.opening import afresh
from herd.store.records import (
    KnownCalibration,
    KnownEstimate,
    KnownKeep,
    KnownLimit,
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
from herd.store.schema import MIGRATIONS, STEPS
from herd.store.tables import KEYED, TABLES, TRACES
from herd.types import Bytes, NodeId, NodeName, Seconds, Tokens

NOW = Seconds(1.8e9)
STUDIO = KnownNode(NodeId("a1"), NodeName("studio"), ("llama3.2:3b", "qwen3:8b"), NOW)
MINI = KnownNode(NodeId("b2"), NodeName("mini"), (), NOW)


A = NodeId("a")
ONE_OF_EACH: tuple[Any, ...] = (
    KnownEstimate(A, "m", "decode", 4, 3.5, 12.25, NOW),
    KnownResidency("m", Bytes(2**35), Tokens(8192), 2, NOW),
    KnownUnload(A, "m", NOW),
    KnownLimit(A, "m", 3, NOW),
    KnownService(A, "m", 4.5, NOW),
    KnownKeep(A, "m", True, NOW),
    KnownCalibration(A, "m", -0.25, 0.5, 12.25, NOW),
    KnownSlot(A, 167, 0.25, 0.125, 7.5, NOW),
)


def estimate(number: int, at: Seconds = NOW) -> KnownEstimate:
    return KnownEstimate(A, f"model-{number}", "decode", 1, 3.5, 1.0, at)


def trace(number: int, *, arrived: float = NOW, request_id: str = "") -> KnownTrace:
    return KnownTrace(
        id=request_id or f"r{number}",
        arrived=Seconds(arrived),
        model="m",
        client="10.0.0.7",
        node="studio",
        outcome="served",
        status=200,
        waited=0.25,
        first_token=None,
        total=float(number),
        attempts=1,
        score=87.5,
        prompt=100,
        completion=None,
        edited="model,keep_alive",
        scores="[[],0,0]",
        predicted=4.25,
        took=5.0,
    )


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


def test_what_belongs_to_a_damaged_file_is_set_aside_with_it(tmp_path: Path) -> None:
    """A log of committed pages that stayed would be read as that of the new file."""
    for name in ("herd.db", "herd.db-wal", "herd.db-shm", "herd.db.unusable-1"):
        (tmp_path / name).write_bytes(name.encode())

    afresh(tmp_path / "herd.db", ValueError("damaged")).close()

    for name in ("herd.db", "herd.db-wal", "herd.db-shm"):
        assert (tmp_path / name.replace("db", "db.unusable-2")).read_bytes() == name.encode()
    assert (tmp_path / "herd.db.unusable-1").exists()
    database = Database(tmp_path / "herd.db")
    assert database.known_nodes() == ()
    database.close()


def overwritten(file: Path, what: bytes, by: bytes) -> None:
    """As a disk that loses bits does it: nothing in the file says so."""
    raw = file.read_bytes()
    assert what in raw
    assert len(what) == len(by)
    file.write_bytes(raw.replace(what, by))


@pytest.mark.parametrize(
    ("what", "by"),
    [(b"migration_set", b"migration\xcbset"), (b'"applied_at"', b'"appli\xffd_at"'), (b'"seen"', b'"sein"')],
)
def test_a_file_with_other_names_in_it_than_there_should_be_is_set_aside(
    tmp_path: Path, what: bytes, by: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "herd.db"
    first = Database(file)
    first.save([STUDIO])
    first.remember_orders(told("a"))
    first.pin(Pin("m", A))
    first.close()
    overwritten(file, what, by)

    database = Database(file)

    assert database.known_nodes() == ()
    assert (database.orders(A), database.pins()) == (told("a"), (Pin("m", A),))
    database.save([MINI])
    assert database.known_nodes() == (MINI,)
    assert "set aside as herd.db.unusable-1" in caplog.text
    database.close()


def test_a_text_that_is_damaged_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "herd.db"
    first = Database(file)
    first.save([STUDIO, MINI])
    first.pin(Pin("m", A))
    first.close()
    overwritten(file, b"studio", b"st\xffdio")

    database = Database(file)
    assert [node.name for node in database.known_nodes()] == ["st\ufffddio", "mini"]
    assert database.pins() == (Pin("m", A),)
    database.close()
    assert names_in(tmp_path) == {"herd.db"}


def test_a_row_that_holds_no_record_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "herd.db"
    first = Database(file)
    first.save([*ONE_OF_EACH, trace(1), trace(2)])
    first.close()
    raw = sqlite3.connect(file)
    raw.execute("pragma writable_schema = on")
    raw.execute("update sqlite_master set sql = replace(replace(sql, ' strict', ''), ' not null', '')")
    raw.commit()
    raw.close()
    raw = sqlite3.connect(file)
    raw.execute("insert into slots select node, 'x', mean, spread, weight, at from slots")
    raw.execute("insert into limits select node, 'n', null, at from limits")
    raw.execute("update traces set status = x'00' where id = 'r2'")
    raw.commit()
    raw.close()

    database = Database(file)
    assert (database.all(KnownSlot), database.traces(9)) == ((ONE_OF_EACH[-1],), (trace(1),))
    assert database.node(A).limits == (ONE_OF_EACH[3],)
    assert database.trace("r2") is None
    database.close()


@pytest.mark.parametrize("why", [PermissionError("no"), sqlite3.OperationalError("database or disk is full")])
def test_a_damaged_file_that_nothing_can_take_the_place_of_is_done_without(
    tmp_path: Path, why: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "herd.db").write_bytes(b"this is no database, but it is long enough to be taken for one" * 100)

    def refused(path: Path) -> Path:
        raise why

    monkeypatch.setattr(opening, "_set_aside", refused)
    database = Database(tmp_path / "herd.db")
    database.save([STUDIO])
    assert database.known_nodes() == (STUDIO,)
    assert f"nor a new one ({why}): what is learned from now on is forgotten" in caplog.text
    database.close()


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_file_that_turns_out_to_be_damaged_while_it_is_in_use_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "herd.db"
    first = Database(file)
    first.save([estimate(number) for number in range(5000)])
    first.remember_orders(told("a"))
    first.pin(Pin("m", A))
    first.close()
    database = Database(file)
    with file.open("r+b") as raw:  # a bad sector, or a program that should not have written here
        raw.seek(64 * 1024)
        raw.write(b"\xff" * 256 * 1024)

    assert database.all(KnownEstimate) == ()
    assert "malformed" in caplog.text
    assert "set aside as herd.db.unusable-1" in caplog.text
    assert (database.orders(A), database.pins()) == (told("a"), (Pin("m", A),))  # as far as they can be read
    database.save([STUDIO])
    assert database.known_nodes() == (STUDIO,)
    database.close()
    assert names_in(tmp_path) == {"herd.db", "herd.db.unusable-1"}


def test_a_disk_that_is_full_takes_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "herd.db")
    database.save([STUDIO])
    database._db.execute("pragma max_page_count = 1")  # no page more than there are
    batch: list[Record] = [MINI, *[estimate(number) for number in range(5000)]]
    with pytest.raises(StoreError, match="database or disk is full"):
        database.save(batch)
    assert database.known_nodes() == (STUDIO,)  # all of a batch, or nothing

    database._db.execute("pragma max_page_count = 100000")
    database.save(batch)
    assert len(database.all(KnownEstimate)) == 5000
    database.close()


def test_a_file_of_a_newer_version_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "herd.db"
    first = Database(file)
    first.pin(Pin("m", A))
    first.close()
    newer = sqlite_utils.Database(file)
    newer.table(MIGRATIONS.migrations_table).insert(
        {"migration_set": "herd", "name": "m999_from_tomorrow", "applied_at": "2030-01-01"}
    )
    newer.close()

    database = Database(file)
    assert database.pins() == (Pin("m", A),)  # what people said holds in the older version too
    database.close()

    assert "written by a newer Herd: m999_from_tomorrow" in caplog.text


def test_a_file_that_cannot_be_opened_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(tmp_path / "no such directory" / "herd.db")

    assert "cannot be written (unable to open database file)" in caplog.text
    database.save([STUDIO])
    assert database.known_nodes() == (STUDIO,)
    database.close()


def test_a_file_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "herd.db"
    first = Database(file)
    first.save([STUDIO])
    first.close()
    right, refusals = sqlite_utils.Database.enable_wal, [1]

    def read_only(self: sqlite_utils.Database) -> None:
        if refusals.pop() if refusals else 0:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        right(self)

    monkeypatch.setattr(sqlite_utils.Database, "enable_wal", read_only)
    second = Database(file)
    second.save([MINI])
    assert second.known_nodes() == (STUDIO, MINI)
    second.close()
    assert "readonly database): what is learned from now on is forgotten when the router stops" in caplog.text

    third = Database(file)
    assert third.known_nodes() == (STUDIO,)
    third.close()


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


def test_requests_of_the_version_before_are_known_without_what_was_predicted_of_them(tmp_path: Path) -> None:
    file = tmp_path / "herd.db"
    old = Database(file)
    old.save([trace(1)])
    old.close()
    before = sqlite_utils.Database(file)
    for column in ("predicted", "took"):
        before.execute(f"alter table traces drop column {column}")
    before.table("calibrations").drop()
    before.table(MIGRATIONS.migrations_table).delete_where("name = ?", ["m006_predictions"])
    before.close()

    database = Database(file)
    assert database.traces(9) == (replace(trace(1), predicted=None, took=None),)
    database.save([trace(2), *ONE_OF_EACH])
    assert database.trace("r2") == trace(2)
    assert len(database.all(KnownCalibration)) == 1
    database.close()


def test_requests_of_the_version_before_are_known_as_those_of_the_model_that_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "herd.db"
    old = Database(file)
    old.save([trace(1)])
    old.close()
    before = sqlite_utils.Database(file)
    before.execute("alter table traces drop column served_model")
    before.table(MIGRATIONS.migrations_table).delete_where("name = ?", ["m007_served_models"])
    before.close()

    database = Database(file)
    assert database.traces(9) == (trace(1),)
    other = replace(trace(2), served_model="qwen3:8b")
    database.save([other])
    assert database.trace("r2") == other
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


# --- what is learned ------------------------------------------------------------------------------------------------


def test_every_kind_of_record_is_known_after_reopening_as_it_was_last(tmp_path: Path) -> None:
    first = Database(tmp_path / "herd.db")
    first.save([replace(one, at=Seconds(NOW - 50)) for one in ONE_OF_EACH])
    first.save([*ONE_OF_EACH, trace(1), trace(2)])
    first.close()

    second = Database(tmp_path / "herd.db")
    assert {type(one) for one in ONE_OF_EACH} == {table.kind for table in KEYED}
    for one in ONE_OF_EACH:
        assert second.all(type(one)) == (one,)
    assert second.traces(10) == (trace(1), trace(2))
    second.close()


def test_the_limits_of_a_node_are_its_own() -> None:
    database = Database(None)
    mine, other = KnownLimit(A, "m", 3, NOW), KnownLimit(NodeId("b"), "m", 5, NOW)
    database.save([mine, other])
    assert database.node(A) == NodeMemory(None, (mine,))
    database.close()


def test_traces_come_in_the_order_of_their_ends_and_the_latest_with_an_id_is_found() -> None:
    database = Database(None)
    database.save([trace(1, request_id="same"), trace(2), trace(3, request_id="same"), trace(4)])
    assert [one.total for one in database.traces(2)] == [3.0, 4.0]
    assert database.trace("same") == trace(3, request_id="same")
    assert database.trace("never") is None
    database.close()


@pytest.mark.parametrize(
    "unfit",
    [
        replace(estimate(1), log=float("nan")),
        replace(trace(1), prompt=2**63),
        KnownUnload(A, "half a letter: \ud800", NOW),
    ],
    ids=["no number", "too large a number", "no text"],
)
def test_a_record_that_cannot_be_stored_does_not_take_the_others_with_it(
    unfit: Record, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(None)
    database.save([estimate(2), unfit, trace(2), STUDIO])
    assert database.all(KnownEstimate) == (estimate(2),)
    assert (database.traces(9), database.known_nodes(), database.all(KnownUnload)) == ((trace(2),), (STUDIO,), ())
    assert caplog.text.count("cannot be stored") == 1
    database.close()


@pytest.mark.parametrize("one", ONE_OF_EACH, ids=lambda one: TABLES[type(one)].name)
def test_what_is_too_old_goes_and_of_too_much_the_oldest(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = TABLES[type(one)]
    monkeypatch.setitem(table.__dict__, "rows", 3)
    name = "slot" if "slot" in table.key else "model"

    def record(number: int, age: float) -> Any:
        return replace(one, at=Seconds(NOW - age), **{name: number if name == "slot" else f"m{number}"})

    database = Database(None)
    database.save([record(0, table.age + 1), record(1, table.age - 1), record(2, 5), record(3, 5)])
    assert not database.prune(NOW)
    assert database.all(type(one)) == (record(1, table.age - 1), record(2, 5), record(3, 5))
    database.save([record(4, 4), record(5, 3)])
    database.prune(NOW)
    assert database.all(type(one)) == (record(3, 5), record(4, 4), record(5, 3))
    database.close()


def test_a_machine_that_was_not_seen_for_a_year_is_gone_with_all_that_was_said_to_it() -> None:
    database = Database(None)
    database.save([replace(STUDIO, seen=Seconds(NOW - module.NODES_S - 1)), MINI])
    database.remember_orders(told("a1", NOW - module.NODES_S - 1))
    database.remember_orders(told("b2", NOW - 60))
    database.prune(NOW)
    assert database.known_nodes() == (MINI,)
    assert (database.orders(NodeId("a1")), database.orders(NodeId("b2"))) == (None, told("b2", NOW - 60))
    assert list(database._db.table("models").rows) == []
    database.close()


def test_traces_are_forgotten_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 10)
    monkeypatch.setitem(TRACES.__dict__, "rows", 20)
    database = Database(None)
    old = [trace(number, arrived=NOW - TRACES.age - 1) for number in range(25)]
    ahead = [trace(number, arrived=NOW + 1e9) for number in range(25, 30)]  # of a clock that is right by now
    database.save([*old, *ahead, *[trace(number) for number in range(30, 40)]])
    calls = 1
    while database.prune(NOW):
        calls += 1
    assert calls == 3
    assert [one.total for one in database.traces(99)] == list(range(25, 40))

    database.save([trace(number) for number in range(40, 63)])
    while database.prune(NOW):
        pass
    assert [one.total for one in database.traces(99)] == list(range(43, 63))
    database.close()


def test_a_commit_is_in_the_operating_systems_hands_and_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "herd.db")
    settings = [database._db.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 1]  # NORMAL
    database.close()
