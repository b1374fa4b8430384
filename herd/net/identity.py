"""Who this process is: an id in its data directory, and a lock that keeps a second process from being the same one."""

import json
import os
import re
import secrets
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from herd.errors import ConfigError
from herd.types import RouterId

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Role = Literal["router", "agent"]

_FILE = "identity.json"
_LOCK = "lock"

# 64 random bits: with a thousand machines, two share an id once in 10^13 houses.
_ID_BYTES = 8
_ID = re.compile(rf"[0-9a-f]{{{2 * _ID_BYTES}}}")


class Identity:
    """A held identity, made by `open_identity`; a context manager that gives it back.

    Attributes:
        id: 16 hexadecimal digits, the same for the life of the data directory.
        router_id: the router that this agent belongs to; empty before it first joined one.
    """

    def __init__(self, file: Path, role: Role, lock: int) -> None:
        self._file = file
        self._role = role
        self._lock: int | None = lock
        if file.exists():
            self.id, self.router_id = _read(file, role)
        else:
            self.id, self.router_id = secrets.token_hex(_ID_BYTES), RouterId("")
            self._write()

    def __repr__(self) -> str:
        return f"<Identity {self._role} {self.id}>"

    def remember_router(self, router_id: RouterId) -> None:
        """Keep the router that this agent belongs to; it is on the disk when this returns.

        Raises:
            ConfigError: the file cannot be written; until this process ends, the router is remembered all the same.
        """
        if router_id == self.router_id:
            return
        self.router_id = router_id
        try:
            self._write()
        except OSError as error:
            raise ConfigError(f"Cannot write {self._file}: {error.strerror or error}.") from error

    def close(self) -> None:
        """Let another process have the identity. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)  # which unlocks it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        values = {"role": self._role, "id": self.id, "router_id": self.router_id}
        replace_file(self._file, json.dumps(values, indent=2).encode() + b"\n")


def open_identity(data_dir: Path, role: Role) -> Identity:
    """Take the identity of a data directory, until it is closed or this process ends, however it ends.

    The directory (for its owner only) and the id are made where there are none. A damaged identity is never replaced by
    a new one: the house may know the old.

    Raises:
        ConfigError: another process holds it, the directory cannot be used, or its identity is damaged or another
            role's.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _take(lock):
                return Identity(data_dir / _FILE, role, lock)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
    except OSError as error:
        raise ConfigError(f"Cannot use the data directory {data_dir}: {error.strerror or error}.") from error
    raise ConfigError(
        f"Another process of Herd is already running on the data directory {data_dir}."
        " Stop it, or give this one a directory of its own with --data-dir."
    )


def is_held(data_dir: Path) -> bool:
    """Whether a process runs on a data directory now. Raises ConfigError when that cannot be seen.

    To see it, the lock is taken for an instant where it is free: a process that starts in that instant is turned away.
    """
    try:
        lock = os.open(data_dir / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"Cannot use the data directory {data_dir}: {error.strerror or error}.") from error
    try:
        return not _take(lock)
    finally:
        os.close(lock)


def flaw_of_identity(data_dir: Path, role: Role) -> str:
    """Why the identity in a data directory cannot be used, a sentence; empty where it can, or there is none yet."""
    try:
        _read(data_dir / _FILE, role)
    except FileNotFoundError:
        return ""
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"Cannot read {data_dir / _FILE}: {error.strerror or error}."
    return ""


def _take(descriptor: int) -> bool:
    """Lock the open file, or say that another process has done so."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the words of POSIX and of Windows for a lock that is taken
        return False
    return True


def _read(file: Path, role: Role) -> tuple[str, RouterId]:
    """The id and the router id."""
    try:
        values: Any = json.loads(file.read_bytes())
    except ValueError:
        values = None
    match values:
        case {"role": str(owner), "id": str(own_id), "router_id": str(router_id)} if _ID.fullmatch(own_id):
            if owner == role:
                return own_id, RouterId(router_id)
            raise ConfigError(f"{file.parent} is the data directory of another role ({owner}): use --data-dir.")
        case _:
            raise ConfigError(
                f"{file} is damaged. Restore it from a backup, or delete it to become a new {role}"
                " (what is known of the old one is then lost)."
            )


def replace_file(file: Path, content: bytes) -> None:
    """Write a file so that a crash or a full disk leaves the old one or the new one, whole. Raises OSError."""
    temporary = file.with_suffix(".new")  # one name is enough: the lock is ours
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    if sys.platform != "win32":  # there a directory cannot be opened
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
