"""Whole answers, and how they are written."""

from dataclasses import dataclass

from herd.actors.ports import Headers, HttpRequest, Sink
from herd.simulation.ollama.asks.ask import OllamaError
from herd.simulation.ollama.voices.messages import anthropic_error
from herd.simulation.ollama.voices.openai import openai_error
from herd.simulation.ollama.voices.voice import JSON, PLAIN_JSON, native_error


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that needs no endpoint."""

    status: int
    headers: Headers = ()
    body: bytes = b""


async def send(sink: Sink, status: int, content_type: str, body: bytes) -> None:
    """A whole answer."""
    await sink.start(status, (("Content-Type", content_type), ("Content-Length", str(len(body)))))
    await sink.write(body)
    await sink.finish()


async def send_to(request: HttpRequest, sink: Sink, status: int, content_type: str, body: bytes) -> None:
    """A whole answer; to a HEAD its head alone."""
    if request.method != "HEAD":
        await send(sink, status, content_type, body)
        return
    await sink.start(status, (("Content-Type", content_type), ("Content-Length", str(len(body)))))
    await sink.finish()


async def send_page(request: HttpRequest, sink: Sink, page: Page) -> None:
    """A page; to a HEAD its head alone."""
    length = () if page.status == 204 else (("Content-Length", str(len(page.body))),)
    await sink.start(page.status, (*page.headers, *length))
    if page.body and request.method != "HEAD":
        await sink.write(page.body)
    await sink.finish()


async def refuse(request: HttpRequest, sink: Sink, error: OllamaError) -> None:
    """Say what is wrong, in the form of the API that was asked."""
    if request.path == "/v1/messages":
        content_type, body = PLAIN_JSON, anthropic_error(error.status, error.text)
    elif request.path.startswith("/v1/"):
        content_type, body = PLAIN_JSON, openai_error(error.status, error.text)
    else:
        content_type, body = JSON, native_error(error.text)
    await send_to(request, sink, error.status, content_type, body)
