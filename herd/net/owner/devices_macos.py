"""Says whether cameras and microphones of a Mac run, as JSON, on standard output.

Run by `meetings_macos` as a process of its own, by this file's path: to list cameras loads other makers' plug-ins into
whoever asks, and the list ages in a process that lives on. So it knows nothing of Herd, and loads little.

It says one line before it looks for cameras, and the same with them after; the last one counts:

    {"recording": whether a program records (macOS 14.2 and newer), "input": whether the default microphone runs,
     "cameras": [[its unique id, whether it runs], ...]}

Null is what the system does not say. Which programs they are is not asked.
"""

import ctypes
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

FRAMEWORKS = "/System/Library/Frameworks/{0}.framework/{0}"
SYSTEM = 1  # the object that has all others, in both frameworks
# Longer than a Mac takes, shorter than is waited for it: a plug-in that hangs takes only the cameras' line with it.
TIME_S = 1.2
MOST = 4096  # bytes of a property: a thousand objects
MOST_NAME = 256  # bytes of a camera's unique id
UTF8 = 0x08000100  # kCFStringEncodingUTF8

U32 = ctypes.c_uint32
Read = Callable[[int, str], bytes | None]  # a property of an object; None where it has none, or does not say


class Address(ctypes.Structure):
    """Which property: AudioObjectPropertyAddress, and CMIOObjectPropertyAddress."""

    _fields_ = (("selector", U32), ("scope", U32), ("element", U32))


SIZE_OF = (U32, ctypes.POINTER(Address), U32, ctypes.c_void_p, ctypes.POINTER(U32))
# CoreAudio is told how much room there is where it says how much it took; CoreMediaIO beside it.
DATA_OF_AUDIO = (*SIZE_OF, ctypes.c_void_p)
DATA_OF_MEDIA = (*SIZE_OF[:4], U32, ctypes.POINTER(U32), ctypes.c_void_p)


def code(text: str) -> int:
    """Four letters as the frameworks count them."""
    return int.from_bytes(text.encode("ascii"), "big")


def core_audio(library: Any) -> Read:
    """Reads properties by CoreAudio."""
    size_of, data_of = library.AudioObjectGetPropertyDataSize, library.AudioObjectGetPropertyData
    size_of.argtypes, size_of.restype = SIZE_OF, ctypes.c_int32
    data_of.argtypes, data_of.restype = DATA_OF_AUDIO, ctypes.c_int32

    def read(thing: int, name: str) -> bytes | None:
        address, size = Address(code(name), code("glob"), 0), U32(0)
        if size_of(thing, ctypes.byref(address), 0, None, ctypes.byref(size)) != 0 or size.value > MOST:
            return None
        room = ctypes.create_string_buffer(size.value)
        if data_of(thing, ctypes.byref(address), 0, None, ctypes.byref(size), room) != 0:
            return None
        return room.raw[: size.value]

    return read


def core_media_io(library: Any) -> Read:
    """Reads properties by CoreMediaIO."""
    size_of, data_of = library.CMIOObjectGetPropertyDataSize, library.CMIOObjectGetPropertyData
    size_of.argtypes, size_of.restype = SIZE_OF, ctypes.c_int32
    data_of.argtypes, data_of.restype = DATA_OF_MEDIA, ctypes.c_int32

    def read(thing: int, name: str) -> bytes | None:
        address, size, used = Address(code(name), code("glob"), 0), U32(0), U32(0)
        if size_of(thing, ctypes.byref(address), 0, None, ctypes.byref(size)) != 0 or size.value > MOST:
            return None
        room = ctypes.create_string_buffer(size.value)
        if data_of(thing, ctypes.byref(address), 0, None, size.value, ctypes.byref(used), room) != 0:
            return None
        return room.raw[: used.value]

    return read


def microphones(read: Read) -> dict[str, bool | None]:
    """Whether any program records, and whether the default microphone runs, which it does as long as one does.

    Of a headset, CoreAudio says the second too while it only plays.
    """
    programs = objects(read(SYSTEM, "prs#"))
    recording = None if programs is None else any(truth(read(program, "piri")) for program in programs)
    device = objects(read(SYSTEM, "dIn "))
    return {"recording": recording, "input": truth(read(device[0], "gone")) if device and device[0] else None}


def cameras(read: Read, name: Callable[[int], str]) -> list[tuple[str, bool | None]] | None:
    """Whether each camera runs; `name` reads a text and lets go of it."""
    devices = objects(read(SYSTEM, "dev#"))
    if devices is None:
        return None
    return [(text(read(device, "uid "), name), truth(read(device, "gone"))) for device in devices]


def objects(value: bytes | None) -> list[int] | None:
    """Object ids."""
    return None if value is None else memoryview(value[: len(value) // 4 * 4]).cast("I").tolist()


def truth(value: bytes | None) -> bool | None:
    """A number of 32 bits that is 0 or not."""
    return None if value is None or len(value) != 4 else any(value)


def text(value: bytes | None, name: Callable[[int], str]) -> str:
    """A reference to a text; empty where there is none."""
    reference = int.from_bytes(value or b"", sys.byteorder)
    return name(reference) if reference else ""


def core_foundation(library: Any) -> Callable[[int], str]:
    """Reads a text (CFString) that is ours to let go of."""
    library.CFStringGetCString.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_long, U32)
    library.CFStringGetCString.restype = ctypes.c_bool
    library.CFRelease.argtypes = (ctypes.c_void_p,)
    library.CFRelease.restype = None

    def name(reference: int) -> str:
        room = ctypes.create_string_buffer(MOST_NAME)
        fits = library.CFStringGetCString(reference, room, MOST_NAME, UTF8)
        library.CFRelease(reference)
        return room.value.decode("utf-8", "replace") if fits else ""

    return name


def main(load: Callable[[str], Any] = ctypes.CDLL) -> None:
    """Say it, or as much of it as the time allows; the system ends who takes longer."""
    signal.setitimer(signal.ITIMER_REAL, TIME_S)
    said = microphones(core_audio(load(FRAMEWORKS.format("CoreAudio"))))
    say(said)
    name = core_foundation(load(FRAMEWORKS.format("CoreFoundation")))
    say({**said, "cameras": cameras(core_media_io(load(FRAMEWORKS.format("CoreMediaIO"))), name)})


def say(line: object) -> None:
    """A line at once: what comes next may hang."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
