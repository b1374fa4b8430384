"""A fake Ollama: speaks the real one's language, schedules as it does, and says made-up things at a plausible pace.

It is a `Handler`: any HTTP server that knows the ports can carry it; `http.InMemoryServers` does so without sockets.

Left out are log probabilities, bodies in zstd, OLLAMA_ORIGINS, and all that Ollama asks of ollama.com:
this one says that its cloud is disabled.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import unquote

from herd.actors.ports import HttpRequest, Sink
from herd.actors.sinks import MarkedSink
from herd.errors import BodyTooLarge, RequestError
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.ollama import blobs, images, transcriptions, versions
from herd.simulation.ollama.asks.ask import OllamaError, Surface
from herd.simulation.ollama.asks.fields import read_fields
from herd.simulation.ollama.asks.reading import read_ask
from herd.simulation.ollama.embeddings import Embeddings, read_embed
from herd.simulation.ollama.engine import Engine
from herd.simulation.ollama.faults import Faults, Lie
from herd.simulation.ollama.front import Routes, check_host, check_origin, not_found, redirect
from herd.simulation.ollama.golang import encode, well_formed
from herd.simulation.ollama.images import Images
from herd.simulation.ollama.inference import Inference
from herd.simulation.ollama.library import Library
from herd.simulation.ollama.manage import Manager
from herd.simulation.ollama.pages import Page, refuse, send_page, send_to
from herd.simulation.ollama.registry import Registry
from herd.simulation.ollama.scheduler import Limits, Scheduler
from herd.simulation.ollama.voices.voice import JSON, PLAIN_JSON
from herd.simulation.watch import Watch
from herd.types import Bytes, MiB, Seconds

# Ollama has no limit of its own; this one is the router's for JSON, so that the fake is never the narrower of the two.
_MAX_BODY = Bytes(256 * MiB)

_TEXT = "text/plain; charset=utf-8"

_MODEL_PATH = "/v1/models/"

# The client that Ollama's /api/show treats in a way of its own.
_COPILOT = "GitHubCopilotChat/"

# Paths that are counted apart. Names of models and digests of blobs are in some, so there is no end of them.
PATHS = 1000

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
        requests: how many came, by path; paths that do not exist, and those beyond the first `PATHS`, count as "".
        cancelled: requests whose client went away.
        blobs: what was uploaded to it.
        registry: where it pulls models from, and how quickly.
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
        self._images = Images(self._engine, self._library, self.faults, self._answers, version)
        self._embeddings = Embeddings(self._engine, self._library, self.faults, self._answers)
        self.blobs = blobs.Blobs()
        self.registry = Registry(speed=profile.speed, progress=progress)
        self._manager = Manager(self._library, self.blobs, self.registry, self._wall)
        self._routes = Routes(self._table())

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

    @property
    def listed(self) -> tuple[str, ...]:
        """The models that /api/ps lists: those in memory and the one that is being loaded, oldest first."""
        return tuple(runner.model.name for runner in self._engine.runners())

    @property
    def taken(self) -> Bytes:
        """Bytes of memory that models hold."""
        return Bytes(sum(runner.size for runner in self._engine.runners()))

    @property
    def memory_free(self) -> Bytes:
        """Bytes that one more model could take now, without any being unloaded."""
        return Bytes(max(0, self._engine.memory - self.taken))

    @property
    def at_work(self) -> bool:
        """The machine computes or loads."""
        return self._engine.at_work

    @property
    def loading_s(self) -> float:
        """Seconds in which a model was being loaded."""
        return self._engine.loading_s

    def observe(self, observer: Callable[[], None]) -> None:
        """Call `observer` after every change of the counters above."""
        self._watch.observe(observer)

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
        self.registry.set_power(disk)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """Answer one request: this is the `Handler`. Cancelled when the client is gone."""
        known = self._routes.at(unquote(request.path))
        counted = known and (request.path in self.requests or len(self.requests) < PATHS)
        self.requests[request.path if counted else ""] += 1
        self._watch.changed()
        try:
            if self.faults.wedged:
                await asyncio.get_running_loop().create_future()
            await self._answer(request, sink)
        except asyncio.CancelledError:
            self.cancelled += 1
            self._watch.changed()
            raise

    async def _answer(self, request: HttpRequest, sink: Sink) -> None:
        if (elsewhere := redirect(request, self._routes)) is not None:
            await send_page(request, sink, elsewhere)
            return
        origin = check_origin(request)
        if isinstance(origin, Page):
            await send_page(request, sink, origin)
            return
        if origin:
            sink = MarkedSink(sink, origin)
        if (refusal := check_host(request)) is not None:
            await send_page(request, sink, refusal)
            return
        methods = self._routes.at(unquote(request.path))
        endpoint = methods.get(request.method)
        if endpoint is None:
            await send_page(request, sink, not_found(methods))
            return
        try:
            await endpoint(request, sink)
        except OllamaError as error:
            await refuse(request, sink, error)

    def _table(self) -> dict[str, dict[str, _Endpoint]]:
        answers = {
            "/api/chat": Surface.CHAT,
            "/api/generate": Surface.GENERATE,
            "/v1/chat/completions": Surface.OPENAI,
            "/v1/completions": Surface.COMPLETIONS,
            "/v1/responses": Surface.RESPONSES,
            "/v1/messages": Surface.MESSAGES,
        }
        managed = {"pull": self._manager.pull, "push": self._manager.push, "create": self._manager.create}
        managed["copy"] = self._manager.copy
        return {
            "/": _both(self._root),
            "/api/version": _both(self._version_of),
            "/api/status": {"GET": self._status},
            "/api/tags": _both(self._tags),
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            **{path: {"POST": self._inference(surface)} for path, surface in answers.items()},
            **{path: {"POST": endpoint} for path, endpoint in self._media().items()},
            **{path: {"POST": self._embed} for path in ("/api/embed", "/api/embeddings", "/v1/embeddings")},
            **{f"/api/{name}": {"POST": _with_body(endpoint)} for name, endpoint in managed.items()},
            "/api/delete": {"DELETE": _with_body(self._manager.delete)},
            f"{blobs.PATH}*": {"POST": self.blobs.post, "HEAD": self.blobs.head},
            "/v1/models": {"GET": self._models},
            f"{_MODEL_PATH}*": {"GET": self._model},
        }

    def _media(self) -> dict[str, _Endpoint]:
        """The endpoints for images and speech that this version has."""
        has = {
            images.GENERATIONS: (versions.paints, self._image),
            images.EDITS: (versions.edits, self._image),
            transcriptions.PATH: (versions.hears, self._transcription),
        }
        return {path: endpoint for path, (supported, endpoint) in has.items() if supported(self._version)}

    async def _root(self, request: HttpRequest, sink: Sink) -> None:
        await send_to(request, sink, 200, _TEXT, b"Ollama is running")

    async def _version_of(self, request: HttpRequest, sink: Sink) -> None:
        await send_to(request, sink, 200, JSON, encode({"version": self._version}))

    async def _status(self, request: HttpRequest, sink: Sink) -> None:
        await send_to(request, sink, 200, JSON, encode({"cloud": {"disabled": True, "source": "config"}}))

    async def _tags(self, request: HttpRequest, sink: Sink) -> None:
        await send_to(request, sink, 200, JSON, encode(self._library.tags()))

    async def _models(self, request: HttpRequest, sink: Sink) -> None:
        await send_to(request, sink, 200, PLAIN_JSON, encode(self._library.openai_models()) + b"\n")

    async def _model(self, request: HttpRequest, sink: Sink) -> None:
        body = self._library.openai_model(unquote(request.path.removeprefix(_MODEL_PATH)))
        await send_to(request, sink, 200, PLAIN_JSON, encode(body) + b"\n")

    async def _ps(self, request: HttpRequest, sink: Sink) -> None:
        body = self._library.processes(self._engine.runners(), _now(), self.wall(), gpu=self._profile.gpu)
        await send_to(request, sink, 200, JSON, encode(body))

    async def _show(self, request: HttpRequest, sink: Sink) -> None:
        fields = read_fields(await _read(request), "api.ShowRequest")
        name = well_formed((fields.get("model") or fields.get("name") or "").strip())
        if not name:
            raise OllamaError(400, "model is required")
        shown = self._library.show(name)
        if any(key.lower() == "user-agent" and value.startswith(_COPILOT) for key, value in request.headers):
            shown["model_info"]["general.basename"] = name  # it shows this to people, and means the model it asked for
        await send_to(request, sink, 200, JSON, encode(shown))

    # --- Answers ------------------------------------------------------------------------------------------------------

    def _inference(self, surface: Surface) -> _Endpoint:
        async def endpoint(request: HttpRequest, sink: Sink) -> None:
            body = await self._asked(request)
            ask = read_ask(surface, body)
            lets_go = ask.empty and ask.wishes.keep_alive is not None and ask.wishes.keep_alive <= 0
            if surface is Surface.GENERATE and not lets_go and self._images.paints(ask.model):
                await self._images.answer(images.read_native(body), sink)
            else:
                await self._answers.answer(ask, sink)

        return endpoint

    async def _image(self, request: HttpRequest, sink: Sink) -> None:
        await self._images.answer(images.read_openai(unquote(request.path), await self._asked(request)), sink)

    async def _transcription(self, request: HttpRequest, sink: Sink) -> None:
        content_type = next((value for key, value in request.headers if key.lower() == "content-type"), "")
        recording = transcriptions.read_recording(content_type, await self._asked(request))
        await transcriptions.transcribe(recording, self._library, self._answers, sink)

    async def _embed(self, request: HttpRequest, sink: Sink) -> None:
        await self._embeddings.answer(read_embed(unquote(request.path), await self._asked(request)), sink)

    async def _asked(self, request: HttpRequest) -> bytes:
        """The body of a request for an answer, unless that is to fail."""
        body = await _read(request)
        if (failure := self.faults.failure()) is not None:
            raise failure
        return body


def _both(endpoint: _Endpoint) -> dict[str, _Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint}


def _with_body(endpoint: Callable[[bytes, Sink], Awaitable[None]]) -> _Endpoint:
    """An endpoint that wants of a request nothing but its body."""

    async def whole(request: HttpRequest, sink: Sink) -> None:
        await endpoint(await _read(request), sink)

    return whole


async def _read(request: HttpRequest) -> bytes:
    try:
        body = await request.read_body(_MAX_BODY)
    except (BodyTooLarge, RequestError) as error:
        raise OllamaError(error.status, str(error)) from error
    try:
        return await body.examine(bytes)
    finally:
        body.close()


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
