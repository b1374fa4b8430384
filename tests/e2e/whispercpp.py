"""Stands in for whisper.cpp's `whisper-server`, after its source: a page, `/health`, and `/inference` under a lock."""

import asyncio
import io
import wave
from typing import Any

from aiohttp import web

from tests.e2e.model_servers import LOOPBACK
from tests.net.tools.speech import heard_in
from tests.speech_servers import whispercpp_page


class WhisperCpp:
    """One server. Use as an async context manager of its URL. What it hears is what `speech.heard` says of a sound."""

    def __init__(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/health", self._health),
                web.post("/inference", self._inference),
            ]
        )
        self._runner = web.AppRunner(app)
        self._model = asyncio.Lock()

    async def __aenter__(self) -> str:
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        return f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=whispercpp_page(), content_type="text/html")

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _inference(self, request: web.Request) -> web.Response:
        form = await request.post()
        async with self._model:
            file = form.get("file")
            if not isinstance(file, web.FileField):
                return web.json_response({"error": "no 'file' field in the request"}, status=400)
            content = file.file.read()
            try:
                with wave.open(io.BytesIO(content)) as sound:
                    seconds = sound.getnframes() / sound.getframerate()
            except (wave.Error, EOFError):  # there is no ffmpeg without --convert
                return web.json_response({"error": "failed to read audio data"}, status=400)
            return _told(str(form.get("response_format", "json")), str(form.get("language", "en")), content, seconds)


def _told(form: str, language: str, content: bytes, seconds: float) -> web.Response:
    text = f" {heard_in(content)}\n"
    segment: dict[str, Any] = {"id": 0, "text": text, "start": 0.0, "end": seconds, "tokens": [1, 2], "words": []}
    if form == "text":
        return web.Response(text=text, content_type="text/html")
    if form == "srt":
        return web.Response(text=f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n", content_type="application/x-subrip")
    if form == "verbose_json":
        spoken = {"task": "transcribe", "language": language, "duration": seconds, "text": text, "segments": [segment]}
        return web.json_response(spoken)
    return web.json_response({"text": text})
