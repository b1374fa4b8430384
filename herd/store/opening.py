"""How the file is opened: at its newest schema, with what cannot be used set aside."""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import sqlite_utils

from herd.store.schema import MIGRATIONS, STEPS

logger = logging.getLogger(__name__)

# What a file has beside it: pages that are committed and not yet in it, and an index of those.
BESIDE = ("-wal", "-shm")

# The log of committed pages is cut to this once they are in the file; SQLite itself moves them there from 1,000 pages
# on, which is as much.
MAX_LOG = 4 * 1024 * 1024


# What a damaged file leads to: errors of SQLite, names that are no text, even in those, and other names than there are.
UNSOUND = (sqlite3.DatabaseError, UnicodeDecodeError, LookupError)

# What people said: tables, and their columns in order. And rows of theirs.
PEOPLES = {"orders": "node, given, drained, paused, until", "pins": "model, node"}
Told = Sequence[tuple[str, tuple[object, ...]]]

FORGETFUL = "what is learned from now on is forgotten when the router stops"


class _NewerSchemaError(Exception):
    """The file was written by a newer version."""


def opened(path: Path | None) -> sqlite_utils.Database:
    """The database at its newest schema.

    A file that is damaged, or of a newer Herd, is set aside. One that cannot be written, for a full disk, say, is read
    into memory: the router runs, and what it learns ends with it.

    Args:
        path: the file; None for a database in memory.
    """
    if path is None:
        return _migrated(sqlite3.connect(":memory:", check_same_thread=False))
    try:
        connection = _connected(path)
    except sqlite3.Error as error:
        return _forgetful(path, error)
    try:
        return _migrated(connection)
    except (_NewerSchemaError, *UNSOUND) as error:
        told = told_in(connection)
        connection.close()
        if isinstance(error, _NewerSchemaError) or damaged(error):
            return afresh(path, error, told)
        return _forgetful(path, error)


def _forgetful(path: Path, why: Exception) -> sqlite_utils.Database:
    """In memory, with what can be read of a file that cannot be written."""
    logger.error("%s cannot be written (%s): %s", path, why, FORGETFUL)
    memory = _read_into_memory(path)
    try:
        return _migrated(memory)
    except (_NewerSchemaError, *UNSOUND):
        memory.close()
        return opened(None)


def afresh(path: Path, why: Exception, told: Told = ()) -> sqlite_utils.Database:
    """A new file in place of one that cannot be used, and that nobody has open; in memory if there can be none.

    Args:
        path: the file.
        why: it cannot be used.
        told: what people said, as far as it could be read: it is not learned again by itself.
    """
    try:
        aside = _set_aside(path)
        db = _migrated(_connected(path))
    except (OSError, sqlite3.Error) as error:
        logger.error("%s cannot be used (%s), nor a new one (%s): %s", path, why, error, FORGETFUL)  # noqa: TRY400
        db = opened(None)
    else:
        logger.warning("%s cannot be used (%s): set aside as %s, starting afresh", path, why, aside.name)
    with db.atomic():
        for table, row in told:
            with suppress(sqlite3.Error):  # what has lost a bit may be no number
                db.execute(f'insert into "{table}" values ({", ".join("?" * len(row))})', row)  # noqa: S608
    return db


def told_in(connection: sqlite3.Connection) -> Told:
    """What can be read of what people said, in a file that cannot be used."""
    found: list[tuple[str, tuple[object, ...]]] = []
    for table, columns in PEOPLES.items():
        with suppress(*UNSOUND):
            for row in connection.execute(f'select {columns} from "{table}"'):  # noqa: S608
                found.append((table, row))  # noqa: PERF401 - those that come before a damaged one count
    return found


def damaged(error: Exception) -> bool:
    """The file itself is not what it should be. A full disk, a lock, no permission: then it may be sound.

    What is asked of a file is always the same: a table or a column that is not there (`SQLITE_ERROR`) has been.
    """
    if not isinstance(error, sqlite3.Error):
        return True
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False)


def _migrated(connection: sqlite3.Connection) -> sqlite_utils.Database:
    # A text that was damaged is of no use, but no reason not to have the others.
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    db = sqlite_utils.Database(connection)
    _refuse_newer(db)
    db.enable_wal()
    # A commit is in the log, in the hands of the operating system, when it returns: it survives the end of this
    # process, however sudden. Only a machine that loses power may lose what the disk had not written yet, and not
    # the file. FULL would wait for the disk once a second, and wear out memory cards, for that alone.
    db.execute("pragma synchronous = normal")
    db.execute(f"pragma journal_size_limit = {MAX_LOG}")
    MIGRATIONS.apply(db)
    return db


def _refuse_newer(db: sqlite_utils.Database) -> None:
    newer = [step.name for step in MIGRATIONS.applied(db) if step.name not in STEPS]
    if newer:
        raise _NewerSchemaError(f"it was written by a newer Herd: {newer[-1]}")


def _read_into_memory(path: Path) -> sqlite3.Connection:
    """What is in a file that cannot be written, as far as it can be read."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    for how in ("mode=ro", "immutable=1"):  # the first reads the log too, and may have to write beside the file for it
        uri = f"{path.absolute().as_uri()}?{how}"
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as file:
            file.backup(memory)
            break
    return memory


def _set_aside(path: Path) -> Path:
    """Rename a file and what belongs to it: a log that stayed would be taken for that of the next file."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unusable-{number}")).exists():
        number += 1
    for suffix in (*BESIDE, ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(path.with_name(aside.name + suffix))
    return aside
