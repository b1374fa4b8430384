"""What a Mac's frameworks are asked, by functions that are called as theirs are."""

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_bool, c_int32, c_long, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import pytest

from herd.net.owner import devices_macos
from herd.net.owner.devices_macos import cameras, core_audio, core_foundation, core_media_io, microphones

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Macs have alarms")

# The frameworks' prototypes, by their headers (AudioHardware.h, CMIOHardwareObject.h, CFString.h).
SIZE = CFUNCTYPE(c_int32, c_uint32, c_void_p, c_uint32, c_void_p, POINTER(c_uint32))
AUDIO = CFUNCTYPE(c_int32, c_uint32, c_void_p, c_uint32, c_void_p, POINTER(c_uint32), c_void_p)
MEDIA = CFUNCTYPE(c_int32, c_uint32, c_void_p, c_uint32, c_void_p, c_uint32, POINTER(c_uint32), c_void_p)
TEXT = CFUNCTYPE(c_bool, c_void_p, c_void_p, c_long, c_uint32)
RELEASE = CFUNCTYPE(None, c_void_p)

UNKNOWN = 0x77686F3F  # 'who?': there is no such property

# The codes of the headers.
DEVICES, INPUT, RUNS, PROGRAMS, RECORDS, UID = (
    0x64657623, 0x64496E20, 0x676F6E65, 0x70727323, 0x70697269, 0x75696420,
)  # fmt: skip
GLOBAL = 0x676C6F62


def u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, sys.byteorder) for value in values)


def reference(value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder)


class Objects:
    """Objects with these properties, as one of the frameworks, or both, have them."""

    def __init__(self, properties: dict[tuple[int, int], bytes]) -> None:
        self.properties = properties
        self.AudioObjectGetPropertyDataSize = SIZE(self._size)
        self.CMIOObjectGetPropertyDataSize = SIZE(self._size)
        self.AudioObjectGetPropertyData = AUDIO(self._audio)
        self.CMIOObjectGetPropertyData = MEDIA(self._media)

    def _value(self, thing: int, address: int) -> bytes | None:
        selector, scope, element = (c_uint32 * 3).from_address(address)
        assert (scope, element) == (GLOBAL, 0)
        return self.properties.get((thing, selector))

    def _size(self, thing: int, address: int, _size: int, _qualifier: int | None, size: Any) -> int:
        assert (_size, _qualifier) == (0, None)
        value = self._value(thing, address)
        if value is None:
            return UNKNOWN
        size[0] = len(value)
        return 0

    def _audio(self, thing: int, address: int, _size: int, _qualifier: int | None, size: Any, room: int) -> int:
        assert (_size, _qualifier) == (0, None)
        value = self._value(thing, address)
        if value is None:
            return UNKNOWN
        assert size[0] >= len(value)
        ctypes.memmove(room, value, len(value))
        size[0] = len(value)
        return 0

    def _media(
        self, thing: int, address: int, _size: int, _qualifier: int | None, size: int, used: Any, room: int
    ) -> int:
        assert (_size, _qualifier) == (0, None)
        value = self._value(thing, address)
        if value is None:
            return UNKNOWN
        assert size >= len(value)
        ctypes.memmove(room, value, len(value))
        used[0] = len(value)
        return 0


class Texts:
    """CoreFoundation, with texts by reference."""

    def __init__(self, texts: dict[int, str]) -> None:
        self.texts = texts
        self.released: list[int] = []
        self.CFStringGetCString = TEXT(self._get)
        self.CFRelease = RELEASE(self.released.append)

    def _get(self, text: int, room: int, size: int, encoding: int) -> bool:
        assert encoding == 0x08000100  # UTF-8
        value = self.texts[text].encode() + b"\0"
        if len(value) > size:
            return False
        ctypes.memmove(room, value, len(value))
        return True


def heard(properties: dict[tuple[int, int], bytes]) -> dict[str, bool | None]:
    return microphones(core_audio(Objects(properties)))


def seen(properties: dict[tuple[int, int], bytes], texts: Texts | None = None) -> list[tuple[str, bool | None]] | None:
    return cameras(core_media_io(Objects(properties)), core_foundation(texts or Texts({})))


# --- Microphones ------------------------------------------------------------------------------------------------------


def test_one_program_that_records_is_enough() -> None:
    programs = {(1, PROGRAMS): u32(71, 72), (71, RECORDS): u32(0), (72, RECORDS): u32(1)}
    assert heard(programs) == {"recording": True, "input": None}
    assert heard({**programs, (72, RECORDS): u32(0)}) == {"recording": False, "input": None}
    assert heard({(1, PROGRAMS): b""}) == {"recording": False, "input": None}


def test_a_program_that_has_just_ended_does_not_record() -> None:
    assert heard({(1, PROGRAMS): u32(71)})["recording"] is False


def test_systems_that_do_not_know_programs_know_whether_the_default_microphone_runs() -> None:
    assert heard({(1, INPUT): u32(44), (44, RUNS): u32(1)}) == {"recording": None, "input": True}
    assert heard({(1, INPUT): u32(44), (44, RUNS): u32(0)}) == {"recording": None, "input": False}


def test_without_a_microphone_nothing_is_known_of_it() -> None:
    assert heard({}) == {"recording": None, "input": None}
    assert heard({(1, INPUT): u32(0), (0, RUNS): u32(1)}) == {"recording": None, "input": None}
    assert heard({(1, INPUT): b"", (0, RUNS): u32(1)}) == {"recording": None, "input": None}


def test_what_is_no_list_and_what_is_no_number_is_not_believed() -> None:
    assert heard({(1, PROGRAMS): u32(*[71] * 2000), (71, RECORDS): u32(1)})["recording"] is None
    assert heard({(1, PROGRAMS): u32(71) + b"\1", (71, RECORDS): u32(1)})["recording"] is True
    assert heard({(1, INPUT): u32(44), (44, RUNS): b"\1"})["input"] is None


# --- Cameras ----------------------------------------------------------------------------------------------------------


def test_each_camera_says_whether_it_runs() -> None:
    texts = Texts({0x7F0000001: "0x1000002e1a4c01", 0x7F0000002: "Küche"})
    properties = {
        (1, DEVICES): u32(33, 34, 35),
        (33, UID): reference(0x7F0000001),
        (33, RUNS): u32(1),
        (34, UID): reference(0x7F0000002),
        (34, RUNS): u32(0),
    }
    assert seen(properties, texts) == [("0x1000002e1a4c01", True), ("Küche", False), ("", None)]
    assert texts.released == [0x7F0000001, 0x7F0000002]


def test_no_camera_is_another_answer_than_none() -> None:
    assert seen({(1, DEVICES): b""}) == []
    assert seen({}) is None


def test_a_camera_with_too_long_a_name_or_without_one_still_runs() -> None:
    properties = {(1, DEVICES): u32(33, 34), (33, UID): reference(8), (33, RUNS): u32(1), (34, UID): reference(0)}
    texts = Texts({8: "x" * 300})
    assert seen(properties, texts) == [("", True), ("", None)]
    assert texts.released == [8]


# --- The process ------------------------------------------------------------------------------------------------------


def frameworks(properties: dict[tuple[int, int], bytes], texts: Texts) -> Callable[[str], Any]:
    def load(path: str) -> Any:
        name = Path(path).name
        assert path == f"/System/Library/Frameworks/{name}.framework/{name}"
        return texts if name == "CoreFoundation" else Objects(properties)

    return load


def test_it_says_what_it_knows_before_it_looks_for_cameras(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[float] = []
    monkeypatch.setattr(signal, "ITIMER_REAL", 0, raising=False)
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: timers.append(seconds), raising=False)
    properties = {(1, PROGRAMS): b"", (1, DEVICES): u32(33), (33, UID): reference(8), (33, RUNS): u32(0)}
    devices_macos.main(frameworks(properties, Texts({8: "built-in"})))
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"recording": False, "input": None}
    assert json.loads(second) == {"recording": False, "input": None, "cameras": [["built-in", False]]}
    assert timers == [devices_macos.TIME_S]


# As the file runs on a Mac whose frameworks know nothing, and where to load that for cameras hangs.
HANGS = """
import runpy, select, sys
devices = runpy.run_path(sys.argv[1])
main = devices["main"]
main.__globals__["TIME_S"] = 0.2
class Nothing:
    def AudioObjectGetPropertyDataSize(*_): return 1
    def AudioObjectGetPropertyData(*_): return 1
    def CFStringGetCString(*_): return False
    def CFRelease(*_): return None
main(lambda path: select.select([], [], []) if "CoreMediaIO" in path else Nothing)
"""


@needs_posix
def test_a_plug_in_that_hangs_does_not_outlive_its_time() -> None:
    command = [sys.executable, "-I", "-S", "-c", HANGS, devices_macos.__file__]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == -signal.SIGALRM, ended.stderr
    assert json.loads(ended.stdout) == {"recording": None, "input": None}


@needs_posix
@pytest.mark.skipif(sys.platform == "darwin", reason="there are the frameworks")
def test_where_there_are_no_such_frameworks_it_says_nothing() -> None:
    command = [sys.executable, "-I", "-S", devices_macos.__file__]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "CoreAudio" in ended.stderr


@pytest.mark.skipif(sys.platform != "darwin", reason="asks a Mac")
def test_a_real_mac_answers() -> None:
    command = [sys.executable, "-I", "-S", devices_macos.__file__]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert json.loads(ended.stdout.splitlines()[-1]).keys() >= {"recording", "input"}
