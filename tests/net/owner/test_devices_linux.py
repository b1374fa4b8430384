"""What Linux's kernel shows of who uses microphones and cameras."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.owner import devices_linux
from herd.net.owner.devices_linux import Users, read_cameras, read_capture, recording_process
from herd.net.sensing import SensorAbsent, SensorFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its files are Linux's")

ME = os.getuid() if hasattr(os, "getuid") else 0
SOMEBODY = ME + 1

# /proc/asound/card0/pcm0c/sub0/status, as it stands in public reports and in the kernel (sound/core/pcm.c).
CLOSED = "closed\n"
RUNNING = """state: RUNNING
owner_pid   : 3767
trigger_time: 224110.719883196
tstamp      : 224164.735391138
delay       : 2048
avail       : 2048
avail_max   : 2048
-----
hw_ptr      : 2592768
appl_ptr    : 2594816
"""


class Kernel:
    """A machine's /proc, /dev and /sys."""

    def __init__(self, root: Path) -> None:
        self.proc, self.asound = root / "proc", root / "proc" / "asound"
        self.dev, self.sys = root / "dev", root / "sys"
        for directory in (self.proc, self.dev):
            directory.mkdir()

    def capture(self, *states: str, device: str = "card0/pcm0c", kind: str = "ALC257 Analog") -> None:
        """A device to record from, in parts with these states."""
        for number, state in enumerate(states):
            part = self.asound / device / f"sub{number}"
            part.mkdir(parents=True)
            (part / "status").write_text(state)
        (self.asound / device / "info").write_text(f"card: 0\ndevice: 0\nstream: CAPTURE\nid: {kind}\nname: {kind}\n")

    def process(self, pid: int, name: str, *files: str, threads: tuple[int, ...] = ()) -> Path:
        """A process with these files open."""
        process = self.proc / str(pid)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        for number, file in enumerate(files):
            (process / "fd" / str(number)).symlink_to(file)
        for thread in (pid, *threads):  # threads have directories of their own, but are not listed
            (self.proc / str(thread)).mkdir(exist_ok=True)
            (self.proc / str(thread) / "status").write_text(f"Name:\t{name}\nTgid:\t{pid}\nPid:\t{thread}\n")
        return process

    def camera(self, name: str = "video0", driver: str = "", users: int | None = None) -> str:
        """A camera, and how often its driver is in use."""
        (self.dev / name).touch()
        if driver:
            module = self.sys / "module" / driver
            module.mkdir(parents=True, exist_ok=True)
            if users is not None:  # else it is part of the kernel
                (module / "refcnt").write_text(f"{users}\n")
            device = self.sys / "class" / "video4linux" / name / "device"
            (device / "driver").mkdir(parents=True)
            (device / "driver" / "module").symlink_to(module)
        return str(self.dev / name)

    def recording(self, user: int = ME) -> Users:
        return read_capture(self.asound, self.proc, user)

    def filming(self, user: int = ME) -> Users:
        return read_cameras(self.dev, self.sys, self.proc, user)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


# --- Microphones ------------------------------------------------------------------------------------------------------


def test_a_capture_device_that_runs_is_recorded_from_by_its_owner() -> None:
    assert recording_process(RUNNING) == 3767
    assert recording_process("state: RUNNING\n") == 0


@pytest.mark.parametrize("state", ["OPEN", "SETUP", "PREPARED", "XRUN", "DRAINING", "PAUSED", "SUSPENDED"])
def test_one_in_another_state_is_not(state: str) -> None:
    assert recording_process(RUNNING.replace("RUNNING", state)) is None


@given(st.text(alphabet="state: RUNIGcloed\nowner_pid0123", max_size=60) | st.text(max_size=20))
@settings(max_examples=200, derandomize=True, database=None)
def test_whatever_its_state_says_it_is_read(said: str) -> None:
    for text in (said, f"state: RUNNING\n{said}"):
        owner = recording_process(text)
        assert owner is None or owner >= 0
    assert recording_process(f"x{said}") is None


def test_a_microphone_is_recorded_from_by_a_program(kernel: Kernel) -> None:
    kernel.capture(CLOSED)
    kernel.capture(CLOSED, RUNNING, device="card1/pcm2c")
    kernel.process(3767, "arecord")
    assert kernel.recording() == Users(programs=True)


def test_nobody_records_when_all_are_closed(kernel: Kernel) -> None:
    kernel.capture(CLOSED, "error -5\n", "")
    assert kernel.recording() == Users()


def test_a_device_that_plays_is_no_microphone(kernel: Kernel) -> None:
    kernel.capture(CLOSED)
    kernel.capture(RUNNING, device="card0/pcm0p")
    assert kernel.recording() == Users()


@pytest.mark.parametrize("name", ["pipewire", "pulseaudio", "wireplumber", "pipewire-media-"])
def test_a_media_server_records_for_others(kernel: Kernel, name: str) -> None:
    kernel.capture(RUNNING)
    kernel.process(3767, name)
    assert kernel.recording() == Users(servers=True)


def test_so_does_a_thread_of_one(kernel: Kernel) -> None:
    kernel.capture(RUNNING)
    kernel.process(3700, "pulseaudio", threads=(3767,))
    assert kernel.recording() == Users(servers=True)


def test_somebody_elses_media_server_cannot_be_asked_and_is_taken_for_a_program(kernel: Kernel) -> None:
    kernel.capture(RUNNING)
    kernel.process(3767, "pipewire")
    assert kernel.recording(SOMEBODY) == Users(programs=True)


def test_an_owner_that_is_not_shown_is_taken_for_a_program(kernel: Kernel) -> None:
    kernel.capture(RUNNING)
    assert kernel.recording() == Users(programs=True)


def test_a_loopback_card_is_no_microphone(kernel: Kernel) -> None:
    kernel.capture(RUNNING, kind="Loopback PCM")
    with pytest.raises(SensorAbsent, match="no capture device"):
        kernel.recording()
    kernel.capture(CLOSED, device="card1/pcm0c")
    assert kernel.recording() == Users()


def test_without_capture_devices_nothing_is_known(kernel: Kernel) -> None:
    with pytest.raises(SensorAbsent, match="no capture device"):
        kernel.recording()


def test_a_state_that_cannot_be_read_is_told(kernel: Kernel) -> None:
    kernel.capture(CLOSED)
    (kernel.asound / "card0" / "pcm0c" / "sub0" / "status").unlink()
    (kernel.asound / "card0" / "pcm0c" / "sub0" / "status").mkdir()
    with pytest.raises(SensorFailed, match="the state of a capture device cannot be read"):
        kernel.recording()


# --- Cameras ----------------------------------------------------------------------------------------------------------


def test_a_camera_that_a_program_holds_open_is_used(kernel: Kernel) -> None:
    camera = kernel.camera()
    kernel.process(10, "bash", "/dev/null", "pipe:[4711]")
    kernel.process(11, "zoom", "socket:[4712]", camera)
    assert kernel.filming() == Users(programs=True)


def test_nobody_uses_it_when_nobody_holds_it_open(kernel: Kernel) -> None:
    kernel.camera()
    kernel.process(10, "bash", "/dev/null", f"{kernel.dev}/video1", f"{kernel.dev}/video00")
    (kernel.proc / "12").mkdir()  # one that has just ended
    assert kernel.filming() == Users()


def test_a_media_server_holds_it_open_for_others_or_for_nobody(kernel: Kernel) -> None:
    kernel.process(10, "wireplumber", kernel.camera())
    assert kernel.filming() == Users(servers=True)
    assert kernel.filming(SOMEBODY) == Users(programs=True)


def test_a_program_beside_a_media_server_counts(kernel: Kernel) -> None:
    kernel.process(10, "pipewire", kernel.camera())
    kernel.process(11, "ffmpeg", kernel.camera("video2"))
    assert kernel.filming().programs


def test_a_virtual_camera_is_kept_open_by_whoever_feeds_it(kernel: Kernel) -> None:
    kernel.process(10, "droidcam", kernel.camera("video7"))
    kernel.camera("video0")
    (kernel.sys / "devices" / "virtual" / "video4linux" / "video7").mkdir(parents=True)
    assert kernel.filming() == Users()


def test_where_the_driver_of_webcams_is_not_in_use_nobody_is_looked_at(kernel: Kernel) -> None:
    kernel.process(10, "zoom", kernel.camera("video0", "uvcvideo", users=0))
    kernel.camera("video1", "uvcvideo", users=0)
    assert kernel.filming() == Users()


@pytest.mark.parametrize(("driver", "users"), [("uvcvideo", 1), ("uvcvideo", None), ("em28xx", 0), ("", None)])
def test_what_another_driver_or_one_in_use_says_is_not_enough(kernel: Kernel, driver: str, users: int | None) -> None:
    kernel.camera("video0", "uvcvideo", users=users if driver == "uvcvideo" else 0)
    kernel.process(10, "zoom", kernel.camera("video1", driver, users))
    assert kernel.filming() == Users(programs=True)


@pytest.mark.parametrize("name", ["null", "video", "videodev", "v4l-subdev0", "media0"])
def test_without_a_camera_nothing_is_known(kernel: Kernel, name: str) -> None:
    kernel.camera(name)
    with pytest.raises(SensorAbsent, match="there is no camera"):
        kernel.filming()


@pytest.mark.parametrize("person", [True, False])
def test_what_other_people_have_open_cannot_be_seen(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, *, person: bool
) -> None:
    monkeypatch.setattr(devices_linux, "_PEOPLE", range(ME, ME + 1) if person else range(SOMEBODY, SOMEBODY + 1))
    kernel.camera()
    process = kernel.process(10, "bash")
    (process / "fd").rmdir()
    (process / "fd").touch()  # it cannot be listed, as another user's
    assert kernel.filming() == Users(hidden=person)


def test_there_is_an_end_to_looking(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_linux, "_MAX_FILES", 3)
    kernel.camera()
    kernel.process(10, "server", *["/dev/null"] * 3)
    assert kernel.filming() == Users()
    kernel.process(11, "server", "/dev/null")
    with pytest.raises(SensorFailed, match="more than 3 open files"):
        kernel.filming()


# --- The real kernel --------------------------------------------------------------------------------------------------

REAL = Path("/proc")


def test_the_real_kernel_shows_who_holds_a_file_open(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    camera = kernel.camera()
    assert not read_cameras(kernel.dev, kernel.sys, REAL, ME).programs
    with Path(camera).open("rb"):
        assert read_cameras(kernel.dev, kernel.sys, REAL, ME) == Users(programs=True)
    assert not read_cameras(kernel.dev, kernel.sys, REAL, ME).programs


@contextmanager
def running(program: Path, file: str) -> Iterator[int]:
    """A shell script that holds `file` open until it is told to end; its process id."""
    program.write_text(f'#!/bin/sh\nexec 3< "{file}"\necho ready\nread line\n')
    program.chmod(0o755)
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child.pid
        child.communicate("end\n", timeout=10)


def test_the_real_kernel_tells_a_media_server_from_a_program(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with running(tmp_path / "pipewire", kernel.camera()) as pid:
        assert read_cameras(kernel.dev, kernel.sys, REAL, ME).servers
        kernel.capture(RUNNING.replace("3767", str(pid)))
        assert read_capture(kernel.asound, REAL, ME) == Users(servers=True)
    with running(tmp_path / "zoom", kernel.camera()) as pid:
        assert read_cameras(kernel.dev, kernel.sys, REAL, ME).programs
        kernel.capture(RUNNING.replace("3767", str(pid)), device="card1/pcm0c")
        assert read_capture(kernel.asound, REAL, ME).programs


def test_the_real_microphones_of_this_machine_are_read_or_absent() -> None:
    try:
        found = read_capture(REAL / "asound", REAL, ME)
    except SensorAbsent:
        return
    assert not found.hidden
