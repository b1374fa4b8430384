"""Whether camera and microphone of a Linux machine are in use: of its sensors, which one is believed.

The kernel knows which devices are open, for all users. Where a sound server holds them, it alone knows whether somebody
listens; only the server of one's own user answers. A login under systemd or elogind has its sockets below /run/user.
"""

import asyncio
import os
import shutil
from pathlib import Path

from herd.net.owner.devices_linux import Users, read_cameras, read_capture
from herd.net.owner.meeting import Meeting, asked
from herd.net.owner.sound_servers import SOURCES, STREAMS, microphones, read_pipewire, recorded_sources
from herd.net.sensing import Aside, SensorAbsent, SensorFailed, Tool
from herd.types import MiB, Seconds

# Two sensors may be asked in a row, and who asks for a meeting waits 2 s (`watched.WAIT_S`) for both and for the end of
# their programs: where both hang, what the others say is heard.
ANSWER_S = Seconds(0.75)
# 60 KiB with nothing plugged in, and up to 20 KiB for each device and stream.
_MAX_DUMP = 4 * MiB
# Numbers with points and text as it is, whatever language the machine speaks.
_LOCALE = "LC_ALL=C.UTF-8"


class LinuxMeetings:
    """Implements `MeetingProbe`.

    Args:
        root: of the file system.
        user: whose sound server is asked.
        pactl: the program that speaks to PulseAudio, and to PipeWire where that stands in for it; None: there is none.
        pw_dump: the one that speaks to PipeWire.
    """

    def __init__(self, root: Path, user: int, pactl: str | None, pw_dump: str | None) -> None:
        self._root = root
        self._user = user
        self._pactl, self._pw_dump = pactl, pw_dump
        # By way of `env`, which every system has: they get our environment but for the language.
        self._to_pulse, self._to_pipewire = Tool("env"), Tool("env", most=_MAX_DUMP)
        self._alsa, self._files = Aside("alsa"), Aside("open files")

    async def sample(self) -> Meeting:
        """What is true now."""
        capture, cameras, recording = await asyncio.gather(
            asked(self._alsa.run(self._read_capture), "microphones by ALSA", ANSWER_S),
            asked(self._files.run(self._read_cameras), "cameras by open files", ANSWER_S),
            asked(self._ask_pulse(), "microphones by PulseAudio", ANSWER_S),
        )
        pipewire = Meeting()
        if recording is None or (cameras is not None and cameras.servers):
            pipewire = await asked(self._ask_pipewire(), "microphones and cameras by PipeWire", ANSWER_S) or pipewire
        return Meeting(
            camera=camera_in_use(cameras, pipewire.camera),
            microphone=microphone_in_use(capture, pipewire.microphone if recording is None else recording),
        )

    def _read_capture(self) -> Users:
        proc = self._root / "proc"
        return read_capture(proc / "asound", proc, self._user)

    def _read_cameras(self) -> Users:
        return read_cameras(self._root / "dev", self._root / "sys", self._root / "proc", self._user)

    async def _ask_pulse(self) -> bool:
        # Where a server is named, libpulse starts none of its own.
        pactl = _LOCALE, _there(self._pactl, "pactl"), f"--server=unix:{self._socket('pulse/native')}"
        recorded = recorded_sources(await _said(self._to_pulse, *pactl, *STREAMS))
        return bool(recorded) and bool(recorded & microphones(await _said(self._to_pulse, *pactl, *SOURCES)))

    async def _ask_pipewire(self) -> Meeting:
        pw_dump = _LOCALE, _there(self._pw_dump, "pw-dump"), f"--remote={self._socket('pipewire-0')}"
        return read_pipewire(await _said(self._to_pipewire, *pw_dump))

    def _socket(self, name: str) -> Path:
        path = self._root / "run" / "user" / str(self._user) / name
        if not path.is_socket():
            raise SensorAbsent(f"nobody listens at {path}")
        return path


def camera_in_use(cameras: Users | None, pipewire: bool | None) -> bool | None:
    """Whether a camera is in use.

    Args:
        cameras: who holds one open.
        pipewire: whether it serves a camera to somebody.
    """
    if cameras is None:
        return None
    if cameras.programs or (cameras.servers and pipewire):
        return True
    if cameras.hidden:
        return None
    return pipewire if cameras.servers else False


def microphone_in_use(capture: Users | None, recording: bool | None) -> bool | None:
    """Whether a microphone is in use.

    Args:
        capture: who records through the kernel. A sound server does for some seconds longer than anybody listens, for a
            filter that always runs, and for level meters.
        recording: what the sound server says; where it does not answer, its recording is taken for somebody's.
    """
    if recording or (capture is not None and capture.programs):
        return True
    if recording is None and capture is not None:
        return capture.servers
    return recording


def linux_meetings() -> LinuxMeetings:
    """The sensors of this machine, for the user that this process runs as."""
    return LinuxMeetings(Path("/"), os.getuid(), shutil.which("pactl"), shutil.which("pw-dump"))


def _there(program: str | None, name: str) -> str:
    if program is None:
        raise SensorAbsent(f"{name} is not installed")
    return program


async def _said(tool: Tool, *arguments: str) -> str:
    code, said = await tool.run(*arguments)
    if code != 0:
        raise SensorFailed(f"{arguments[1]} ended with {code}")
    return said
