"""A fake Ollama: speaks the real one's language, schedules as it does, and says made-up things at a plausible pace.

It is a `Handler`: any HTTP server that knows the ports can carry it; `wire.InMemoryServers` does so without sockets.
"""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable

from herd.actors.ports import Headers, HttpRequest, Sink
from herd.errors import BodyTooLarge, RequestError
from herd.simulation import blobs
from herd.simulation.asks import Ask, OllamaError, Surface, read_ask, read_fields
from herd.simulation.catalog import SimulatedModel
from herd.simulation.engine import Engine, Slot
from herd.simulation.golang import encode
from herd.simulation.language import answer_length, answer_pieces
from herd.simulation.library import Library, canonical, processes
from herd.simulation.profiles import MachineProfile
from herd.simulation.scheduler import Job, Limits, Scheduler
from herd.simulation.voices import JSON, Metrics, NativeVoice, OpenAIVoice, Voice, native_error, openai_error
from herd.simulation.watch import Watch
from herd.types import Bytes, Capability, MiB, Seconds, Tokens

# Ollama has no limit of its own; this one is the router's for JSON, so that the fake is never the narrower of the two.
_MAX_BODY = Bytes(256 * MiB)

# A runner ends an answer at this many times its context, whatever num_predict says: Ollama's own bound.
_ENDLESS = 10

_TEXT = "text/plain; charset=utf-8"

_Endpoint = Callable[[HttpRequest, Sink], Awaitable[None]]


class FakeOllama:
    """One simulated Ollama.

    Args:
        profile: the machine it runs on.
        models: what is on its disk, newest first.
        version: as /api/version tells it.
        num_parallel: slots of each loaded model.
        max_loaded: models in memory at once.
        max_queue: requests that may wait for a load.
        keep_alive_s: how long an idle model stays, where requests do not say.

    Attributes:
        wall: the clock of times in answers, in seconds since the Unix epoch. To be replaced in virtual time.
        requests: how many came, by path; paths that do not exist count as "".
        cancelled: requests whose client went away.
        blobs: what was uploaded to it.
    """

    def __init__(
        self,
        profile: MachineProfile,
        models: Iterable[SimulatedModel],
        *,
        version: str = "0.33.0",
        num_parallel: int = 1,
        max_loaded: int = 3,
        max_queue: int = 512,
        keep_alive_s: float = 300.0,
    ) -> None:
        limits = Limits(profile.model_memory, num_parallel, max_loaded, max_queue, keep_alive_s)
        self.wall: Callable[[], float] = time.time
        self.requests: Counter[str] = Counter()
        self.cancelled = 0
        self._profile = profile
        self._library = Library(models)
        self._version = version
        self._watch = Watch()
        self._engine = Engine(profile, Scheduler(limits), self._watch.changed)
        self._job_ids = itertools.count(1)
        self._failures: deque[OllamaError] = deque()  # as long as the test that fills it wants
        self._death: int | None = None
        self._wedged = False
        self.blobs = blobs.Blobs()
        self._routes = self._table()
        self._blob_methods: dict[str, _Endpoint] = {"POST": self.blobs.post, "HEAD": self.blobs.head}

    def __repr__(self) -> str:
        return f"<FakeOllama {self._profile.name} [{self.running} running, {self.waiting} waiting]>"

    # --- For those who watch it ---------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Slots in use."""
        return self._engine.running

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot, for a load or for an eviction."""
        return self._engine.waiting

    @property
    def loads(self) -> Counter[str]:
        """Loads begun, by model."""
        return self._engine.loads

    @property
    def resident(self) -> tuple[str, ...]:
        """The models in memory and ready, oldest first. Needs a running loop."""
        return tuple(runner.model.name for runner in self._engine.runners() if runner.ready_since is not None)

    async def until(self, condition: Callable[["FakeOllama"], bool]) -> None:
        """Wait until `condition` holds, looked at after every change of the counters above."""
        await self._watch.until(lambda: condition(self))

    # --- Faults -------------------------------------------------------------------------------------------------------

    def fail_next(self, status: int, text: str) -> None:
        """Refuse the next request for an answer; said twice, the next two."""
        self._failures.append(OllamaError(status, text))

    def die_mid_stream(self, after_tokens: int) -> None:
        """Cut the connection of the next answer after so many tokens, or before its end if it is shorter."""
        self._death = after_tokens

    def wedge(self) -> None:
        """Accept requests from now on and never answer them; what runs already ends normally."""
        self._wedged = True

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """Answer one request: this is the `Handler`. Cancelled when the client is gone."""
        methods = self._blob_methods if request.path.startswith(blobs.PATH) else self._routes.get(request.path)
        self.requests[request.path if methods else ""] += 1
        self._watch.changed()
        try:
            if self._wedged:
                await asyncio.get_running_loop().create_future()
            await self._answer(request, sink, methods)
        except asyncio.CancelledError:
            self.cancelled += 1
            self._watch.changed()
            raise

    async def _answer(self, request: HttpRequest, sink: Sink, methods: dict[str, _Endpoint] | None) -> None:
        if methods is None:
            await _send(sink, 404, "text/plain", b"404 page not found")
            return
        endpoint = methods.get(request.method)
        if endpoint is None:
            allow = (("Allow", ", ".join(methods)),)
            await _send(sink, 405, "text/plain", b"405 method not allowed", allow)
            return
        try:
            await endpoint(request, sink)
        except OllamaError as refusal:
            status, text = refusal.status, refusal.text
            if request.path.startswith("/v1/"):
                await _send(sink, status, "application/json", openai_error(status, text))
            else:
                await _send(sink, status, JSON, native_error(text))

    def _table(self) -> dict[str, dict[str, _Endpoint]]:
        def both(endpoint: _Endpoint) -> dict[str, _Endpoint]:
            return {"GET": endpoint, "HEAD": endpoint}

        return {
            "/": both(self._root),
            "/api/version": both(self._version_of),
            "/api/tags": both(self._tags),
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/chat": {"POST": self._inference(Surface.CHAT)},
            "/api/generate": {"POST": self._inference(Surface.GENERATE)},
            "/v1/chat/completions": {"POST": self._inference(Surface.OPENAI)},
            "/v1/models": {"GET": self._models},
        }

    async def _root(self, request: HttpRequest, sink: Sink) -> None:
        await _send_page(request, sink, _TEXT, b"Ollama is running")

    async def _version_of(self, request: HttpRequest, sink: Sink) -> None:
        await _send_page(request, sink, JSON, encode({"version": self._version}))

    async def _tags(self, request: HttpRequest, sink: Sink) -> None:
        await _send_page(request, sink, JSON, encode(self._library.tags()))

    async def _models(self, request: HttpRequest, sink: Sink) -> None:
        await _send_page(request, sink, "application/json", encode(self._library.openai_models()) + b"\n")

    async def _ps(self, request: HttpRequest, sink: Sink) -> None:
        runners = self._engine.runners()
        body = processes(runners, _now(), self.wall(), gpu=self._profile.gpu)
        await _send_page(request, sink, JSON, encode(body))

    async def _show(self, request: HttpRequest, sink: Sink) -> None:
        fields = read_fields(await _read(request), "ShowRequest")
        name = fields.get("model") or fields.get("name")
        if not isinstance(name, str) or not name:
            raise OllamaError(400, "model is required")
        model = self._library.find(name, missing=f"model '{canonical(name)}' not found")
        await _send(sink, 200, JSON, encode(self._library.show(model)))

    # --- Answers ------------------------------------------------------------------------------------------------------

    def _inference(self, surface: Surface) -> _Endpoint:
        async def endpoint(request: HttpRequest, sink: Sink) -> None:
            body = await _read(request)
            if self._failures:
                raise self._failures.popleft()
            await self._infer(read_ask(surface, body), sink)

        return endpoint

    async def _infer(self, ask: Ask, sink: Sink) -> None:
        if not ask.model and ask.surface is not Surface.GENERATE:
            raise OllamaError(400, "model is required")
        model = self._library.find(ask.model, missing=f"model '{ask.model}' not found")
        if ask.empty and ask.keep_alive is not None and ask.keep_alive <= 0:
            self._engine.unload(model.name)
            await _send(sink, 200, JSON, NativeVoice(ask, self.wall).nothing("unload"))
            return
        _check_capabilities(ask, model)
        context = Tokens(min(ask.num_ctx or self._profile.default_context, model.context))
        job = Job(next(self._job_ids), model, context, ask.keep_alive, load_only=ask.empty)
        async with self._engine.slot(job) as slot:
            if ask.empty:
                await _send(sink, 200, JSON, NativeVoice(ask, self.wall).nothing("load"))
            elif ask.surface is Surface.OPENAI:
                await self._speak(ask, slot, OpenAIVoice(ask, self.wall), sink)
            else:
                await self._speak(ask, slot, NativeVoice(ask, self.wall), sink)

    async def _speak(self, ask: Ask, slot: Slot, voice: Voice, sink: Sink) -> None:
        death, self._death = self._death, None
        context = slot.job.num_ctx
        prompt = Tokens(min(ask.prompt, context))  # what does not fit is cut off
        length = Tokens(min(answer_length(ask.seed, ask.num_predict), _ENDLESS * context))
        started = _now()
        await slot.prefill(prompt)
        prefilled = _now()
        said: list[str] = []  # at most 10 x context pieces
        for piece in answer_pieces(ask.seed, self._profile.name, length):
            if len(said) == death:
                break
            await slot.step()
            said.append(piece)
            if ask.stream:
                await _stream(sink, voice, piece)
        if death is not None:
            sink.abort()
            return
        done = _now()
        metrics = Metrics(
            reason="stop" if ask.num_predict is None else "length",
            prompt=prompt,
            completion=length,
            total_s=Seconds(done - slot.arrived),
            load_s=slot.load_s,
            prefill_s=Seconds(prefilled - started),
            decode_s=Seconds(done - prefilled),
        )
        if not ask.stream:
            await _send(sink, 200, voice.whole_type, voice.whole("".join(said), metrics))
            return
        for data in voice.end(metrics):
            await sink.write(data)
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


async def _read(request: HttpRequest) -> bytes:
    try:
        body = await request.read_body(_MAX_BODY)
    except (BodyTooLarge, RequestError) as error:
        raise OllamaError(error.status, str(error)) from error
    try:
        return await body.examine(bytes)
    finally:
        body.close()


async def _stream(sink: Sink, voice: Voice, piece: str) -> None:
    """Write one token; the head goes out with the first."""
    if not sink.started:
        await sink.start(200, (("Content-Type", voice.stream_type),))
        for data in voice.begin():
            await sink.write(data)
    await sink.write(voice.piece(piece))


async def _send_page(request: HttpRequest, sink: Sink, content_type: str, body: bytes) -> None:
    """Answer a GET, or a HEAD with the head of the same."""
    if request.method != "HEAD":
        await _send(sink, 200, content_type, body)
        return
    await sink.start(200, (("Content-Type", content_type), ("Content-Length", str(len(body)))))
    await sink.finish()


async def _send(sink: Sink, status: int, content_type: str, body: bytes, extra: Headers = ()) -> None:
    await sink.start(status, (("Content-Type", content_type), ("Content-Length", str(len(body))), *extra))
    await sink.write(body)
    await sink.finish()


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
