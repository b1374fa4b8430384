"""The Backend: one model server beside the agent, kept an eye on."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from herd.actors.introduction import introduction
from herd.actors.ports import ModelServers
from herd.actors.sensor_ports import ServerProcesses
from herd.actors.shape_book import ShapeBook
from herd.errors import HerdError, ProtocolError, TimedOut
from herd.protocols import apis, image_servers, openai_servers, servers, speech_servers
from herd.protocols.image_servers import ImageWords, ModelList
from herd.protocols.messages import BackendInfo, ModelInfo
from herd.protocols.model_shapes import read_ollama_show
from herd.runtime import ActorHandle, context
from herd.types import Api, BackendId, BackendKind, Capability, Seconds, Tokens

logger = logging.getLogger(__name__)

POLL_S = 2.0  # backends have no events: this is the one allowed poll
LIST_EVERY = 5  # polls between two looks at what is on disk: pulls and deletes are rarer than loads
PROBE_S = Seconds(5.0)  # a model server under load answers its lists late, but it answers
MAX_PARALLEL = 1024  # streams of one link: what is beyond could not run at once anyway
MAX_CONTEXT = 2**24  # tokens: sixteen times what the longest models of today are trained for
_NOT_THERE = (404, 405, 501)  # statuses of an endpoint that a server does not have
# Tools that run one job, and servers that lock their model.
_ONE_AT_A_TIME = (BackendKind.MFLUX, BackendKind.QWEN_ASR, BackendKind.WHISPERCPP)
# They answer their lists from other threads than those that compute: one that is silent hangs, whatever it works on.
_NEVER_SILENT = (BackendKind.OLLAMA, BackendKind.LLAMACPP, BackendKind.LMSTUDIO, BackendKind.VLLM)
FAILURES_UNTIL_DOWN = 3  # one failed poll says nothing; three in a row are 6 s of silence


@dataclass(frozen=True, slots=True)
class BackendState:
    """A model server as it is now. `info` is None while it has never answered, or is down."""

    id: BackendId
    info: BackendInfo | None = None
    models: tuple[ModelInfo, ...] = ()
    trouble: str = ""  # why it is down, for a person


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One model server, and what the owner said about it."""

    id: BackendId
    base_url: str
    parallel: int | None = None  # requests a model runs at once; None: what the server itself declares


class Backend:
    """Owns what is known of one model server; tells the Agent whenever that changes.

    Args:
        settings: which server.
        http: the HTTP client.
        agent: the Agent.
        processes: shows the settings of servers on this machine; None where they cannot be seen.
        recognised: told which program the server is, what the agent stands in for when it is asked for that, and in
            which words the server is asked for images.
        busy: whether a request that came through this agent runs on the server.
    """

    def __init__(
        self,
        settings: BackendSettings,
        http: ModelServers,
        agent: ActorHandle,
        processes: ServerProcesses | None = None,
        recognised: Callable[[BackendKind, tuple[Api, ...], ImageWords], None] = lambda _kind, _apis, _words: None,
        *,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._http = http
        self._agent = agent
        self._processes = processes
        self._tell_recognised = recognised
        self._busy = busy
        self._state = BackendState(settings.id, trouble="has not answered yet")
        self._listed: tuple[ModelInfo, ...] = ()
        self._lists: ModelList | None = None  # where it has a list of its own
        self._says_what_is_loaded = False  # beside that
        self._capabilities: tuple[str, ...] = ()  # of models of which it says nothing
        self._props: openai_servers.Props | None = None  # what a llama.cpp server says of itself, once
        self._polls = 0
        self._failures = 0
        self._again = False  # somebody knows that what is on the disk has changed since the latest look began
        self._looking: asyncio.Task[None] | None = None
        self._shapes = ShapeBook()
        self._asking: asyncio.Task[None] | None = None

    def on_start(self) -> None:
        """Look at once, then again and again."""
        ctx = context(self)
        ctx.handle.poll.tell()
        ctx.every(POLL_S, self.poll)

    def introduce(self) -> None:
        """Tell the Agent, which has lost what it knew, how the server is."""
        self._agent.backend_changed.tell(self._state)

    def poll(self) -> None:
        """Look at the server; at most one look at a time.

        In a task, which ends with this actor: a stop waits for handlers, and a server may hang.
        """
        if self._looking is None or self._looking.done():
            self._looking = context(self).spawn(self._look_until_seen(), name="look at the server")

    def changed(self) -> None:
        """What is on the server's disk has changed: list it now, and again if a look under way may have missed it."""
        self._polls = 0
        self._again = True
        self.poll()

    def kind(self) -> str:
        """Which program it is, a `BackendKind`; empty while it does not answer."""
        return self._state.info.kind if self._state.info is not None else ""

    def resident(self, model: str) -> bool | None:
        """Whether the model, by the name that the server lists, is in memory; None: it lists no such model."""
        return next((known.resident for known in self._state.models if known.name == model), None)

    def suspect(self) -> None:
        """A request could not reach the server: if it does not answer now either, it is down."""
        self._failures = max(self._failures, FAILURES_UNTIL_DOWN - 1)
        self.poll()

    async def _look_until_seen(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            await self._try_to_look()

    async def _try_to_look(self) -> None:
        try:
            state = await self._look()
        except TimedOut as error:
            # Others answer nobody while they compute: as long as that is for us, silence is no sign.
            if self._state.info is None or self._state.info.kind in _NEVER_SILENT or not self._busy():
                self._failed(str(error))
        except HerdError as error:
            self._failed(str(error))
        else:
            self._failures = 0
            self._update(state)
            self._ask_for_shapes()

    def _ask_for_shapes(self) -> None:
        """Have a few models that have not yet told what they take tell it; the poll goes on meanwhile."""
        info = self._state.info
        if info is None or info.kind != BackendKind.OLLAMA or (self._asking is not None and not self._asking.done()):
            return
        if models := self._shapes.next_round(self._state.models):
            self._asking = context(self).spawn(self._ask(models), name="ask what models take")

    async def _ask(self, models: tuple[ModelInfo, ...]) -> None:
        for model in models:
            try:
                self._shapes.learned(model, read_ollama_show(await self._json("/api/show", {"model": model.name})))
            except ProtocolError as error:
                self._shapes.failed(model)
                logger.debug("%s does not say what %s takes: %s", self._settings.base_url, model.name, error)
            except HerdError as error:  # the server is busy, or gone: that is for the poll to find out
                self._shapes.failed(model)
                logger.debug("%s does not answer what %s takes: %s", self._settings.base_url, model.name, error)
                break
        self._listed = self._shapes.described(self._listed)
        self._update(replace(self._state, models=self._shapes.described(self._state.models)))

    def _failed(self, trouble: str) -> None:
        self._failures += 1
        self._polls = 0
        if self._failures >= FAILURES_UNTIL_DOWN or self._state.info is None:
            self._update(BackendState(self._settings.id, trouble=trouble))

    def _update(self, state: BackendState) -> None:
        if state == self._state:
            return
        if (state.info is None) != (self._state.info is None) or self._state.trouble != state.trouble:
            what = f"{state.info.kind} {state.info.version}".strip() if state.info else state.trouble
            logger.info("model server at %s: %s", self._settings.base_url, what)
        self._state = state
        self._agent.backend_changed.tell(state)

    async def _look(self) -> BackendState:
        """One poll. Raises StreamFailed or ProtocolError."""
        info = self._state.info
        if info is None:
            info = await self._recognised()
        listing = self._polls % LIST_EVERY == 0
        self._polls += 1
        if info.kind == BackendKind.OLLAMA:
            if listing:
                listed = servers.read_ollama_tags(await self._json("/api/tags"), info.id)
                self._listed = self._shapes.described(listed)
            processes = await self._json("/api/ps")
            models = self._shapes.described(servers.merge_ollama_ps(self._listed, processes, info.id))
            if listing:
                self._shapes.forget_all_but(models)
        elif info.kind == BackendKind.LMSTUDIO:
            models = openai_servers.read_lmstudio_models(await self._json("/api/v0/models"), info.id)
        elif self._lists is not None:
            path, read = self._lists
            models = read(await self._json(path), info.id)
            if self._says_what_is_loaded:
                models = speech_servers.merge_loaded(models, await self._json(speech_servers.LOADED))
        else:
            answer = await self._json("/v1/models")
            models = openai_servers.read_openai_models(answer, info.id, self._props, self._capabilities)
        return BackendState(info.id, info, models)

    async def _recognised(self) -> BackendInfo:
        """Find out which program it is, by asking it."""
        answers = await introduction(self._http, self._settings.base_url, PROBE_S)
        kind = servers.recognise(answers)
        self._props = None
        if kind is BackendKind.LLAMACPP:
            _, refusal = await self._answer(Api.EMBEDDINGS, {"model": ""})  # what it lacks it says first
            self._props = openai_servers.read_llamacpp_props(answers["/props"], refusal)
        slots = await self._declared_slots(kind)
        version = servers.read_ollama_version(answers["/api/version"]) if kind is BackendKind.OLLAMA else ""
        description = _description(answers)
        native = await self._own_apis(kind, version, description)
        translated = apis.translated(kind, native)
        self._lists = image_servers.lists(answers) or speech_servers.lists(answers)
        self._says_what_is_loaded = speech_servers.says_what_is_loaded(answers)
        self._capabilities = apis.only_capability(native)
        self._tell_recognised(
            kind, (*translated, *apis.elsewhere(kind)), image_servers.image_words(kind, answers, description)
        )
        return BackendInfo(
            self._settings.id,
            kind,
            version=version,
            dialects=tuple(dict.fromkeys(api.dialect for api in native)),
            apis=(*native, *translated),
            parallel=self._settings.parallel or slots,
            context_length=Tokens(await self._declared(kind, "OLLAMA_CONTEXT_LENGTH", MAX_CONTEXT)),
            slots=slots,
        )

    async def _own_apis(self, kind: BackendKind, version: str, description: object) -> list[Api]:
        """What the server can be asked for by itself, by what is known of its kind and by what it says."""
        found = list(apis.own(kind, version, description))
        if self._props is not None and Capability.AUDIO in self._props.capabilities:
            # It has that since 2026, and no list of what it has: without a file it refuses whoever asks there.
            status, _ = await self._answer(Api.TRANSCRIPTIONS, {"model": ""})
            found += [Api.TRANSCRIPTIONS] if status not in _NOT_THERE else []
        if kind is BackendKind.LMSTUDIO:
            _, newer = await self._answer("/api/v1/models")  # it has that since 0.4.0, and responses since 0.3.29
            found += [Api.RESPONSES] if isinstance(newer, dict) and "models" in newer else []
        return found

    async def _declared_slots(self, kind: BackendKind) -> int:
        """How many requests a model runs at once by the server's own word; 0 when it gives none."""
        if self._props is not None:
            return self._props.slots
        if kind in _ONE_AT_A_TIME:
            return 1
        return await self._declared(kind, "OLLAMA_NUM_PARALLEL", MAX_PARALLEL)

    async def _declared(self, kind: BackendKind, variable: str, most: int) -> int:
        """A number in the environment of Ollama's process, at most `most`; 0 where there is none to be seen."""
        if kind is not BackendKind.OLLAMA or self._processes is None:
            return 0
        value = (await self._processes.variable(self._settings.base_url, variable) or "").strip()
        # Longer numbers Python refuses to read.
        return min(int(value), most) if value.isascii() and value.isdigit() and len(value) < 20 else 0

    async def _answer(self, path: str, body: object = None) -> tuple[int, object]:
        return await self._http.fetch(self._settings.base_url + path, body, timeout=PROBE_S)

    async def _json(self, path: str, body: object = None) -> object:
        status, value = await self._answer(path, body)
        if status != 200:
            raise ProtocolError(f"{path} answered {status}")
        return value


def _description(answers: Mapping[str, object]) -> object:
    """What the server says that it can be asked for, or is known to have; None where neither."""
    known = image_servers.paths(answers) if image_servers.is_localai(answers) or image_servers.is_sdcpp(answers) else ()
    known = known or speech_servers.paths(answers)
    return {"paths": dict.fromkeys(known)} if known else answers.get(speech_servers.DESCRIPTION)
