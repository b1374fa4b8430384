"""Of a Linux machine's sensors, which one is believed, and that none of them holds anybody up."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from herd.net.clock import SystemClock
from herd.net.owner import meetings_linux
from herd.net.owner.devices_linux import Users
from herd.net.owner.meeting import Meeting
from herd.net.owner.meetings_linux import LinuxMeetings, camera_in_use, microphone_in_use
from herd.net.owner.watched import Watched
from herd.types import Seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its sensors are Linux's")

ME = os.getuid() if hasattr(os, "getuid") else 0
DATA = Path(__file__).parent / "data"
NOBODY, PROGRAM, SERVER = Users(), Users(programs=True), Users(servers=True)


# --- Who is believed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capture", "recording", "in_use"),
    [
        (None, None, None),
        (None, False, False),
        (None, True, True),
        (NOBODY, None, False),
        (NOBODY, False, False),
        (NOBODY, True, True),  # by Bluetooth
        (PROGRAM, None, True),
        (PROGRAM, False, True),
        (SERVER, None, True),
        (SERVER, False, False),  # for a filter, or still
        (SERVER, True, True),
    ],
)
def test_a_sound_server_is_believed_of_what_it_records_itself(
    capture: Users | None, recording: bool | None, in_use: bool | None
) -> None:
    assert microphone_in_use(capture, recording) is in_use


@pytest.mark.parametrize(
    ("cameras", "pipewire", "in_use"),
    [
        (None, None, None),
        (None, True, None),
        (NOBODY, None, False),
        (NOBODY, True, False),  # a camera of no hardware
        (PROGRAM, False, True),
        (SERVER, True, True),
        (SERVER, False, False),
        (SERVER, None, None),
        (Users(hidden=True), False, None),
        (Users(servers=True, hidden=True), False, None),
        (Users(servers=True, hidden=True), True, True),
    ],
)
def test_a_media_server_is_asked_of_the_cameras_that_it_holds(
    cameras: Users | None, pipewire: bool | None, in_use: bool | None
) -> None:
    assert camera_in_use(cameras, pipewire) is in_use


def test_whoever_says_yes_a_program_with_the_device_open_uses_it() -> None:
    for servers, hidden, said in product([True, False], [True, False], [True, False, None]):
        users = Users(programs=True, servers=servers, hidden=hidden)
        assert camera_in_use(users, said)
        assert microphone_in_use(users, said)


# --- A machine --------------------------------------------------------------------------------------------------------


class Machine:
    """A file system, and programs that speak to sound servers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = root / "asked"
        self._runtime = root / "run" / "user" / str(ME)
        (self._runtime / "pulse").mkdir(parents=True)

    def listens(self, name: str) -> None:
        """A sound server has its socket there."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._runtime / name))

    def program(self, name: str, script: str) -> str:
        """It notes what it is asked, in which locale."""
        path = self.root / name
        path.write_text(f'#!/bin/sh\necho "$LC_ALL" "$@" >> "{self.asked}"\n{script}\n')
        path.chmod(0o755)
        return str(path)

    def meetings(self, pactl: str | None, pw_dump: str | None) -> LinuxMeetings:
        return LinuxMeetings(
            self.root,
            ME,
            self.program("pactl", pactl) if pactl is not None else None,
            self.program("pw-dump", pw_dump) if pw_dump is not None else None,
        )

    def camera_of(self, name: str) -> None:
        """A process of this name holds the camera open."""
        process = self.root / "proc" / "10"
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        (self.root / "dev").mkdir()
        (self.root / "dev" / "video0").touch()
        (process / "fd" / "3").symlink_to(self.root / "dev" / "video0")

    def server(self, name: str) -> Path:
        return self._runtime / name


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def shows(streams: str, sources: str = r"44\tmic\tPipeWire\n40\tn1.monitor\tPipeWire\n") -> str:
    """What pactl does: a file of streams, and sources."""
    return f"case \"$*\" in *short*) printf '{sources}';; *) cat '{DATA / streams}';; esac"


async def test_pactl_is_asked_at_the_users_socket_in_a_plain_locale(machine: Machine) -> None:
    machine.listens("pulse/native")
    meetings = machine.meetings(shows("pactl-16.1-pipewire-call.json"), None)
    assert await meetings.sample() == Meeting(microphone=True)
    server = f"--server=unix:{machine.server('pulse/native')}"
    assert machine.asked.read_text().splitlines() == [
        f"C.UTF-8 {server} -f json list source-outputs",
        f"C.UTF-8 {server} list short sources",
    ]


async def test_a_recorder_of_what_is_played_uses_no_microphone(machine: Machine) -> None:
    machine.listens("pulse/native")
    assert await machine.meetings(shows("pactl-16.1-pipewire-recorder.json"), None).sample() == Meeting(
        microphone=False
    )


async def test_where_nobody_records_pactl_is_asked_once(machine: Machine) -> None:
    machine.listens("pulse/native")
    assert await machine.meetings("echo '[]'", "exit 1").sample() == Meeting(microphone=False)
    assert len(machine.asked.read_text().splitlines()) == 1


@pytest.mark.parametrize("pactl", [None, "exit 1", "echo nonsense", shows("pactl-16.1-pipewire-call.json", "nonsense")])
async def test_without_an_answer_of_pactl_pipewire_is_asked(machine: Machine, pactl: str | None) -> None:
    machine.listens("pulse/native")
    machine.listens("pipewire-0")
    meetings = machine.meetings(pactl, f"cat '{DATA}/pw-dump-0.3.65-call.json'")
    assert await meetings.sample() == Meeting(microphone=True)
    assert machine.asked.read_text().splitlines()[-1] == f"C.UTF-8 --remote={machine.server('pipewire-0')}"


async def test_no_program_is_run_where_no_server_listens(machine: Machine) -> None:
    assert await machine.meetings("echo '[]'", "echo '[]'").sample() == Meeting()
    assert not machine.asked.exists()


@pytest.mark.parametrize(("state", "camera"), [("camera", True), ("camera-idle", False)])
async def test_pipewire_is_asked_of_the_camera_that_it_holds(machine: Machine, state: str, *, camera: bool) -> None:
    machine.listens("pulse/native")
    machine.listens("pipewire-0")
    machine.camera_of("pipewire")
    meetings = machine.meetings("echo '[]'", f"cat '{DATA}/pw-dump-0.3.65-{state}.json'")
    assert await meetings.sample() == Meeting(camera=camera, microphone=False)


async def test_of_a_camera_that_a_program_holds_nobody_is_asked(machine: Machine) -> None:
    machine.listens("pulse/native")
    machine.listens("pipewire-0")
    machine.camera_of("zoom")
    assert await machine.meetings("echo '[]'", "echo '[]'").sample() == Meeting(camera=True, microphone=False)
    assert "--remote" not in machine.asked.read_text()


@pytest.mark.parametrize("trouble", ["exec yes", "exit 3", "echo nonsense", "kill -9 $$", "echo '[]'; exit 1"])
async def test_programs_in_trouble_say_nothing_and_the_others_are_heard(machine: Machine, trouble: str) -> None:
    machine.listens("pulse/native")
    machine.listens("pipewire-0")
    machine.camera_of("zoom")
    assert await machine.meetings(trouble, trouble).sample() == Meeting(camera=True)
    assert len(machine.asked.read_text().splitlines()) == 2, "each was tried"


async def test_programs_that_hang_keep_nobody_waiting(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meetings_linux, "ANSWER_S", Seconds(0.2))
    machine.listens("pulse/native")
    machine.listens("pipewire-0")
    meetings = machine.meetings("exec sleep 60", "exec sleep 60")
    began = time.monotonic()
    for _ in range(2):
        assert await meetings.sample() == Meeting()
    assert time.monotonic() - began < 10


async def test_programs_that_hang_hide_no_camera_that_the_kernel_knows_of(machine: Machine) -> None:
    machine.listens("pulse/native")
    machine.listens("pipewire-0")
    machine.camera_of("zoom")
    meetings = machine.meetings("exec sleep 60", "exec sleep 60")
    assert await Watched("It", meetings.sample, SystemClock()).ask() == Meeting(camera=True)


async def test_files_that_hang_keep_nobody_waiting(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meetings_linux, "ANSWER_S", Seconds(0.2))
    machine.camera_of("pipewire")
    (machine.root / "proc" / "10" / "comm").unlink()
    os.mkfifo(machine.root / "proc" / "10" / "comm")  # opening it waits for somebody who writes
    meetings = machine.meetings(None, None)
    began = time.monotonic()
    for _ in range(3):
        assert await meetings.sample() == Meeting()
    assert time.monotonic() - began < 5
    (machine.root / "proc" / "10" / "comm").write_text("zoom\n")


async def test_whoever_asks_may_go(machine: Machine) -> None:
    machine.listens("pulse/native")
    os.mkfifo(machine.root / "begun")
    meetings = machine.meetings(f"echo > {machine.root / 'begun'}; exec sleep 60", None)
    asking = asyncio.create_task(meetings.sample())
    await asyncio.to_thread((machine.root / "begun").read_text)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


# --- A real sound server ----------------------------------------------------------------------------------------------


@pytest.fixture
def pulseaudio(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a PulseAudio with an output `speaker` and a microphone `mic`, both of nothing."""
    if not all(shutil.which(name) for name in ("pulseaudio", "pactl", "parecord")):
        pytest.skip("needs pulseaudio and pulseaudio-utils")
    runtime = tmp_path / "run" / "user" / str(ME)
    runtime.mkdir(parents=True, mode=0o700)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    modules = (
        "module-native-protocol-unix",
        "module-null-sink sink_name=speaker norewinds=1",
        "module-null-source source_name=mic",
    )
    # It returns when the server is up; one that nobody ends ends itself.
    server = ["pulseaudio", "-n", "--daemonize=yes", "--exit-idle-time=20", *[f"--load={name}" for name in modules]]
    subprocess.run(server, env=environment, check=True, capture_output=True, timeout=30)
    yield environment
    subprocess.run(["pulseaudio", "--kill"], env=environment, check=True, capture_output=True, timeout=30)


@contextmanager
def recorder(environment: dict[str, str], source: str) -> Iterator[None]:
    """A program that records; its first sample has come."""
    command = ["parecord", "--raw", "--latency-msec=20", f"--device={source}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1)
        yield
        child.kill()


async def test_a_real_pulseaudio_says_who_records(tmp_path: Path, pulseaudio: dict[str, str]) -> None:
    meetings = LinuxMeetings(tmp_path, ME, shutil.which("pactl"), None)
    assert await meetings.sample() == Meeting(microphone=False)
    with recorder(pulseaudio, "speaker.monitor"):
        assert await meetings.sample() == Meeting(microphone=False)
        with recorder(pulseaudio, "mic"):
            assert await meetings.sample() == Meeting(microphone=True)
