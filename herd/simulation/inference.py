"""One answer of a simulated model: from what was asked, through a slot's time, to bytes."""

import asyncio
import itertools
from collections.abc import Callable, Iterator

from herd.actors.ports import Headers, Sink
from herd.simulation.asks import Ask, OllamaError, Surface
from herd.simulation.catalog import SimulatedModel
from herd.simulation.engine import Engine, Slot
from herd.simulation.faults import Faults, Lie
from herd.simulation.language import answer_length, answer_pieces
from herd.simulation.library import Library
from herd.simulation.scheduler import Job
from herd.simulation.voices import JSON, Metrics, NativeVoice, OpenAIVoice, Voice
from herd.types import Capability, Seconds, Tokens

# A runner ends an answer at this many times its context, whatever num_predict says: Ollama's own bound.
_ENDLESS = 10

# What breaks an answer that says so, and what is no line of any client's language.
_BROKEN = OllamaError(500, "an error was encountered while running the model: unexpected EOF")
_GARBAGE = b"\x00\xff{]simulated garbage\n"


class Inference:
    """Answers chats and completions.

    Args:
        engine: whose slots it takes.
        library: the models there are.
        faults: what goes wrong on the way.
        progress: seconds between two writes of a stream, at least; 0 for one a token.
        wall: the clock of times in answers, in seconds since the Unix epoch.
    """

    def __init__(
        self, engine: Engine, library: Library, faults: Faults, progress: Seconds, wall: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._library = library
        self._faults = faults
        self._progress = progress
        self._wall = wall
        self._job_ids = itertools.count(1)

    def job(self, ask: Ask, model: SimulatedModel) -> Job:
        """What the scheduler is to know of a request."""
        context = Tokens(min(ask.num_ctx or self._engine.machine.default_context, model.context))
        return Job(next(self._job_ids), model, context, ask.keep_alive, load_only=ask.empty, options=ask.runner_options)

    async def answer(self, ask: Ask, sink: Sink) -> None:
        """Answer a chat or a completion. Raises OllamaError."""
        model = self._library.find(ask.model, missing=f"model '{ask.model}' not found")
        if ask.empty and ask.keep_alive is not None and ask.keep_alive <= 0:
            self._engine.unload(model.name)
            await send(sink, 200, JSON, NativeVoice(ask, self._wall).nothing("unload"))
            return
        _check_capabilities(ask, model)
        async with self._engine.slot(self.job(ask, model), ask.text) as slot:
            if ask.empty:
                await send(sink, 200, JSON, NativeVoice(ask, self._wall).nothing("load"))
            elif ask.surface is Surface.OPENAI:
                await self._speak(ask, slot, OpenAIVoice(ask, self._wall), sink)
            else:
                await self._speak(ask, slot, NativeVoice(ask, self._wall), sink)

    async def _speak(self, ask: Ask, slot: Slot, voice: Voice, sink: Sink) -> None:
        death, lie = self._faults.take_death(), self._faults.take_lie()
        context = slot.job.num_ctx
        prompt = Tokens(min(ask.prompt, context))  # what does not fit is cut off
        length = Tokens(min(answer_length(ask.seed, ask.num_predict), _ENDLESS * context))
        said: list[str] = []  # what is not sent piece by piece: at most 10 x context tokens
        times = [_now()]
        await slot.prefill(prompt)
        times.append(_now())
        slot.start_decoding(prompt + length / 2)
        pieces = answer_pieces(ask.seed, self._engine.machine.name, length)
        for count in self._batches(slot, length if death is None else min(length, death)):
            await slot.make(count)
            piece = "".join(itertools.islice(pieces, count))
            if not ask.stream:
                said.append(piece)
            elif lie is None or not sink.started:  # a lie comes after the beginning
                await _stream(sink, voice, piece)
        if death is not None:
            sink.abort()
            return
        times.append(_now())
        started, prefilled, done = times
        metrics = Metrics(
            reason="stop" if ask.num_predict is None else "length",
            prompt=prompt,
            completion=length,
            total_s=Seconds(done - slot.arrived),
            load_s=slot.load_s,
            prefill_s=Seconds(prefilled - started),
            decode_s=Seconds(done - prefilled),
        )
        if lie is not None:
            await _lie(sink, lie, voice, metrics)
        elif not ask.stream:
            await send(sink, 200, voice.whole_type, voice.whole("".join(said), metrics))
        else:
            for data in voice.end(metrics):
                await sink.write(data)
            await sink.finish()

    def _batches(self, slot: Slot, length: int) -> Iterator[int]:
        """So many tokens at a time: the first alone, then as many as are made between two writes at this pace."""
        made = 0
        while made < length:
            count = min(length - made, int(slot.rate * self._progress)) if made else 1
            count = max(1, count)
            yield count
            made += count


async def _lie(sink: Sink, lie: Lie, voice: Voice, metrics: Metrics) -> None:
    """End an answer, or give a whole one, that is not what it seems."""
    if not sink.started:
        await sink.start(200, (("Content-Type", voice.whole_type),))
    match lie:
        case Lie.ERROR:
            await sink.write(voice.broken(_BROKEN))
        case Lie.GARBAGE:
            await sink.write(_GARBAGE)
            for data in voice.end(metrics):
                await sink.write(data)
        case Lie.SHORT | Lie.EMPTY:
            pass
    await sink.finish()


def _check_capabilities(ask: Ask, model: SimulatedModel) -> None:
    """Refuse what the model cannot do, in Ollama's words."""
    if Capability.COMPLETION not in model.capabilities:
        verb = "generate" if ask.surface is Surface.GENERATE else "chat"
        raise OllamaError(400, f'"{ask.model}" does not support {verb}')
    if ask.tools and Capability.TOOLS not in model.capabilities:
        full = model.name if "/" in model.name else f"registry.ollama.ai/library/{model.name}"
        raise OllamaError(400, f"{full} does not support tools")
    if ask.think and Capability.THINKING not in model.capabilities:
        raise OllamaError(400, f'"{ask.model}" does not support thinking')
    if ask.images and Capability.VISION not in model.capabilities:
        raise OllamaError(400, "this model is missing data required for image input")


async def _stream(sink: Sink, voice: Voice, piece: str) -> None:
    """Write tokens; the head goes out with the first."""
    if not sink.started:
        await sink.start(200, (("Content-Type", voice.stream_type),))
        for data in voice.begin():
            await sink.write(data)
    await sink.write(voice.piece(piece))


async def send(sink: Sink, status: int, content_type: str, body: bytes, extra: Headers = ()) -> None:
    """A whole answer."""
    await sink.start(status, (("Content-Type", content_type), ("Content-Length", str(len(body))), *extra))
    await sink.write(body)
    await sink.finish()


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
