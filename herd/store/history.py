"""What was asked of a router, read from its database beside the router that writes it, which does not notice."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from herd.errors import ConfigError
from herd.store.opening import UNSOUND, damaged
from herd.store.records import KnownResidency
from herd.store.schema import MIGRATIONS, STEPS
from herd.store.tables import MAX_TRACES, RESIDENCIES, TRACES_S, Table
from herd.types import Seconds


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """The shape of a request that has ended. Its id, its place and its story are not read."""

    arrived: Seconds  # wall clock
    model: str  # which served it; as asked for where that was the same, or none did
    client: str
    outcome: str
    status: int | None
    prompt: int | None
    completion: int | None
    served_model: str | None = None  # as the router wrote it down, until it is `model`


@dataclass(frozen=True, slots=True)
class History:
    """What a router's database tells of its traffic."""

    requests: tuple[AskedRequest, ...]  # in order of arrival
    residencies: tuple[KnownResidency, ...]


# The columns are read by name: a file may have more of them.
_ASKED = Table("traces", AskedRequest, (), TRACES_S, MAX_TRACES, time="arrived")


def read_history(path: Path, now: Seconds) -> History:
    """The requests of the router's last 30 days, at most 100,000 of them.

    Nothing is written, brought up to date or mended, and nobody is held up: the router may run, or begin to. What is of
    a time that has not come, for a clock was wrong, is left out.

    Args:
        path: the database of a router.
        now: wall clock.

    Raises:
        ConfigError: there is no such file, it is damaged or of a newer Herd, or no router's at all.
    """
    with _refusals(path):
        if not path.is_file():
            raise ConfigError(f"there is no {path}: name the data directory of a router that was asked something")
        if not _log(path).exists():
            history = _read(path, now, alone=True)
            if not _log(path).exists():  # else a router began meanwhile: pages may have changed under the reader
                return history
        return _read(path, now, alone=False)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _read(path: Path, now: Seconds, *, alone: bool) -> History:
    """As it is now.

    A reader that minds the log sees what is committed and not yet in the file, but makes a log and its index where
    there are none, and leaves them there. So a file that has no log is taken as one that does not change.
    """
    how = "immutable=1" if alone else "mode=ro"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        if MIGRATIONS.migrations_table not in tables:
            raise ConfigError(f"{path} is no router's database: name the data directory of one")
        sql = f"select name from {MIGRATIONS.migrations_table} where migration_set = ?"  # noqa: S608 - a constant
        newer = [name for (name,) in connection.execute(sql, [MIGRATIONS.name]) if name not in STEPS]
        if newer:
            raise ConfigError(f"{path} was written by a newer Herd ({newer[-1]}): simulate with that one")
        found: list[AskedRequest] = _records(connection, _ASKED, tables)
        asked = [replace(one, model=one.served_model or one.model, served_model=None) for one in found]
        return History(_recent(asked, now), tuple(_records(connection, RESIDENCIES, tables)))


def _records(connection: sqlite3.Connection, table: Table, tables: Sequence[str]) -> list[Any]:
    """Latest records of a table, in order of time; nothing of a table or a column that is newer than the file."""
    if table.name not in tables:
        return []
    there = {name for (_, name, *_) in connection.execute(f'pragma table_info("{table.name}")')}
    columns = ", ".join(f'"{name}"' if name in there else f'null as "{name}"' for name in table.columns)
    sql = f'select {columns} from "{table.name}" order by {table.time} desc limit ?'  # noqa: S608 - constants
    return list(table.records(connection.execute(sql, [table.rows])))[::-1]


def _recent(asked: Sequence[AskedRequest], now: Seconds) -> tuple[AskedRequest, ...]:
    """Those that have come, and not so long before the latest of them that a router would have forgotten them."""
    come = [one for one in asked if one.arrived <= now]
    return tuple(one for one in come if one.arrived >= come[-1].arrived - TRACES_S)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What keeps a file from being read, in a sentence."""
    try:
        yield
    except UNSOUND as error:
        if isinstance(error, sqlite3.Error) and not damaged(error):
            raise ConfigError(f"{path} cannot be read: {error}") from error
        raise ConfigError(f"{path} is damaged, or no router's database: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
