"""A router's requests are read beside it: whole, whatever the file's state, and without a trace of the reader."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlite_utils

from herd.errors import ConfigError
from herd.store import history as module
from herd.store.database import Database
from herd.store.history import AskedRequest, History, read_history
from herd.store.records import KnownResidency, KnownTrace
from herd.store.schema import MIGRATIONS
from herd.store.tables import TRACES_S
from herd.types import Bytes, Seconds, Tokens

NOW = Seconds(1.8e9)
RESIDENCY = KnownResidency("m:latest", Bytes(2**33), Tokens(8192), 2, NOW)


def trace(number: int, arrived: float) -> KnownTrace:
    return KnownTrace(
        id=f"r{number}",
        arrived=Seconds(arrived),
        model="m",
        client=f"10.0.0.{number % 3}",
        node="studio",
        outcome="served",
        status=200,
        waited=0.25,
        first_token=0.5,
        total=2.5,
        attempts=1,
        score=71.5,
        prompt=100 + number,
        completion=number,
        edited="",
        scores="{}",
    )


TRACES = [trace(number, NOW - 60.0 * number) for number in range(1, 6)]  # the order of ends is not that of arrivals


def whole(history: History) -> bool:
    """All of TRACES is there, in order of arrival, and the residency."""
    asked = tuple(
        AskedRequest(one.arrived, one.model, one.client, one.outcome, one.status, one.prompt, one.completion)
        for one in reversed(TRACES)
    )
    return history == History(asked, (RESIDENCY,))


def files(directory: Path) -> dict[str, bytes]:
    """What lies there, without the index of the log, which readers share with whoever writes."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if not path.name.endswith("-shm")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "herd.db"


@pytest.fixture
def running(path: Path) -> Iterator[Database]:
    """A router has the file open, and what it wrote last is not in it yet but beside it."""
    database = Database(path)
    database.save([*TRACES, RESIDENCY])
    yield database
    database.close()


def test_a_closed_file_is_read_and_nothing_is_left_beside_it(path: Path, running: Database) -> None:
    running.close()
    before = sorted(one.name for one in path.parent.iterdir()), files(path.parent)
    assert whole(read_history(path, NOW))
    assert (sorted(one.name for one in path.parent.iterdir()), files(path.parent)) == before
    assert before[0] == ["herd.db"]


def test_a_router_that_runs_is_read_and_goes_on(path: Path, running: Database) -> None:
    assert path.with_name("herd.db-wal").stat().st_size > 0
    before = files(path.parent)
    assert whole(read_history(path, NOW))
    assert files(path.parent) == before
    running.save([trace(9, NOW)])
    assert [one.prompt for one in read_history(path, NOW).requests][-1] == 109


def test_a_reader_holds_up_no_writer(path: Path, running: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def recent(asked: list[AskedRequest], now: Seconds) -> tuple[AskedRequest, ...]:
        running.save([trace(9, NOW)])  # in the middle of the reading
        running.prune(NOW)
        return tuple(asked)

    monkeypatch.setattr(module, "_recent", recent)
    assert whole(read_history(path, NOW))


@pytest.mark.parametrize("beside", [("-wal",), ("-wal", "-shm")])
def test_what_a_killed_router_left_is_read_as_it_lies(
    path: Path, running: Database, tmp_path: Path, beside: tuple[str, ...]
) -> None:
    left = tmp_path / "left"
    left.mkdir()
    for suffix in ("", *beside):
        shutil.copy(path.with_name(f"herd.db{suffix}"), left / f"herd.db{suffix}")
    before = files(left)
    assert whole(read_history(left / "herd.db", NOW))
    assert files(left) == before
    with closing(Database(left / "herd.db")) as next_router:
        assert len(next_router.traces(10)) == len(TRACES)


def test_a_router_that_begins_meanwhile_is_minded(
    path: Path, running: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.close()
    reads: list[bool] = []
    read = module._read

    def begins(path: Path, now: Seconds, *, alone: bool) -> History:
        found = read(path, now, alone=alone)
        if not reads:
            router = Database(path)
            router.save([trace(9, NOW)])
            routers.append(router)
        reads.append(alone)
        return found

    routers: list[Database] = []
    monkeypatch.setattr(module, "_read", begins)
    assert read_history(path, NOW).requests[-1].prompt == 109
    assert reads == [True, False]
    routers[0].close()


def test_columns_of_a_later_version_are_no_obstacle(path: Path, running: Database) -> None:
    running.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("alter table traces add column surprise real")
    assert whole(read_history(path, NOW))


def test_a_request_is_one_for_the_model_that_served_it(path: Path, running: Database) -> None:
    running.save([replace(trace(9, NOW - 1.0), model="gpt-4o", served_model="qwen3:8b")])
    assert [one.model for one in read_history(path, NOW).requests] == ["m"] * len(TRACES) + ["qwen3:8b"]


def test_a_file_of_the_version_before_is_read_without_the_column_that_it_lacks(path: Path, running: Database) -> None:
    running.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("alter table traces drop column served_model")
    assert whole(read_history(path, NOW))


def test_a_file_of_an_older_version_is_read_and_stays_as_it_is(path: Path) -> None:
    db = sqlite_utils.Database(path)
    MIGRATIONS.apply(db, stop_before="m004_learned")
    db.close()
    before = files(path.parent)
    assert read_history(path, NOW) == History((), ())
    assert files(path.parent) == before


def test_what_has_not_come_and_what_was_long_before_is_left_out(path: Path) -> None:
    with closing(Database(path)) as database:
        arrivals = (NOW + 1.0, NOW, NOW - TRACES_S, NOW - TRACES_S - 1.0, 0.0)
        database.save([replace(trace(1, arrived), id=str(arrived)) for arrived in arrivals])
    assert [one.arrived for one in read_history(path, NOW).requests] == [NOW - TRACES_S, NOW]
    later = read_history(path, Seconds(NOW + 300 * 86_400.0))  # a router that was not used for most of a year
    assert [one.arrived for one in later.requests] == [NOW, NOW + 1.0]


def test_a_row_that_is_no_request_is_passed_over(path: Path, running: Database) -> None:
    running.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update traces set prompt = -5, status = -1 where id = 'r1'")
        connection.execute("update traces set arrived = 9e999 where id = 'r2'")
    assert [one.prompt for one in read_history(path, NOW).requests] == [105, 104, 103, -5]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no {path}: name the data directory of a router that was asked something"),
        (b"", "{path} is no router's database: name the data directory of one"),
        (b"not a database, but a page of text. " * 200, "{path} is damaged, or no router's database: "),
    ],
)
def test_what_is_no_database_is_refused(path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_history(path, NOW)
    assert str(refused.value).startswith(sentence.format(path=path))


def test_a_directory_of_that_name_is_no_database(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match="there is no "):
        read_history(path, NOW)


def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table traces (id text)")
    with pytest.raises(ConfigError, match="is no router's database"):
        read_history(path, NOW)


def test_a_file_of_a_newer_herd_is_refused_and_stays_as_it_is(path: Path, running: Database) -> None:
    running.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "insert into _sqlite_migrations (migration_set, name, applied_at) values ('herd', 'm999_later', '')"
        )
    before = files(path.parent)
    with pytest.raises(ConfigError, match=r"was written by a newer Herd \(m999_later\)"):
        read_history(path, NOW)
    assert files(path.parent) == before


def test_a_damaged_file_is_refused_and_stays_as_it_is(path: Path, running: Database) -> None:
    running.save([trace(number, NOW - number) for number in range(10, 2000)])
    running.close()
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged, or no router's database"):
        read_history(path, NOW)
    assert path.read_bytes() == content
    assert sorted(one.name for one in path.parent.iterdir()) == ["herd.db"]
