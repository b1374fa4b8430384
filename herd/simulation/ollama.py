"""A fake Ollama: speaks the real one's language, schedules as it does, and says made-up things at a plausible pace.

It is a `Handler`: any HTTP server that knows the ports can carry it; `wire.InMemoryServers` does so without sockets.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from herd.actors.ports import HttpRequest, Sink
from herd.errors import BodyTooLarge, RequestError
from herd.simulation import blobs
from herd.simulation.asks import OllamaError, Surface, read_ask, read_fields
from herd.simulation.catalog import SimulatedModel
from herd.simulation.engine import Engine
from herd.simulation.faults import Faults, Lie
from herd.simulation.golang import encode
from herd.simulation.inference import Inference, send
from herd.simulation.library import Library, canonical, processes
from herd.simulation.pace import MachineProfile
from herd.simulation.scheduler import Limits, Scheduler
from herd.simulation.voices import JSON, native_error, openai_error
from herd.simulation.watch import Watch
from herd.types import Bytes, MiB, Seconds

# Ollama has no limit of its own; this one is the router's for JSON, so that the fake is never the narrower of the two.
_MAX_BODY = Bytes(256 * MiB)

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
        progress: seconds between two writes of a stream, at least; 0 for one a token.

    Attributes:
        wall: the clock of times in answers, in seconds since the Unix epoch. To be replaced in virtual time.
        requests: how many came, by path; paths that do not exist count as "".
        cancelled: requests whose client went away.
        blobs: what was uploaded to it.
        faults: what goes wrong with the requests to come.
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
        progress: Seconds = Seconds(0.0),
    ) -> None:
        limits = Limits(profile.model_memory, num_parallel, max_loaded, max_queue, keep_alive_s)
        self.wall: Callable[[], float] = time.time
        self.requests: Counter[str] = Counter()
        self.cancelled = 0
        self._profile = profile
        self._library = Library(models)
        self._version = version
        self._watch = Watch()
        self._engine = Engine(profile, Scheduler(limits), num_parallel, self._watch.changed)
        self.faults = Faults()
        self._answers = Inference(self._engine, self._library, self.faults, progress, self._wall)
        self._slowness, self._compute, self._asleep = 1.0, 1.0, False
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
        self.faults.failures.append(OllamaError(status, text))

    def die_mid_stream(self, after_tokens: int) -> None:
        """Cut the connection of the next answer after so many tokens, or before its end if it is shorter."""
        self.faults.death = after_tokens

    def lie_next(self, lie: Lie) -> None:
        """Give the next request an answer that is not what it seems."""
        self.faults.lie = lie

    def wedge(self) -> None:
        """Accept requests from now on and never answer them; what runs already ends normally."""
        self.faults.wedged = True

    def slow(self, factor: float) -> None:
        """Take so many times as long for everything from now on."""
        self._slowness = factor
        self._set_power()

    def sleep(self) -> None:
        """The lid is closed: whatever is under way stands still until `wake`."""
        self._asleep = True
        self._set_power()

    def wake(self) -> None:
        """The lid is open: everything goes on where it was."""
        self._asleep = False
        self._set_power()

    def share(self, compute: float, memory: Bytes) -> None:
        """The owner leaves so much to models: a share of the machine's speed, and bytes of its memory."""
        self._compute = compute
        self._set_power()
        self._engine.set_memory(memory)

    def heal(self) -> None:
        """Nothing is wrong any more, and no fault waits for a request."""
        self.faults.clear()
        self._slowness, self._asleep = 1.0, False
        self._set_power()

    def _wall(self) -> float:
        return self.wall()

    def _set_power(self) -> None:
        disk = 0.0 if self._asleep else 1.0 / self._slowness
        self._engine.set_power(self._compute * disk, disk)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """Answer one request: this is the `Handler`. Cancelled when the client is gone."""
        methods = self._blob_methods if request.path.startswith(blobs.PATH) else self._routes.get(request.path)
        self.requests[request.path if methods else ""] += 1
        self._watch.changed()
        try:
            if self.faults.wedged:
                await asyncio.get_running_loop().create_future()
            await self._answer(request, sink, methods)
        except asyncio.CancelledError:
            self.cancelled += 1
            self._watch.changed()
            raise

    async def _answer(self, request: HttpRequest, sink: Sink, methods: dict[str, _Endpoint] | None) -> None:
        if methods is None:
            await send(sink, 404, "text/plain", b"404 page not found")
            return
        endpoint = methods.get(request.method)
        if endpoint is None:
            allow = (("Allow", ", ".join(methods)),)
            await send(sink, 405, "text/plain", b"405 method not allowed", allow)
            return
        try:
            await endpoint(request, sink)
        except OllamaError as refusal:
            status, text = refusal.status, refusal.text
            if request.path.startswith("/v1/"):
                await send(sink, status, "application/json", openai_error(status, text))
            else:
                await send(sink, status, JSON, native_error(text))

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
        await send(sink, 200, JSON, encode(self._library.show(model)))

    # --- Answers ------------------------------------------------------------------------------------------------------

    def _inference(self, surface: Surface) -> _Endpoint:
        async def endpoint(request: HttpRequest, sink: Sink) -> None:
            body = await _read(request)
            if (failure := self.faults.failure()) is not None:
                raise failure
            ask = read_ask(surface, body)
            if not ask.model and surface is not Surface.GENERATE:
                raise OllamaError(400, "model is required")
            await self._answers.answer(ask, sink)

        return endpoint


async def _read(request: HttpRequest) -> bytes:
    try:
        body = await request.read_body(_MAX_BODY)
    except (BodyTooLarge, RequestError) as error:
        raise OllamaError(error.status, str(error)) from error
    try:
        return await body.examine(bytes)
    finally:
        body.close()


async def _send_page(request: HttpRequest, sink: Sink, content_type: str, body: bytes) -> None:
    """Answer a GET, or a HEAD with the head of the same."""
    if request.method != "HEAD":
        await send(sink, 200, content_type, body)
        return
    await sink.start(200, (("Content-Type", content_type), ("Content-Length", str(len(body)))))
    await sink.finish()


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
