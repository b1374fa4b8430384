"""What tests of speech need: sound, forms with it, a Hugging Face cache, and the stand-ins on PATH."""

import asyncio
import io
import os
import wave
import weakref
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

from herd.protocols.messages import RequestHead
from herd.protocols.speech_servers import QWEN_ASR
from herd.types import BackendId, Dialect, RequestId

STAND_INS = Path(__file__).parent / "stand_ins"
PROGRAM = str(STAND_INS / "mlx-qwen3-asr")
SMALL, LARGE = QWEN_ASR
ALIGNER = "Qwen/Qwen3-ForcedAligner-0.6B"
BOUNDARY = "----sound"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
RATE = 16_000


def sound(seconds: float, seed: int = 1) -> bytes:
    """A WAV file of so many seconds, mono, 16 kHz, 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes((at * seed) % 251 for at in range(int(seconds * RATE) * 2)))
    return file.getvalue()


def heard(seconds: float, seed: int = 1, context: str = "") -> str:
    """What the stand-ins make of that sound."""
    return f"{context} {heard_in(sound(seconds, seed))}".strip()


def heard_in(content: bytes) -> str:
    """What they make of a WAV file: how long it is, and a checksum of its samples."""
    with wave.open(io.BytesIO(content)) as file:
        samples = file.readframes(file.getnframes())
        return f"{file.getnframes() / file.getframerate():.2f} seconds {zlib.crc32(samples):08x}"


def form(content: bytes, name: str = "file", filename: str = "a.wav", **fields: str) -> bytes:
    """A form with a file in it."""
    parts = [f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: audio/wav\r\n\r\n'
    parts.insert(len(parts) // 2, head.encode() + content)
    mark = f"--{BOUNDARY}".encode()
    return b"".join([mark + b"\r\n" + part + b"\r\n" for part in parts]) + mark + b"--\r\n"


def head_of(body: bytes, path: str, model: str = "qwen3-asr:0.6b") -> RequestHead:
    """Of a request with that form."""
    return RequestHead(
        RequestId("r1"),
        BackendId("local"),
        "POST",
        path,
        (("Content-Type", FORM),),
        Dialect.OLLAMA,
        size=len(body),
        model=model,
    )


async def pieces(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    """A body as it comes over the link."""
    for at in range(0, len(body), size):
        yield body[at : at + size]


def cache_with(directory: Path, *repositories: str) -> Mapping[str, str]:
    """The environment of a process whose Hugging Face cache holds these models, and whose tools are the stand-ins."""
    for repository in repositories:
        kept = directory / "hub" / f"models--{repository.replace('/', '--')}"
        (kept / "snapshots" / "c0ffee").mkdir(parents=True)
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("c0ffee")
        (kept / "snapshots" / "c0ffee" / "model.safetensors").write_bytes(bytes(1000 + len(repository)))
    path = f"{STAND_INS}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "HF_HOME": str(directory), "PATH": path, "STAND_IN_DIARY": str(directory / "diary")}


class Diary:
    """What the stand-ins of one environment write down, as it comes: process ids and events."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        os.mkfifo(environ["STAND_IN_DIARY"])
        self._pipe = os.open(environ["STAND_IN_DIARY"], os.O_RDWR | os.O_NONBLOCK)
        weakref.finalize(self, os.close, self._pipe)
        self._events: list[tuple[int, str]] = []

    def events(self) -> list[tuple[int, str]]:
        """All up to here."""
        with suppress(BlockingIOError):
            while data := os.read(self._pipe, 64 * 1024):  # whole lines: they are written so
                for line in data.decode().splitlines():
                    pid, _, event = line.partition(" ")
                    self._events.append((int(pid), event))
        return self._events

    def pids(self, event: str) -> list[int]:
        """Whose event it was, each time."""
        return [pid for pid, what in self.events() if what == event]

    async def until(self, event: str) -> int:
        """Wait for an event; in which process it came."""
        while not (pids := self.pids(event)):
            await self.more()
        return pids[-1]

    async def more(self) -> None:
        """Wait until there is more than was read."""
        loop, more = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pipe, more.set)
        try:
            await more.wait()
        finally:
            loop.remove_reader(self._pipe)
