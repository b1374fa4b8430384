"""Whose camera and microphone Windows notes as in use, in a registry of its shape."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.owner import meeting
from herd.net.owner.meeting import Meeting
from herd.net.owner.meetings_windows import Use, WindowsMeetings, is_running, read_store, running_programs
from herd.types import Seconds

STORE = r"SOFTWARE\Microsoft\Windows\CurrentVersion\CapabilityAccessManager\ConsentStore"
CAMERA, MICROPHONE = rf"{STORE}\webcam", rf"{STORE}\microphone"
# Keys as they stand in public reports.
TEAMS, ZOOM = "MSTeams_8wekyb3d8bbwe", r"NonPackaged\C:#Program Files#Zoom#bin#Zoom.exe"
ZOOM_RUNS = r"C:\Program Files\Zoom\bin\Zoom.exe"
TEAMS_RUNS = r"C:\Program Files\WindowsApps\MSTeams_24215.1007.3082.1590_x64__8wekyb3d8bbwe\ms-teams.exe"
OWNER, OTHER = "S-1-5-21-1111-2222-3333-1001", "S-1-5-21-1111-2222-3333-1002"

BEGAN, ENDED = 133_700_000_000_000_000, 133_700_000_600_000_000
IN_USE = {"Value": "Allow", "LastUsedTimeStart": BEGAN, "LastUsedTimeStop": 0}
USED = {**IN_USE, "LastUsedTimeStop": ENDED}
NEVER = {**USED, "LastUsedTimeStart": 0, "LastUsedTimeStop": 0}
ONLY_ASKED = {"Value": "Deny"}

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    hive: str
    path: str


class Registry:
    """The module `winreg` for keys with these values. Windows compares names without regard to case."""

    HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, HKEY_USERS = Key("HKCU", ""), Key("HKLM", ""), Key("HKU", "")
    KEY_READ, KEY_WOW64_64KEY = 0x20019, 0x0100

    def __init__(self, keys: Mapping[tuple[str, str], Values], *denied: str) -> None:
        self._keys = {(hive, path.lower()): values for (hive, path), values in keys.items()}
        self._names = [(hive, path) for hive, path in keys]
        self._denied = denied

    @contextmanager
    def OpenKey(self, key: Key, path: str, reserved: int, access: int) -> Iterator[Key]:  # noqa: N802
        assert (reserved, access) == (0, self.KEY_READ | self.KEY_WOW64_64KEY)
        opened = Key(key.hive, f"{key.path}\\{path}".strip("\\"))
        if any(opened.path.startswith(name) for name in self._denied):
            raise PermissionError(13, "Access is denied")
        if not self._below(opened) and (opened.hive, opened.path.lower()) not in self._keys:
            raise FileNotFoundError(2, "The system cannot find the file specified")
        yield opened

    def EnumKey(self, key: Key, index: int) -> str:  # noqa: N802
        names = self._below(key)
        if index >= len(names):
            raise OSError(22, "No more data is available")
        return names[index]

    def QueryValueEx(self, key: Key, name: str) -> tuple[Any, int]:  # noqa: N802
        values = self._keys.get((key.hive, key.path.lower()), {})
        if name not in values:
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return values[name], 11

    def _below(self, key: Key) -> list[str]:
        start = f"{key.path}\\".lower() if key.path else ""
        below = [
            path[len(start) :] for hive, path in self._names if hive == key.hive and path.lower().startswith(start)
        ]
        return list(dict.fromkeys(name.split("\\")[0] for name in below))


def store(camera: Mapping[str, Values], microphone: Mapping[str, Values] | None = None, hive: str = "HKCU") -> Any:
    """What a person's store has of each program."""
    keys: dict[tuple[str, str], Values] = {(hive, CAMERA): {"Value": "Allow"}, (hive, MICROPHONE): {"Value": "Allow"}}
    keys |= {(hive, rf"{CAMERA}\{name}"): values for name, values in camera.items()}
    return keys | {(hive, rf"{MICROPHONE}\{name}"): values for name, values in (microphone or {}).items()}


async def sample(keys: Mapping[tuple[str, str], Values], *programs: str, denied: tuple[str, ...] = ()) -> Meeting:
    return await WindowsMeetings(Registry(keys, *denied), lambda: list(programs)).sample()


# --- What is noted ----------------------------------------------------------------------------------------------------


async def test_a_program_that_began_and_has_not_ended_uses_it() -> None:
    keys = store({TEAMS: USED, ZOOM: IN_USE}, {TEAMS: IN_USE, ZOOM: USED})
    assert await sample(keys, ZOOM_RUNS, TEAMS_RUNS) == Meeting(camera=True, microphone=True)


async def test_one_that_has_ended_or_never_begun_does_not() -> None:
    keys = store({TEAMS: USED, ZOOM: NEVER}, {TEAMS: ONLY_ASKED})
    assert await sample(keys, ZOOM_RUNS, TEAMS_RUNS) == Meeting(camera=False, microphone=False)


async def test_camera_and_microphone_are_told_apart() -> None:
    assert await sample(store({}, {ZOOM: IN_USE}), ZOOM_RUNS) == Meeting(camera=False, microphone=True)


@pytest.mark.parametrize("values", [{"LastUsedTimeStart": BEGAN}, {**IN_USE, "LastUsedTimeStop": "0"}])
async def test_what_is_no_time_is_no_use(values: Values) -> None:
    assert (await sample(store({ZOOM: values}), ZOOM_RUNS)).camera is False


async def test_a_program_that_does_not_run_left_its_note_behind() -> None:
    keys = store({ZOOM: IN_USE}, {TEAMS: IN_USE})
    assert await sample(keys, r"C:\Windows\explorer.exe", "System") == Meeting(camera=False, microphone=False)


async def test_a_system_without_the_store_says_nothing() -> None:
    assert await sample({("HKCU", "SOFTWARE"): {}}, ZOOM_RUNS) == Meeting()


async def test_services_have_a_store_of_the_machine() -> None:
    keys = store({}) | store({ZOOM: IN_USE}, hive="HKLM")
    assert await sample(keys, ZOOM_RUNS) == Meeting(camera=True, microphone=False)


# --- Whose ------------------------------------------------------------------------------------------------------------


def of(person: str, *names: str) -> dict[tuple[str, str], Values]:
    return {("HKU", rf"{person}\{path}"): values for (_, path), values in store(dict.fromkeys(names, IN_USE)).items()}


async def test_a_service_sees_the_stores_of_those_who_are_logged_in() -> None:
    assert (await sample(store({}) | of(OWNER, ZOOM), ZOOM_RUNS)).camera is True
    assert (await sample(store({}) | of(f"{OWNER}_Classes", ZOOM), ZOOM_RUNS)).camera is False
    assert (await sample(store({}) | of("S-1-5-18", ZOOM), ZOOM_RUNS)).camera is False


async def test_of_people_whose_store_is_closed_nothing_is_known() -> None:
    keys = store({}) | of(OWNER, ZOOM) | of(OTHER)
    assert await sample(keys, ZOOM_RUNS, denied=(OTHER,)) == Meeting(camera=True)
    assert await sample(keys, denied=(OTHER,)) == Meeting()


async def test_what_cannot_be_read_half_way_is_unknown() -> None:
    assert await sample(store({ZOOM: IN_USE, TEAMS: USED}), denied=(rf"{CAMERA}\{TEAMS}",)) == Meeting(microphone=False)


# --- Whether it runs --------------------------------------------------------------------------------------------------


def desktop(path: str) -> Use:
    return Use(path, packaged=False)


def test_a_program_is_known_by_its_path() -> None:
    use = desktop("C:#Python312#python.exe")
    assert is_running(use, [r"c:\python312\PYTHON.EXE"])
    assert not is_running(use, [r"D:\other\python.exe", r"C:\Python312\pythonw.exe"])


def test_one_whose_path_is_not_shown_is_known_by_its_name() -> None:
    use = desktop("C:#Program Files#Zoom#bin#Zoom.exe")
    assert is_running(use, ["System", "zoom.exe"])
    assert not is_running(use, ["oom.exe", ""])


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        (TEAMS_RUNS, True),
        (r"C:\Windows\SystemApps\MSTeams_8wekyb3d8bbwe\teams.exe", True),
        (r"C:\Program Files\WindowsApps\MSTeamsPlus_1_x64__8wekyb3d8bbwe\teams.exe", False),
        (r"C:\Program Files\WindowsApps\MSTeams_1_x64__abcdefgh12345\teams.exe", False),
        ("ms-teams.exe", False),
    ],
)
def test_a_package_is_known_by_its_folder(path: str, *, runs: bool) -> None:
    assert is_running(Use(TEAMS, packaged=True), [path]) is runs


@given(st.text(alphabet="abC_.\\", min_size=1, max_size=12))
@settings(max_examples=100, derandomize=True, database=None)
def test_every_path_is_known_by_its_key(path: str) -> None:
    use = desktop(path.replace("\\", "#"))
    assert is_running(use, ["System", path.upper()])
    assert not is_running(use, [f"{path}\\x", f"x\\{path}"])


def test_the_programs_of_this_machine_are_named() -> None:
    assert any(running_programs())


# --- That nobody waits ------------------------------------------------------------------------------------------------


def test_there_is_an_end_to_looking() -> None:
    class Endless(Registry):
        def EnumKey(self, key: Key, index: int) -> str:  # noqa: N802
            return ZOOM if key.path else f"{OWNER}{index}"

    uses, _ = read_store(Endless(store({ZOOM: IN_USE})), CAMERA)
    assert len(uses) == 1000


async def test_a_registry_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "ANSWER_S", Seconds(0.1))
    answer = threading.Event()

    class Stuck(Registry):
        def EnumKey(self, key: Key, index: int) -> str:  # noqa: N802
            answer.wait()
            return super().EnumKey(key, index)

    meetings = WindowsMeetings(Stuck(store({ZOOM: IN_USE})), lambda: [ZOOM_RUNS])
    began = time.monotonic()
    for _ in range(3):
        assert await meetings.sample() == Meeting()
    assert time.monotonic() - began < 5
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "registry":
            await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    monkeypatch.undo()
    assert (await meetings.sample()).camera is True
