"""Texts as vectors: /api/embed, its older brother /api/embeddings, and /v1/embeddings.

A vector follows from the model and the text alone: the same text has the same one on every machine, and two texts are
as good as orthogonal. Distances mean nothing.
"""

import asyncio
import base64
import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from herd.actors.ports import Sink
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.ollama.asks.ask import OllamaError, model_name
from herd.simulation.ollama.asks.fields import read_fields, read_keep_alive, wrong_option
from herd.simulation.ollama.asks.native import read_context, read_runner_options
from herd.simulation.ollama.asks.openai import EMPTY
from herd.simulation.ollama.engine import Engine
from herd.simulation.ollama.faults import Faults
from herd.simulation.ollama.golang import encode, well_formed
from herd.simulation.ollama.inference import BROKEN, Inference, lie_about
from herd.simulation.ollama.language import count_tokens, seed_of
from herd.simulation.ollama.library import Library
from herd.simulation.ollama.pages import send
from herd.simulation.ollama.voices.openai import openai_error
from herd.simulation.ollama.voices.voice import JSON, PLAIN_JSON, nanoseconds, native_error
from herd.types import Seconds, Tokens

# Numbers of a vector, by family: what nomic-embed-text has, and what a middling language model has.
_DIMENSIONS = {"nomic-bert": 768}
_OTHER_DIMENSIONS = 2048

# A vector that is not normalised has numbers of the order of one: they are drawn between -1 and 1 ...
_RANGE = 32768
# ... by 16 bits each.
_DRAW = 2

_INVALID_TYPE = OllamaError(400, "invalid input type")


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    """One request for vectors."""

    model: str  # as the client wrote it
    inputs: tuple[str, ...]
    path: str
    truncate: bool = True
    dimensions: int = 0  # 0: all
    in_base64: bool = False
    keep_alive: float | None = None
    num_ctx: Tokens | None = None
    runner_options: tuple[tuple[str, int], ...] = ()
    refusal: OllamaError | None = None  # of what Ollama looks at only when it seeks a runner


class Embeddings:
    """Answers requests for vectors.

    Args:
        engine: whose slots it takes.
        library: the models there are.
        faults: what goes wrong on the way.
        inference: makes the jobs, as for answers.
    """

    def __init__(self, engine: Engine, library: Library, faults: Faults, inference: Inference) -> None:
        self._engine = engine
        self._library = library
        self._faults = faults
        self._inference = inference

    async def answer(self, ask: EmbedAsk, sink: Sink) -> None:
        """Answer with as many vectors as there are inputs. Raises OllamaError."""
        model = self._library.find(ask.model, missing=_missing(ask))
        if ask.refusal is not None:
            raise ask.refusal
        load_only = not ask.inputs
        job = self._inference.job(model, ask.num_ctx, ask.keep_alive, load_only=load_only, options=ask.runner_options)
        async with self._engine.slot(job) as slot:
            counts = [_tokens(text) for text in ask.inputs]
            if not ask.truncate and any(count > slot.job.num_ctx for count in counts):
                raise OllamaError(400, "the input length exceeds the context length")
            prompt = Tokens(sum(min(count, slot.job.num_ctx) for count in counts))
            if prompt:
                await slot.prefill(prompt)
            body = _body(ask, model, prompt, Seconds(_now() - slot.arrived), slot.load_s)
        await self._send(ask, sink, body)

    async def _send(self, ask: EmbedAsk, sink: Sink, body: bytes) -> None:
        death, lie = self._faults.take_death(), self._faults.take_lie()
        native = not ask.path.startswith("/v1/")
        if death is not None:
            sink.abort()
        elif lie is not None:
            text = native_error(BROKEN.text) if native else openai_error(BROKEN.status, BROKEN.text)
            await lie_about(sink, lie, JSON if native else PLAIN_JSON, [text], [])
        else:
            await send(sink, 200, JSON if native else PLAIN_JSON, body)


def read_embed(path: str, body: bytes) -> EmbedAsk:
    """Understand a request to one of the three paths. Raises OllamaError."""
    return {"/api/embed": _read_native, "/api/embeddings": _read_legacy, "/v1/embeddings": _read_openai}[path](body)


def vector(model: str, text: str, length: int) -> list[float]:
    """`length` numbers between -1 and 1, as they come out of a model: not normalised."""
    drawn = hashlib.shake_128(seed_of("vector", model, text)).digest(_DRAW * length)
    return [number / _RANGE for number in struct.unpack(f"<{length}h", drawn)]


def normalised(numbers: Sequence[float]) -> list[float]:
    """The same direction at length 1. With more digits than Ollama's, whose numbers have 32 bits."""
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]


def _read_native(body: bytes) -> EmbedAsk:
    fields = read_fields(body, "api.EmbedRequest")
    given = fields.get("input")
    if isinstance(given, str):
        inputs: tuple[str, ...] = (given,) if given else ()
    elif given is None or isinstance(given, list):
        inputs = _texts(given or ())
    else:
        raise _INVALID_TYPE
    return _ask("/api/embed", fields, inputs)


def _read_legacy(body: bytes) -> EmbedAsk:
    fields = read_fields(body, "api.EmbeddingRequest")
    if not model_name(fields):
        raise OllamaError(400, "model is required")
    prompt = fields.get("prompt", "")
    return _ask("/api/embeddings", fields, (prompt,) if prompt else ())


def _read_openai(body: bytes) -> EmbedAsk:
    fields = read_fields(body, "openai.EmbedRequest", empty=EMPTY)
    form = fields.get("encoding_format", "")
    if form.lower() not in {"", "float", "base64"}:
        wanted = "Supported values: ['float', 'base64']."
        raise OllamaError(400, f"Invalid value for 'encoding_format' = {well_formed(form)}. {wanted}")
    given = fields.get("input")
    if given is None or given == []:
        raise OllamaError(400, "invalid input")
    if not isinstance(given, str | list):
        raise _INVALID_TYPE
    inputs = (given,) if isinstance(given, str) else _texts(given)
    return EmbedAsk(
        model_name(fields),
        inputs,
        "/v1/embeddings",
        dimensions=fields.get("dimensions", 0),
        in_base64=form.lower() == "base64",
    )


def _ask(path: str, fields: dict[str, Any], inputs: tuple[str, ...]) -> EmbedAsk:
    options = fields.get("options", {})
    return EmbedAsk(
        model_name(fields),
        inputs,
        path,
        truncate=fields.get("truncate", True),
        dimensions=fields.get("dimensions", 0),
        keep_alive=read_keep_alive(fields.get("keep_alive")),
        num_ctx=read_context(options),
        runner_options=read_runner_options(fields),
        refusal=wrong_option(options),
    )


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise _INVALID_TYPE
    return tuple(values)


def _tokens(text: str) -> Tokens:
    """An empty text is a token too: the one that begins every text."""
    return Tokens(max(1, count_tokens(text)))


def _missing(ask: EmbedAsk) -> str:
    if not ask.model:
        return "model '' not found"
    return f'model "{ask.model}" not found, try pulling it first'


def _body(ask: EmbedAsk, model: SimulatedModel, prompt: Tokens, total_s: Seconds, load_s: Seconds) -> bytes:
    length = _DIMENSIONS.get(model.family, _OTHER_DIMENSIONS)
    raw = [vector(model.name, text, length) for text in ask.inputs]
    if ask.path == "/api/embeddings":
        return encode({"embedding": raw[0] if raw else []})
    if 0 < ask.dimensions < length:
        raw = [numbers[: ask.dimensions] for numbers in raw]
    vectors = [normalised(numbers) for numbers in raw]
    if ask.path == "/v1/embeddings":
        data = [
            {"object": "embedding", "embedding": _in_base64(one) if ask.in_base64 else one, "index": index}
            for index, one in enumerate(vectors)
        ]
        usage = {"prompt_tokens": prompt, "total_tokens": prompt}
        return encode({"object": "list", "data": data, "model": ask.model, "usage": usage}) + b"\n"
    if not vectors:
        return encode({"model": ask.model, "embeddings": []})
    times = {"total_duration": nanoseconds(total_s), "load_duration": nanoseconds(load_s)}
    return encode({"model": ask.model, "embeddings": vectors, **times, "prompt_eval_count": prompt})


def _in_base64(numbers: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
