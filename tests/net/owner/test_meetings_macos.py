"""What is made of what a Mac says of its devices."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.owner import devices_macos, meeting
from herd.net.owner.meeting import Meeting
from herd.net.owner.meetings_macos import Devices, MacMeetings, camera_in_use, read_devices
from herd.net.sensing import SensorFailed, Tool
from herd.types import Seconds

VENTURA, SEQUOIA, TAHOE_2, TAHOE_3 = (22, 6), (24, 6), (25, 2), (25, 3)
BUILT_IN, USB, OBS = "0x1000002e1a4c01", "0x14110000046d0825", "obs-virtual-cam-device"


def line(recording: bool | None, microphone: bool | None, *cameras: tuple[str, bool | None]) -> str:
    return json.dumps({"recording": recording, "input": microphone, "cameras": cameras})


class FakeTool:
    """Python, whose child says this."""

    def __init__(self, said: str = "", code: int = 0) -> None:
        self.said, self.code = said, code
        self.runs: list[tuple[str, ...]] = []

    async def run(self, *arguments: str) -> tuple[int, str]:
        self.runs.append(arguments)
        return self.code, self.said


def mac(tool: Any, darwin: tuple[int, int] = SEQUOIA, *, silicon: bool = True) -> MacMeetings:
    return MacMeetings(tool, darwin, silicon=silicon)


# --- What is said -----------------------------------------------------------------------------------------------------


def test_the_last_line_counts() -> None:
    said = f'{{"recording": true, "input": null}}\n{line(True, None, (BUILT_IN, False))}\n'
    assert read_devices(said) == Devices(True, None, ((BUILT_IN, False),))


def test_plug_ins_may_speak_in_between() -> None:
    said = f'CMIO plug-in loaded\n{line(False, None)}\n[1]\n{{"level": 3}}\n{{"recording": 1, "input": 0}}\n\n'
    assert read_devices(said) == Devices(False, None, ())


@pytest.mark.parametrize(
    "said", ["", "\n", "Traceback", "{}", "null", '{"recording": false}', "[" * 100_000, '{"a": ' * 10_000]
)
def test_nothing_said_of_devices_is_no_answer(said: str) -> None:
    with pytest.raises(SensorFailed, match="do not answer"):
        read_devices(said)


@given(st.text(alphabet='{}[]",:nul tre recording input cameras01\n', max_size=80))
@settings(max_examples=200, derandomize=True, database=None)
def test_whatever_is_said_it_is_read_or_refused(said: str) -> None:
    try:
        found = read_devices(said)
    except SensorFailed:
        return
    assert found.recording in {None, True, False}


# --- Microphones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "runs", "in_use"),
    [
        (True, False, True),
        (False, True, False),  # a headset that only plays
        (None, True, True),
        (None, False, False),
        (None, None, None),
    ],
)
async def test_programs_that_record_say_more_than_a_device_that_runs(
    recording: bool | None, runs: bool | None, in_use: bool | None
) -> None:
    assert (await mac(FakeTool(line(recording, runs))).sample()).microphone is in_use


# --- Cameras ----------------------------------------------------------------------------------------------------------


def in_use(*cameras: tuple[str, bool | None], silent: bool = False) -> bool | None:
    return camera_in_use(cameras, believed=frozenset({BUILT_IN, USB, OBS}), silent=silent)


def test_one_camera_that_runs_is_enough() -> None:
    assert in_use((BUILT_IN, False), (USB, True)) is True
    assert in_use((BUILT_IN, None), (USB, True)) is True
    assert in_use((BUILT_IN, False), (USB, False)) is False
    assert in_use() is False


def test_a_camera_that_does_not_say_may_run() -> None:
    assert in_use((BUILT_IN, False), (USB, None)) is None
    assert camera_in_use(None, believed=frozenset(), silent=False) is None


def test_obs_virtual_camera_says_that_it_runs_and_does_not() -> None:
    assert in_use((OBS, True), (BUILT_IN, False)) is False
    assert in_use((OBS, True)) is False


def test_a_system_that_hides_cameras_is_believed_only_that_one_runs() -> None:
    assert in_use((BUILT_IN, False), silent=True) is None
    assert in_use(silent=True) is None
    assert in_use((BUILT_IN, True), silent=True) is True


@pytest.mark.parametrize(("darwin", "camera"), [(VENTURA, False), (SEQUOIA, False), (TAHOE_2, False), (TAHOE_3, None)])
async def test_it_hides_them_from_macos_26_3_on(darwin: tuple[int, int], camera: bool | None) -> None:
    meetings = mac(FakeTool(line(False, None, (BUILT_IN, False))), darwin)
    assert (await meetings.sample()).camera is camera


async def test_a_camera_of_an_apple_chip_is_believed_once_it_has_said_that_it_is_off() -> None:
    tool = FakeTool(line(False, None, (BUILT_IN, True), (USB, False)))
    meetings = mac(tool)
    assert (await meetings.sample()).camera is None
    tool.said = line(False, None, (BUILT_IN, True), (USB, True))
    assert (await meetings.sample()).camera is True, "the other one has"
    tool.said = line(False, None, (BUILT_IN, False), (USB, False))
    assert (await meetings.sample()).camera is False
    tool.said = line(False, None, (BUILT_IN, True), (USB, False))
    assert (await meetings.sample()).camera is True
    assert (await meetings.sample()).camera is True


async def test_an_answer_that_fails_to_come_does_not_unsay_it_for_cameras_that_are_there() -> None:
    tool = FakeTool(line(False, None, (BUILT_IN, False)))
    meetings = mac(tool)
    await meetings.sample()
    tool.said = ""
    assert await meetings.sample() == Meeting()
    tool.said = line(False, None, (BUILT_IN, True))
    assert (await meetings.sample()).camera is True


async def test_a_camera_that_was_unplugged_has_to_say_it_again() -> None:
    tool = FakeTool(line(False, None, (USB, False)))
    meetings = mac(tool)
    await meetings.sample()
    tool.said = line(False, None)
    assert (await meetings.sample()).camera is False
    tool.said = line(False, None, (USB, True))
    assert (await meetings.sample()).camera is None


async def test_cameras_of_older_macs_are_believed_at_once() -> None:
    meetings = mac(FakeTool(line(False, None, (BUILT_IN, True))), VENTURA, silicon=False)
    assert (await meetings.sample()).camera is True


# --- The process ------------------------------------------------------------------------------------------------------


async def test_a_process_that_is_ended_early_is_heard() -> None:
    tool = FakeTool('{"recording": true, "input": null}\n', code=-14)
    assert await mac(tool).sample() == Meeting(microphone=True)
    ((*bare, script),) = tool.runs
    assert bare == ["-I", "-S"]
    assert script == devices_macos.__file__


@pytest.mark.skipif(sys.platform == "darwin", reason="there it can")
async def test_a_real_process_that_can_say_nothing_is_unknown() -> None:
    assert await mac(Tool(sys.executable)).sample() == Meeting()


@pytest.mark.skipif(sys.platform == "win32", reason="its program is a shell script")
@pytest.mark.parametrize("trouble", ["exec sleep 60", "exec yes", None])
async def test_one_that_hangs_or_babbles_or_is_missing_keeps_nobody_waiting(
    tmp_path: Path, trouble: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "ANSWER_S", Seconds(0.2))
    program = tmp_path / "python"
    if trouble:
        program.write_text(f"#!/bin/sh\n{trouble}\n")
        program.chmod(0o755)
    began = time.monotonic()
    assert await mac(Tool(str(program))).sample() == Meeting()
    assert time.monotonic() - began < 5
