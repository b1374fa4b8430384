"""One answer of a simulated model: from what was asked, through a slot's time, to bytes."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import partial

from herd.actors.ports import Sink
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface
from herd.simulation.ollama.engine import Engine, Slot
from herd.simulation.ollama.faults import Faults, Lie
from herd.simulation.ollama.library import Library
from herd.simulation.ollama.pages import send
from herd.simulation.ollama.scheduler import Job
from herd.simulation.ollama.voices.messages import MessagesVoice
from herd.simulation.ollama.voices.openai import OpenAIVoice
from herd.simulation.ollama.voices.responses import ResponsesVoice
from herd.simulation.ollama.voices.script import Script, plan
from herd.simulation.ollama.voices.voice import JSON, Metrics, NativeVoice, Said, Voice
from herd.types import Capability, Seconds, Tokens

# A runner ends an answer at this many times its context, whatever num_predict says: Ollama's own bound.
_ENDLESS = 10

# What breaks an answer that says so, and what is no line of any client's language.
BROKEN = OllamaError(500, "an error was encountered while running the model: unexpected EOF")
_GARBAGE = b"\x00\xff{]simulated garbage\n"

# Makes the voice for a request; beside it comes the clock of times in answers.
MadeVoice = Callable[[Ask, Callable[[], float]], Voice]

_VOICES: dict[Surface, MadeVoice] = {
    Surface.CHAT: NativeVoice,
    Surface.GENERATE: NativeVoice,
    Surface.OPENAI: OpenAIVoice,
    Surface.COMPLETIONS: OpenAIVoice,
    Surface.RESPONSES: ResponsesVoice,
    Surface.MESSAGES: MessagesVoice,
}


class Inference:
    """Answers chats and completions.

    Args:
        engine: whose slots it takes.
        library: the models there are.
        faults: what goes wrong on the way.
        progress: seconds between two writes of a stream, at least; 0 for one a token.
        wall: the clock of times in answers, in seconds since the Unix epoch.

    Attributes:
        wall: that clock.
    """

    def __init__(
        self, engine: Engine, library: Library, faults: Faults, progress: Seconds, wall: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._library = library
        self._faults = faults
        self._progress = progress
        self.wall = wall
        self._job_ids = itertools.count(1)

    def job(
        self,
        model: SimulatedModel,
        num_ctx: Tokens | None,
        keep_alive: float | None,
        *,
        load_only: bool = False,
        options: tuple[tuple[str, int], ...] = (),
    ) -> Job:
        """What the scheduler is to know of a request."""
        context = Tokens(min(num_ctx or self._engine.machine.default_context, model.context))
        return Job(next(self._job_ids), model, context, keep_alive, load_only=load_only, options=options)

    async def answer(self, ask: Ask, sink: Sink, voice: MadeVoice | None = None) -> None:
        """Answer a chat or a completion, in the words of its endpoint or in those of `voice`. Raises OllamaError."""
        if not ask.model and not ask.surface.generates:
            raise OllamaError(400, "model is required")
        wishes = ask.wishes
        model = self._library.find(ask.model, missing=f"model '{ask.model}' not found")
        native = ask.surface in {Surface.CHAT, Surface.GENERATE}
        if ask.empty and wishes.keep_alive is not None and wishes.keep_alive <= 0:
            self._engine.unload(model.name)
            await send(sink, 200, JSON, NativeVoice(ask, self.wall).nothing("unload"))
            return
        _check_capabilities(ask, model)
        if wishes.refusal is not None:
            raise wishes.refusal
        job = self.job(model, wishes.num_ctx, wishes.keep_alive, load_only=ask.empty, options=wishes.runner_options)
        async with self._engine.slot(job, ask.text) as slot:
            if ask.empty and native:
                await send(sink, 200, JSON, NativeVoice(ask, self.wall).nothing("load"))
            else:
                await self._speak(ask, slot, (voice or _VOICES[ask.surface])(ask, self.wall), sink)

    async def _speak(self, ask: Ask, slot: Slot, voice: Voice, sink: Sink) -> None:
        death, lie = self._faults.take_death(), self._faults.take_lie()
        context = slot.job.num_ctx
        prompt = Tokens(min(ask.prompt, context))  # what does not fit is cut off
        script = plan(ask, slot.job.model, self._engine.machine.name, Tokens(_ENDLESS * context))
        mouth = _Mouth(voice, script, sink, stream=ask.wishes.stream, lie=lie)
        times = [_now()]
        if not ask.empty:
            await slot.prefill(prompt)
            times.append(_now())
            slot.start_decoding(prompt + script.length / 2)
        for count in self._batches(slot, script.length if death is None else min(script.length, death)):
            await slot.make(count)
            await mouth.say(count)
        if death is not None:
            sink.abort()
            return
        done = _now()
        metrics = Metrics(
            reason=script.reason,
            prompt=prompt,
            completion=script.length,
            thought=script.thought,
            total_s=Seconds(done - slot.arrived),
            load_s=slot.load_s,
            prefill_s=Seconds(times[-1] - times[0]),
            decode_s=Seconds(done - times[-1]),
        )
        if lie is not None:
            await lie_about(sink, lie, voice.whole_type, voice.broken(BROKEN), voice.end(metrics))
        else:
            await mouth.end(metrics)

    def _batches(self, slot: Slot, length: int) -> Iterator[int]:
        """So many tokens at a time: the first alone, then as many as are made between two writes at this pace."""
        made = 0
        while made < length:
            count = min(length - made, int(slot.rate * self._progress)) if made else 1
            count = max(1, count)
            yield count
            made += count


class _Mouth:
    """Says the tokens of a script as they are made, or keeps them until all are."""

    def __init__(self, voice: Voice, script: Script, sink: Sink, *, stream: bool, lie: Lie | None) -> None:
        self._voice = voice
        self._script = script
        self._sink = sink
        self._stream = stream
        self._lie = lie
        self._made = 0
        # What is not sent piece by piece: at most 10 x context tokens.
        self._thoughts: list[str] = []
        self._texts: list[str] = []

    async def say(self, count: int) -> None:
        """So many tokens more are made."""
        thoughts = max(0, min(count, self._script.thought - self._made))
        self._made += count
        thought = self._take(thoughts)
        text = self._take(count - thoughts)
        if not self._stream:
            self._thoughts.append(thought)
            self._texts.append(text)
            return
        if self._lie is not None and self._sink.started:
            return  # a lie comes after the beginning
        if thought:
            await self._write(partial(self._voice.thought, thought))
        if text:
            await self._write(partial(self._voice.piece, text))

    async def end(self, metrics: Metrics) -> None:
        """Everything is made."""
        call = self._script.call
        if not self._stream:
            said = Said("".join(self._thoughts), "".join(self._texts), call)
            await send(self._sink, 200, self._voice.whole_type, self._voice.whole(said, metrics))
            return
        if call is not None:
            await self._write(partial(self._voice.call, call))
        await self._write(partial(self._voice.end, metrics))
        await self._sink.finish()

    def _take(self, count: int) -> str:
        return "".join(itertools.islice(self._script.pieces, count))

    async def _write(self, made: Callable[[], list[bytes]]) -> None:
        """Write what is made now; the head, and what a stream begins with, goes out with the first."""
        begun = [] if self._sink.started else self._voice.begin()
        pieces = [*begun, *made()]
        if pieces and not self._sink.started:
            await self._sink.start(200, (("Content-Type", self._voice.stream_type), *self._voice.stream_headers))
        for data in pieces:
            await self._sink.write(data)


async def lie_about(sink: Sink, lie: Lie, whole_type: str, broken: list[bytes], end: list[bytes]) -> None:
    """End an answer, or give a whole one, that is not what it seems.

    Args:
        sink: where the answer goes.
        lie: how it lies.
        whole_type: the Content-Type of an answer that has not begun.
        broken: what an answer says that breaks and says so.
        end: its proper end.
    """
    if not sink.started:
        await sink.start(200, (("Content-Type", whole_type),))
    pieces = {Lie.ERROR: broken, Lie.GARBAGE: [_GARBAGE, *end]}.get(lie, [])
    for data in pieces:
        await sink.write(data)
    await sink.finish()


def _check_capabilities(ask: Ask, model: SimulatedModel) -> None:
    """Refuse what the model cannot do, in Ollama's words."""
    if Capability.COMPLETION not in model.capabilities:
        verb = "generate" if ask.surface.generates else "chat"
        raise OllamaError(400, f'"{ask.model}" does not support {verb}')
    for wanted, capability in ((ask.wishes.tools, Capability.TOOLS), (ask.wishes.suffix, Capability.INSERT)):
        if wanted and capability not in model.capabilities:
            full = model.name if "/" in model.name else f"registry.ollama.ai/library/{model.name}"
            raise OllamaError(400, f"{full} does not support {capability.value}")
    # Anthropic's clients ask for thoughts of every model.
    if ask.wishes.think and Capability.THINKING not in model.capabilities and ask.surface is not Surface.MESSAGES:
        raise OllamaError(400, f'"{ask.model}" does not support thinking')
    if ask.images and Capability.VISION not in model.capabilities:
        raise OllamaError(400, "this model is missing data required for image input")


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
