"""Pictures: `/api/generate` of a model for images, `/v1/images/generations` and `/v1/images/edits`.

Ollama had them from 0.14.3 to 0.32.5; a later one has the models on its disk and refuses them.
"""

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import Any

from herd.actors.ports import Sink
from herd.simulation.ollama import versions
from herd.simulation.ollama.asks.ask import OllamaError, model_name
from herd.simulation.ollama.asks.fields import check_image, read_fields, read_keep_alive
from herd.simulation.ollama.engine import Engine, Slot
from herd.simulation.ollama.faults import Faults, Lie
from herd.simulation.ollama.golang import encode, format_time
from herd.simulation.ollama.inference import BROKEN, Inference, lie_about
from herd.simulation.ollama.language import seed_of
from herd.simulation.ollama.library import Library
from herd.simulation.ollama.pages import send
from herd.simulation.ollama.pictures import png
from herd.simulation.ollama.voices.openai import openai_error
from herd.simulation.ollama.voices.voice import JSON, NDJSON, PLAIN_JSON, nanoseconds, native_error
from herd.types import Capability, Seconds

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"

NOT_SUPPORTED = OllamaError(400, "image generation models are not currently supported")

MAX_SIDE = 4096
_SIDE, _STEPS = 1024, 9  # where a request does not say
# A model for images looks at squares of so many pixels a side, and goes over all of them in each step, as a language
# model does over its prompt.
_PATCH = 16

_SIZE = re.compile(r"(\d+)x(\d+)")
_DATA_URL = re.compile(r"data:(?:image/(?:jpeg|jpg|png|webp))?;base64,")


@dataclass(frozen=True, slots=True)
class ImageAsk:
    """One request for a picture."""

    model: str  # as the client wrote it
    prompt: str
    width: int = 0  # 0: the model's own
    height: int = 0
    steps: int = 0
    seed: Any = None
    image: str = ""  # that is to be changed, in base64
    keep_alive: float | None = None
    native: bool = True


class Images:
    """Answers requests for pictures.

    Args:
        engine: whose slots it takes.
        library: the models there are.
        faults: what goes wrong on the way.
        inference: makes the jobs, as for answers.
        version: of Ollama.
    """

    def __init__(self, engine: Engine, library: Library, faults: Faults, inference: Inference, version: str) -> None:
        self._engine = engine
        self._library = library
        self._faults = faults
        self._inference = inference
        self._version = version

    def paints(self, name: str) -> bool:
        """Whether a request for this model is one for a picture."""
        if not versions.knows_painters(self._version) or name not in self._library:
            return False
        return Capability.IMAGE in self._library.find(name, missing="").capabilities

    async def answer(self, ask: ImageAsk, sink: Sink) -> None:
        """Answer with a picture. Raises OllamaError."""
        model = self._library.find(ask.model, missing=f"model '{ask.model}' not found")
        if Capability.IMAGE not in model.capabilities:
            # It says something instead, and the words find no place in the answer.
            await send(sink, 200, PLAIN_JSON, b"")
            return
        if not versions.paints(self._version):
            raise NOT_SUPPORTED
        if ask.width > MAX_SIDE or ask.height > MAX_SIDE:
            raise OllamaError(400, f"width and height must be <= {MAX_SIDE}")
        job = self._inference.job(model, None, ask.keep_alive, load_only=not ask.prompt)
        async with self._engine.slot(job) as slot:
            if not ask.prompt:
                await send(sink, 200, JSON, encode({**self._said(ask), "done": True, "done_reason": "load"}))
            else:
                await self._paint(ask, slot, sink)

    async def _paint(self, ask: ImageAsk, slot: Slot, sink: Sink) -> None:
        death, lie = self._faults.take_death(), self._faults.take_lie()
        width, height, steps = ask.width or _SIDE, ask.height or _SIDE, ask.steps or _STEPS
        patches = -(-width // _PATCH) * -(-height // _PATCH)
        slot.start_painting()
        for step in range(1, steps + 1):
            await slot.make(patches)
            if death is not None and step >= min(death, steps):
                sink.abort()
                return
            if ask.native:
                await _line(sink, {**self._said(ask), "done": False, "completed": step, "total": steps})
        seed = seed_of(ask.model.lower(), ask.prompt, ask.image, str(ask.seed))
        picture = base64.b64encode(png(width, height, seed)).decode()
        took = Seconds(asyncio.get_running_loop().time() - slot.arrived)
        last = self._last(ask, picture, steps, took, slot.load_s)
        if lie is not None:
            await self._lie(ask, lie, last, sink)
        elif ask.native:
            await _line(sink, last)
            await sink.finish()
        else:
            created = int(self._inference.wall())
            await send(sink, 200, PLAIN_JSON, encode({"created": created, "data": [{"b64_json": picture}]}) + b"\n")

    async def _lie(self, ask: ImageAsk, lie: Lie, last: dict[str, Any], sink: Sink) -> None:
        if ask.native:
            await lie_about(sink, lie, NDJSON, [native_error(BROKEN.text) + b"\n"], [encode(last) + b"\n"])
        else:
            await lie_about(sink, lie, PLAIN_JSON, [openai_error(BROKEN.status, BROKEN.text)], [])

    def _said(self, ask: ImageAsk) -> dict[str, Any]:
        return {"model": ask.model, "created_at": format_time(self._inference.wall()), "response": ""}

    def _last(self, ask: ImageAsk, picture: str, steps: int, total_s: Seconds, load_s: Seconds) -> dict[str, Any]:
        """The picture is behind the sums, as in Ollama's struct."""
        sums = {"total_duration": nanoseconds(total_s), "load_duration": nanoseconds(load_s)}
        end = {"image": picture, "completed": steps, "total": steps}
        return {**self._said(ask), "done": True, "done_reason": "stop", **sums, **end}


def read_native(body: bytes) -> ImageAsk:
    """Understand a request to `/api/generate`. Raises OllamaError."""
    fields = read_fields(body, "api.GenerateRequest")
    seed = (fields.get("options") or {}).get("seed")
    return ImageAsk(
        model=model_name(fields),
        prompt=fields.get("prompt") or "",
        width=fields.get("width") or 0,
        height=fields.get("height") or 0,
        steps=fields.get("steps") or 0,
        seed=seed,
        image=(fields.get("images") or [""])[0],
        keep_alive=read_keep_alive(fields.get("keep_alive")),
    )


def read_openai(path: str, body: bytes) -> ImageAsk:
    """Understand a request to `GENERATIONS` or `EDITS`. Raises OllamaError."""
    edit = path == EDITS
    fields = read_fields(body, f"openai.Image{'Edit' if edit else 'Generation'}Request", empty="EOF")
    for name in ("prompt", "model", "image") if edit else ("prompt", "model"):
        if not fields.get(name):
            raise OllamaError(400, f"{name} is required")
    size = _SIZE.match(fields.get("size") or "")
    width, height = (int(size[1]), int(size[2])) if size else (0, 0)
    image = _image(fields["image"]) if edit else ""
    named = model_name(fields)
    return ImageAsk(named, fields["prompt"], width, height, seed=fields.get("seed"), image=image, native=False)


def _image(url: str) -> str:
    found = _DATA_URL.match(url)
    if url.startswith(("http://", "https://")):
        wrong = "image URLs are not currently supported, please use base64 encoded data instead"
        raise OllamaError(400, f"invalid image: {wrong}")
    data = url[found.end() :] if found else "?"
    try:
        check_image(data, "image")
    except OllamaError:
        raise OllamaError(400, "invalid image: invalid image input") from None
    return data


async def _line(sink: Sink, fields: dict[str, Any]) -> None:
    if not sink.started:
        await sink.start(200, (("Content-Type", NDJSON),))
    await sink.write(encode(fields) + b"\n")
