"""Whether camera and microphone of a Windows machine are in use, by what Windows notes for its own indicators.

Below `ConsentStore`, every program that ever used one has a key: those from the store by the name of their package, the
others by their path. Each notes when the program began and when it ended; an end of 0 says that it has not. A program
that crashed, a loss of power, and some releases of Windows 10 leave that 0 behind, so the program has to run, too.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from herd.net.owner.meeting import Meeting, asked
from herd.net.sensing import Aside, SensorFailed

_STORE = r"SOFTWARE\Microsoft\Windows\CurrentVersion\CapabilityAccessManager\ConsentStore"
_CAMERA, _MICROPHONE = rf"{_STORE}\webcam", rf"{_STORE}\microphone"
_UNPACKAGED = "NonPackaged"
_BEGAN, _ENDED = "LastUsedTimeStart", "LastUsedTimeStop"  # in 100 ns since 1601
# Accounts of people, local and of a company; the others are services'.
_PEOPLE = ("S-1-5-21-", "S-1-12-1-")
# Keys below one that are looked at. Programs that ask for a camera are dozens, people at a machine a handful.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Use:
    """A program that has begun, and has noted no end."""

    name: str  # of the package, or its path with # for \
    packaged: bool


class WindowsMeetings:
    """Implements `MeetingProbe`.

    Args:
        registry: the module `winreg`.
        programs: what runs, by path, or by name where the path is not shown.
    """

    def __init__(self, registry: Any, programs: Callable[[], list[str]]) -> None:
        self._registry = registry
        self._programs = programs
        self._aside = Aside("registry")

    async def sample(self) -> Meeting:
        """What is true now."""
        return await asked(self._aside.run(self._read), "camera and microphone") or Meeting()

    def _read(self) -> Meeting:
        return Meeting(camera=self._in_use(_CAMERA), microphone=self._in_use(_MICROPHONE))

    def _in_use(self, store: str) -> bool | None:
        uses, whole = read_store(self._registry, store)
        if uses:
            programs = self._programs()
            if any(is_running(use, programs) for use in uses):
                return True
        return False if whole else None


def read_store(registry: Any, store: str) -> tuple[list[Use], bool]:
    """The programs that use a camera, or a microphone, and whether all were seen. Blocking.

    Each person has a store, and the machine one for services. A service sees those of the people who are logged in.

    Args:
        registry: the module `winreg`.
        store: the key, below that of a person or of the machine.
    """
    uses, found, hidden = list[Use](), False, False
    people = [name for name in _keys(registry, registry.HKEY_USERS) if name.startswith(_PEOPLE)]
    hives = [(registry.HKEY_USERS, f"{name}\\{store}") for name in people if not name.endswith("_Classes")]
    for hive, path in [(registry.HKEY_CURRENT_USER, store), (registry.HKEY_LOCAL_MACHINE, store), *hives]:
        try:
            with _open(registry, hive, path) as key:
                uses += _uses(registry, key, packaged=True)
                found = True
            with _open(registry, hive, rf"{path}\{_UNPACKAGED}") as key:
                uses += _uses(registry, key, packaged=False)
        except FileNotFoundError:
            continue
        except OSError:
            hidden = True
    return uses, found and not hidden


def is_running(use: Use, programs: Iterable[str]) -> bool:
    """Whether one of these programs, by paths or names, is that of `use`.

    A package is recognised by its folder: `Name_1.0.0.0_x64__publisher` is that of the package `Name_publisher`.
    """
    wanted = use.name.lower()
    name, _, publisher = wanted.rpartition("_")
    for program in programs:
        parts = program.lower().split("\\")
        if use.packaged:
            if any(part.startswith(f"{name}_") and part.endswith(f"_{publisher}") for part in parts):
                return True
        elif "#".join(parts) == wanted or (len(parts) == 1 and wanted.endswith(f"#{parts[0]}")):
            return True
    return False


def running_programs() -> list[str]:
    """The path of each program that runs, or its name where the path is not shown. Blocking."""
    try:
        return [process.info["exe"] or process.info["name"] for process in psutil.process_iter(["exe", "name"])]
    except psutil.Error as error:
        raise SensorFailed(f"what runs cannot be read: {error}") from error


def windows_meetings() -> WindowsMeetings:
    """The sensors of this machine."""
    return WindowsMeetings(importlib.import_module("winreg"), running_programs)


def _uses(registry: Any, store: Any, *, packaged: bool) -> Iterator[Use]:
    for name in _keys(registry, store):
        try:
            with _open(registry, store, name) as key:
                began, ended = _number(registry, key, _BEGAN), _number(registry, key, _ENDED)
        except FileNotFoundError:  # it never used one: it only asked, or was only asked for
            continue
        if began and ended == 0:
            yield Use(name, packaged)


def _keys(registry: Any, key: Any) -> Iterator[str]:
    for index in range(_MOST):
        try:
            yield registry.EnumKey(key, index)
        except OSError:  # there are no more
            return


def _open(registry: Any, key: Any, path: str) -> Any:
    return registry.OpenKey(key, path, 0, registry.KEY_READ | registry.KEY_WOW64_64KEY)


def _number(registry: Any, key: Any, name: str) -> int | None:
    value, _ = registry.QueryValueEx(key, name)
    return value if isinstance(value, int) else None
