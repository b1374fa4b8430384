"""What Linux's kernel shows of microphones and cameras: who records through ALSA, and who holds a camera open.

All of it blocks. Of a process, at most its user and whether it is a media server is looked at; its name goes nowhere.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from herd.net.sensing import SensorAbsent, SensorFailed

# They hold devices open for others, or to watch them: whether somebody listens is theirs to say. The kernel keeps 15
# characters of a name.
_MEDIA_SERVERS = frozenset({"pipewire", "pipewire-pulse", "wireplumber", "pipewire-media-", "pulseaudio"})
# Users that are people: https://systemd.io/UIDS-GIDS
_PEOPLE = range(1000, 60514)
# A busy desktop has some 20,000 open files; this many take half a second (5 µs each, measured on two slow cores).
_MAX_FILES = 100_000

_CAMERA = re.compile(r"video\d+")
_STATE = re.compile(r"state: (\w+)")
_OWNER = re.compile(r"^owner_pid\s*: (\d{1,10})$", re.MULTILINE)
_GROUP = re.compile(r"^Tgid:\t(\d{1,10})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Users:
    """Who uses a kind of device."""

    programs: bool = False  # one at least that is no media server of the same user
    servers: bool = False  # a media server of the same user: for others, or for nobody
    hidden: bool = False  # some people's programs cannot be seen, and may


def read_capture(asound: Path, proc: Path, user: int) -> Users:
    """Who records through ALSA, the kernel's sound system; it sees every microphone but those of Bluetooth.

    Args:
        asound: where the kernel shows its sound cards: /proc/asound.
        proc: where it shows processes.
        user: whose media servers can be asked.

    Raises:
        SensorAbsent: there is nothing to record from, or (in a container) it is not shown.
        SensorFailed: a state cannot be read.
    """
    # A loopback card carries what one program plays to another.
    devices = [device for device in asound.glob("card*/pcm*c") if "id: Loopback PCM" not in _read(device / "info")]
    states = [state for device in devices for state in device.glob("sub*/status")]
    if not states:
        raise SensorAbsent("ALSA shows no capture device")
    programs = servers = False
    for path in states:
        try:
            owner = recording_process(path.read_text("ascii", "replace"))
        except OSError as error:
            if path.parent.exists():
                raise SensorFailed(f"the state of a capture device cannot be read: {error}") from error
            continue  # unplugged in this moment
        if owner is None:
            continue
        if _is_own_media_server(_process_of(proc, owner), user):
            servers = True
        else:
            programs = True
    return Users(programs, servers)


def recording_process(status: str) -> int | None:
    """The thread that records from a capture device in such a state, 0 if it is not named; None when none does."""
    state = _STATE.match(status)
    if state is None or state[1] != "RUNNING":
        return None
    owner = _OWNER.search(status)
    return int(owner[1]) if owner else 0


def read_cameras(dev: Path, sys: Path, proc: Path, user: int) -> Users:
    """Who holds a camera open: the kernel does not say more, and of other users' processes not even that.

    Args:
        dev: where device files are: /dev.
        sys: where the kernel shows devices and drivers: /sys.
        proc: where it shows processes.
        user: whose media servers can be asked.

    Raises:
        SensorAbsent: there is no camera, or (in a container) it is not shown.
        SensorFailed: there are too many open files to look at.
    """
    # Behind a virtual one there is no hardware, and whoever feeds it keeps it open.
    virtual = sys / "devices" / "virtual" / "video4linux"
    names = [path.name for path in dev.iterdir() if _CAMERA.fullmatch(path.name) and not (virtual / path.name).exists()]
    if not names:
        raise SensorAbsent("there is no camera")
    if all(_is_idle(sys / "class" / "video4linux" / name / "device") for name in names):
        return Users()
    cameras = {str(dev / name) for name in names}
    looked_at = 0
    servers = hidden = False
    for process in _processes(proc):
        try:
            files = [file.path for file in os.scandir(process / "fd")]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except OSError:
            hidden = hidden or _user(process) in _PEOPLE
            continue
        looked_at += len(files)
        if looked_at > _MAX_FILES:
            raise SensorFailed(f"there are more than {_MAX_FILES} open files")
        if not any(_target(file) in cameras for file in files):
            continue
        if not _is_own_media_server(process, user):
            return Users(programs=True)
        servers = True
    return Users(servers=servers, hidden=hidden)


def _is_idle(device: Path) -> bool:
    """Nobody has it open, whoever they are: so its driver says, where it is that of nearly all webcams.

    Every opening of a device counts as a use of the module (fs/char_dev.c); of other drivers, some are in more modules.
    """
    module = device / "driver" / "module"
    return module.resolve().name == "uvcvideo" and _read(module / "refcnt").strip() == "0"


def _processes(proc: Path) -> Iterator[Path]:
    with os.scandir(proc) as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield Path(entry.path)


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - thousands of them
    except OSError:
        return ""  # closed, or ended, in this moment


def _process_of(proc: Path, thread: int) -> Path:
    """The process of a thread: servers have one for each device."""
    group = _GROUP.search(_read(proc / str(thread) / "status"))
    return proc / (group[1] if group else str(thread))


def _is_own_media_server(process: Path, user: int) -> bool:
    return _user(process) == user and _read(process / "comm").strip() in _MEDIA_SERVERS


def _user(process: Path) -> int | None:
    try:
        return process.stat().st_uid
    except OSError:
        return None


def _read(path: Path) -> str:
    """A small file; empty where there is none, or none for us."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
