"""Whether camera and microphone of a Mac are in use: what to make of what its frameworks say.

Neither takes the owner's permission. Not asked is the system's log, which tells of changes only, to administrators
only, in other words with every release.
"""

import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from herd.net.owner.meeting import Meeting, asked
from herd.net.sensing import SensorFailed, Tool

_DEVICES = Path(__file__).with_name("devices_macos.py")
# No settings of the user's, no packages: it starts in half the time, and nobody else's code runs in it.
_BARE = ("-I", "-S")
# macOS 26.3, by the version of its kernel: a program without permission for the camera hears that none runs (Lolgato,
# pull request 10), so that only the opposite means something.
_SILENT = (25, 3)
# Runs always, also without OBS (go-media-devices-state, camera_darwin.mm).
_ALWAYS_ON = frozenset({"obs-virtual-cam-device"})


@dataclass(frozen=True, slots=True)
class Devices:
    """What the frameworks say; None is what they do not."""

    recording: bool | None  # any program does
    input: bool | None  # the default microphone runs
    cameras: tuple[tuple[str, bool | None], ...] | None = None  # the unique id of each, and whether it runs


class MacMeetings:
    """Implements `MeetingProbe`.

    Args:
        tool: Python.
        darwin: the version of the kernel.
        silicon: it has an Apple chip. There built-in cameras may say that they run whether they do or not (issue 3 of
            onair, issue 4 of is-camera-on): one is believed once it has said that it does not.
    """

    def __init__(self, tool: Tool, darwin: tuple[int, int], *, silicon: bool) -> None:
        self._tool = tool
        self._darwin = darwin
        self._silicon = silicon
        self._seen_off = frozenset[str]()

    async def sample(self) -> Meeting:
        """What is true now."""
        devices = await asked(self._ask(), "camera and microphone") or Devices(None, None)
        present = dict(devices.cameras or ())
        if devices.cameras is not None:  # those that were unplugged are forgotten
            self._seen_off = frozenset(uid for uid, runs in present.items() if runs is False or uid in self._seen_off)
        return Meeting(
            camera=camera_in_use(
                devices.cameras,
                believed=self._seen_off if self._silicon else frozenset(present),
                silent=self._darwin >= _SILENT,
            ),
            microphone=devices.input if devices.recording is None else devices.recording,
        )

    async def _ask(self) -> Devices:
        _, said = await self._tool.run(*_BARE, str(_DEVICES))  # one that is ended early has said something all the same
        return read_devices(said)


def read_devices(said: str) -> Devices:
    """What `devices_macos` said last; makers' plug-ins may speak in between.

    Raises:
        SensorFailed: it said nothing.
    """
    for line in reversed(said.splitlines()):
        with suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(line, type=Devices)
    raise SensorFailed("the frameworks for camera and microphone do not answer")


def camera_in_use(
    cameras: tuple[tuple[str, bool | None], ...] | None, *, believed: frozenset[str], silent: bool
) -> bool | None:
    """Whether a camera is in use.

    Args:
        cameras: the unique id of each, and whether it runs.
        believed: those that mean it when they say that they run.
        silent: that one does not run means nothing.
    """
    if cameras is None:
        return None
    said = [(uid, runs) for uid, runs in cameras if uid not in _ALWAYS_ON]
    if any(runs and uid in believed for uid, runs in said):
        return True
    return None if silent or any(runs is not False for _, runs in said) else False


def mac_meetings() -> MacMeetings:
    """The sensors of this machine."""
    major, minor, *_ = [int(part) for part in platform.release().split(".")]
    return MacMeetings(Tool(sys.executable), (major, minor), silicon=platform.machine() == "arm64")
