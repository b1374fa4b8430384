"""Stand-ins for servers of speech and of images that speak OpenAI's API, as whisper servers and sd-server do.

They read forms with aiohttp's own reader, which is none of Herd's, and answer with what they were sent: how long a
sound is, and a picture of the size that was asked for.
"""

import asyncio
import base64
import hashlib
import io
import json
import struct
import time
import wave
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from aiohttp import BodyPartReader, web

from herd.types import KiB
from tests.e2e.processes import PATIENCE_S

# For tests with such a server: aiohttp's reader of forms warns of itself where a boundary is cut in two.
FORMS_ARE_READ = pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")

LOOPBACK = "127.0.0.1"
PIECE = 64 * KiB
# A head of a WAV file is 44 bytes long unless it holds more than sound.
HEAD = 44

SPEECH = "/v1/audio/transcriptions"
PICTURES, EDITS = "/v1/images/generations", "/v1/images/edits"
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(slots=True)
class Upload:
    """A form as it came: its fields, and of its file what can be said without keeping it."""

    fields: dict[str, str] = field(default_factory=dict)
    file: str = ""  # the name of its field
    name: str = ""  # of the file
    size: int = 0
    sha256: str = ""
    head: bytes = b""


class MediaServer:
    """A server with some of OpenAI's endpoints for sound and pictures.

    Args:
        models: that it lists.
        paths: which endpoints it has.

    Attributes:
        asked: the path of each request for a model, in order.
        uploads: the forms that came, those in the middle of coming included.
        running: requests that it works on.
        abandoned: requests whose client left before the answer.
        gate: answers wait at it; open unless a test closes it.
        breaks: asked of each request: whether its connection is cut in place of an answer.
        hears: is called with the size whenever more of a file has come.
        deaf_from: after so many bytes of a file it waits at the gate before it reads on.
    """

    def __init__(self, models: tuple[str, ...], paths: tuple[str, ...]) -> None:
        self.models = models
        self.paths = paths
        self.asked: list[str] = []
        self.uploads: list[Upload] = []
        self.running = self.abandoned = 0
        self.gate = asyncio.Event()
        self.hears: Callable[[int], None]
        self.deaf_from: int | None
        self.breaks: Callable[[], bool]
        self.behave()
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._port = 0

    def behave(self) -> None:
        """Serve as at first."""
        self.gate.set()
        self.breaks = lambda: False
        self.hears = lambda _size: None
        self.deaf_from = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/openapi.json", self._description)
        for path in self.paths:
            app.router.add_post(path, self._work)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.gate.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def until(self, so: Callable[["MediaServer"], bool]) -> None:
        """Wait until something is so of it."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: so(self))

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _description(self, _request: web.Request) -> web.Response:
        return web.json_response({"openapi": "3.1.0", "paths": {path: {"post": {}} for path in self.paths}})

    async def _work(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.running += 1
        await self._changed()
        try:
            return await self._answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned += 1
            raise
        finally:
            self.running -= 1
            await asyncio.shield(self._changed())

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        form = request.path != PICTURES
        asked: Mapping[str, object] = {} if form else await request.json()
        upload = await self._read(request) if form else Upload()
        await self.gate.wait()
        if self.breaks():
            assert request.transport is not None
            request.transport.abort()
        if request.path == SPEECH:
            return _heard(upload)
        if upload.head:
            return _drawn(upload.fields.get("prompt", ""), struct.unpack(">II", upload.head[16:24]))
        width, _, height = str(asked.get("size", "64x64")).partition("x")
        return _drawn(str(asked["prompt"]), (int(width), int(height)))

    async def _read(self, request: web.Request) -> Upload:
        upload, digest = Upload(), hashlib.sha256()
        self.uploads.append(upload)
        parts = await request.multipart()
        async for part in parts:
            assert isinstance(part, BodyPartReader)
            if part.filename is None:
                upload.fields[part.name or ""] = await part.text()
                continue
            upload.file, upload.name = part.name or "", part.filename
            while data := await part.read_chunk(PIECE):
                digest.update(data)
                upload.size += len(data)
                upload.head = (upload.head + data)[:HEAD] if len(upload.head) < HEAD else upload.head
                self.hears(upload.size)
                if self.deaf_from is not None and upload.size >= self.deaf_from:
                    await self._changed()
                    await self.gate.wait()
        upload.sha256 = digest.hexdigest()
        return upload

    async def _changed(self) -> None:
        async with self._news:
            self._news.notify_all()


def _heard(upload: Upload) -> web.Response:
    """What it has heard: the length of a sound, or what the bytes are that are none."""
    try:
        with wave.open(io.BytesIO(upload.head)) as sound:
            seconds = (upload.size - HEAD) / sound.getsampwidth() / sound.getnchannels() / sound.getframerate()
        text = f"{seconds:.1f} seconds of sound"
    except (wave.Error, EOFError):
        seconds, text = 0.0, f"{upload.size} bytes, {upload.sha256}"
    form = upload.fields.get("response_format", "json")
    if form == "text":
        return web.Response(text=text + "\n")
    if form == "srt":
        return web.Response(text=f"1\n00:00:00,000 --> 00:00:{seconds:06.3f}".replace(".", ",") + f"\n{text}\n")
    if form == "verbose_json":
        segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
        more = {"task": "transcribe", "language": upload.fields.get("language", "english"), "duration": seconds}
        return web.json_response({**more, "text": text, "segments": [segment]})
    return web.json_response({"text": text})


def _drawn(prompt: str, size: tuple[int, int]) -> web.Response:
    """A picture as OpenAI's API carries it, in a colour that its prompt gives it."""
    data = base64.b64encode(picture(*size, colour=hashlib.sha256(prompt.encode()).digest()[:3])).decode()
    return web.Response(
        body=json.dumps({"created": int(time.time()), "data": [{"b64_json": data}]}).encode(),
        content_type="application/json",
    )


def picture(width: int, height: int, *, colour: bytes = b"\x80\x80\x80") -> bytes:
    """A PNG of one colour (red, green, blue)."""
    rows = (b"\0" + colour * width) * height
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def sound(seconds: float = 2.0, rate: int = 16_000) -> bytes:
    """A WAV of silence: one channel, 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(2 * int(seconds * rate)))
    return file.getvalue()
