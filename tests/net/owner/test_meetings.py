"""The meeting sensors of this machine, whichever it is."""

import asyncio
import logging
import platform
import sys
from types import SimpleNamespace

import pytest

from herd.net.owner.meeting import ANSWER_S, asked
from herd.net.owner.meetings import Meeting, MeetingProbe, NoMeetings, meeting_probe
from herd.net.owner.meetings_linux import LinuxMeetings
from herd.net.owner.meetings_macos import MacMeetings
from herd.net.owner.meetings_windows import WindowsMeetings
from herd.net.sensing import SensorAbsent, SensorFailed


async def test_this_machine_says_soon_what_it_knows() -> None:
    probe: MeetingProbe = meeting_probe()
    async with asyncio.timeout(4 * ANSWER_S):
        for _ in range(2):
            found = await probe.sample()
            assert {found.camera, found.microphone} <= {None, True, False}


def test_each_system_has_sensors_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "winreg", SimpleNamespace())
    assert isinstance(meeting_probe("Windows"), WindowsMeetings)
    if hasattr(sys, "getwindowsversion"):
        return
    assert isinstance(meeting_probe("Linux"), LinuxMeetings)
    monkeypatch.setattr(platform, "release", lambda: "25.3.0")
    assert isinstance(meeting_probe("Darwin"), MacMeetings)


async def test_other_systems_have_none() -> None:
    probe = meeting_probe("OpenBSD")
    assert isinstance(probe, NoMeetings)
    assert await probe.sample() == Meeting()


@pytest.mark.parametrize("trouble", [SensorAbsent("none"), SensorFailed("it hangs"), PermissionError("no")])
async def test_a_sensor_in_trouble_says_nothing_and_the_log_why(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def ask() -> bool:
        raise trouble

    assert await asked(ask(), "microphones") is None
    assert caplog.messages == [f"microphones: unknown: {trouble}"]
