"""The HTTP surface: from a request's head to the answer of whoever is in charge of its endpoint."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from herd.actors import documents, names
from herd.actors.batching import Batches
from herd.actors.capacity_learner import LearnedHour
from herd.actors.control import obey, unknown_node
from herd.actors.counting import count
from herd.actors.homes import MAX_PINS, PinEnd
from herd.actors.latency_learner import Lesson
from herd.actors.log_context import logged_for
from herd.actors.metering import NoLog
from herd.actors.models import Models
from herd.actors.node import NodeStatus
from herd.actors.page import web_page
from herd.actors.picture import listed_node, measured, picture
from herd.actors.placing import unavailable
from herd.actors.ports import Headers, HttpRequest, Sink
from herd.actors.reading import received, understood
from herd.actors.request import Inbound, RouterParts
from herd.actors.sinks import MarkedSink
from herd.actors.traces import Story
from herd.actors.tracing import Tracing, Trail, trail
from herd.actors.upload import upload
from herd.actors.watch_ports import LogBook
from herd.actors.watching import Watching
from herd.errors import HerdError, RequestError, StreamFailed
from herd.names import canonical
from herd.protocols import herd_api, listings, live, openapi, stories
from herd.protocols.access import Access
from herd.protocols.answers import error_answer
from herd.protocols.headers import to_backend, value_of
from herd.protocols.messages import ModelInfo
from herd.protocols.origins import Page
from herd.protocols.paths import Endpoint, EndpointKind, find, pinned_model, shown_node, story_id
from herd.protocols.untrusted import MAX_MODEL_NAME
from herd.protocols.visits import visit
from herd.runtime import ActorHandle, ActorUnavailableError
from herd.store.tables import MAX_TRACES
from herd.types import Api, Bytes, NodeId, NodeName, Priority, RequestId

logger = logging.getLogger(__name__)

JSON = "application/json; charset=utf-8"

MAX_SESSION_NAME = 256  # characters of X-Herd-Session that count
MAX_CLIENT_NAME = 256  # and of X-OpenWebUI-User-Id: thousands of sessions are remembered, each with its client's name

RECOVERS = "a part of the router is being started again: please try again"


@dataclass(frozen=True, slots=True)
class SurfaceSettings:
    """What the surface says of the router, and what it lets in."""

    info: herd_api.InfoDocument
    json_limit: Bytes
    access: Access = field(default_factory=Access)
    log: LogBook = field(default_factory=NoLog)


class Surface:
    """Answers HTTP requests. Without state of its own, but for the room that batches share: whatever it must know it
    asks the actors.

    Args:
        settings: limits, and who the router is.
        parts: what the request flow needs.
        fleet: the Fleet, asked for its nodes.
    """

    def __init__(self, settings: SurfaceSettings, parts: RouterParts, fleet: ActorHandle) -> None:
        self._settings = settings
        self._parts = parts
        self._fleet = fleet
        self._keeping = Models(parts, fleet)
        self._batches = Batches(parts)
        self._page = web_page()
        self._tracing = Tracing(parts.tracer, parts.ids, parts.clock)
        self._watching = Watching(parts.find)
        self._answers: dict[str, Callable[[], Awaitable[tuple[int, str, bytes]]]] = {
            "ollama.root": self._root,
            "ollama.version": self._version,
            "ollama.status": self._cloud,
            "ollama.tags": self._tags,
            "ollama.ps": self._ps,
            "openai.models": self._models,
            "herd.info": self._info,
            "herd.openapi": self._openapi,
            "herd.status": self._status,
            "herd.healthz": self._healthz,
            "herd.readyz": self._readyz,
            "herd.metrics": self._metrics,
        }
        # These depend on what exactly is asked for.
        self._lookups: dict[str, Callable[[HttpRequest], Awaitable[tuple[int, str, bytes]]]] = {
            "herd.node": self._node,
            "herd.requests": self._requests,
            "herd.story": self._story,
            "herd.logs": self._logs,
            "herd.pins": self._pin,
        }

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """Answer one request, whatever happens; implements the port `Handler`."""
        request_id = self._parts.ids.request(value_of(request.headers, "x-request-id"))
        with logged_for(request_id):  # a connection's next request comes in the same task
            await self._handle(request_id, request, sink)

    async def _handle(self, request_id: RequestId, request: HttpRequest, sink: Sink) -> None:
        endpoint: Endpoint | None = None
        try:
            visitor, access = visit(request.method, request.peer, request.headers), self._settings.access
            page = access.origins.answer(visitor, access.hosts)
            if isinstance(page, Page):
                await _send(sink, page.status, page.headers, b"", request_id)
                return
            if page:
                sink = MarkedSink(sink, page)
            endpoint = find(request.method, request.path)
            key = access.admit(endpoint, visitor)
            if endpoint.kind is EndpointKind.INFERENCE:
                await self._infer(request_id, endpoint, request, sink, key)
            elif endpoint.kind is EndpointKind.MODELS:
                await self._keeping.handle(request_id, endpoint, request, sink)
            elif endpoint.kind is EndpointKind.BLOB:
                await upload(request_id, request, sink, self._parts, await self._nodes())
            elif endpoint.kind is EndpointKind.WATCHED:
                await self._watching.stream(request_id, request, sink, here=visitor.here)
            else:
                status, headers, body = await self._answer(endpoint, request)
                await _send(sink, status, headers, body, request_id)
        except HerdError as error:
            await self._refuse(request_id, endpoint, error, sink)
        except ActorUnavailableError as error:  # an actor of the router crashed, and starts again
            logger.warning("request %s met an actor that was down: %s", request_id, error)
            await self._refuse(request_id, endpoint, unavailable(RECOVERS), sink)
        except ConnectionError:
            raise  # the client left under a write: its connection is the listener's to clear away
        except Exception:
            logger.exception("request %s failed in the router", request_id)
            await self._refuse(request_id, endpoint, HerdError("the router failed on this request"), sink)

    async def _refuse(self, request_id: RequestId, endpoint: Endpoint | None, error: HerdError, sink: Sink) -> None:
        """Say why in the client's dialect, unless a part of another answer is already out."""
        if sink.started:
            if not isinstance(error, StreamFailed):
                sink.abort()
            logger.warning("request %s broke after its first byte: %s", request_id, error)
            return
        where = endpoint.path if endpoint else "no endpoint"
        logger.info("request %s to %s refused with %d: %s", request_id, where, error.status, error)
        reply = error_answer(endpoint.dialect if endpoint else None, error, request_id=request_id)
        await _send(sink, reply.status, reply.headers, reply.body, request_id)

    async def _infer(
        self, request_id: RequestId, endpoint: Endpoint, request: HttpRequest, sink: Sink, key: str
    ) -> None:
        """Read the request to its end, understand it as far as needed, and let the fleet serve it.

        `key` is the name of the client's key; empty where it has none.
        """
        with trail(self._tracing, request, endpoint.api, request_id) as trace:
            await self._inferred(request_id, endpoint, request, sink, client=key or request.peer, trace=trace)

    async def _inferred(
        self,
        request_id: RequestId,
        endpoint: Endpoint,
        request: HttpRequest,
        sink: Sink,
        *,
        client: str,
        trace: Trail | None,
    ) -> None:
        body = await received(request, endpoint, self._settings.json_limit)
        if trace is not None:
            trace.read(body.size)
        client = value_of(request.headers, "x-openwebui-user-id")[:MAX_CLIENT_NAME] or client
        try:
            inbound = Inbound(
                id=request_id,
                endpoint=endpoint,
                target=f"{endpoint.path}?{request.query}" if request.query else endpoint.path,
                headers=tuple(pair for pair in to_backend(request.headers) if pair[0].lower() != "content-encoding"),
                routing=await understood(request, endpoint, body),
                body=body,
                client=client,
                method=request.method,
                priority=_priority(request.headers),
                session=_session(request.headers, client),
                trail=trace,
            )
            if endpoint.api is Api.COUNT_TOKENS:
                await count(inbound, sink, self._parts, await self._nodes())
            elif not await self._keeping.unload(request_id, endpoint, inbound.routing, sink):
                await self._batches.serve(inbound, sink)
        finally:
            body.close()

    async def _answer(self, endpoint: Endpoint, request: HttpRequest) -> tuple[int, Headers, bytes]:
        """The router's own answer, whole."""
        if endpoint.kind is EndpointKind.PAGE:
            return self._page[endpoint.name].answer(request.headers)
        if endpoint.kind is EndpointKind.CONTROL:
            return 200, (("Content-Type", JSON),), await obey(request, self._fleet, self._parts.find)
        lookup = self._lookups.get(endpoint.name)
        answer = self._answers[endpoint.name]() if lookup is None else lookup(request)
        status, content_type, body = await answer
        return status, (("Content-Type", content_type),), body

    # --- what the router answers itself -------------------------------------------------------------------------------

    async def _nodes(self) -> tuple[NodeStatus, ...]:
        nodes: tuple[NodeStatus, ...] = await self._fleet.snapshot.remote()
        return nodes

    async def _listed(self) -> tuple[tuple[NodeName, ModelInfo], ...]:
        """What a client may ask for, by every name that it may use."""
        return documents.with_aliases(documents.served_models(await self._nodes()), self._parts.names.aliases)

    async def _root(self) -> tuple[int, str, bytes]:
        return 200, "text/plain; charset=utf-8", b"Ollama is running"

    async def _version(self) -> tuple[int, str, bytes]:
        return 200, JSON, listings.version(documents.ollama_versions(await self._nodes()))

    async def _cloud(self) -> tuple[int, str, bytes]:
        return 200, JSON, listings.STATUS

    async def _tags(self) -> tuple[int, str, bytes]:
        return 200, JSON, listings.tags(await self._listed())

    async def _ps(self) -> tuple[int, str, bytes]:
        return 200, JSON, listings.ps(documents.served_models(await self._nodes()))

    async def _models(self) -> tuple[int, str, bytes]:
        return 200, "application/json", listings.openai_models(await self._listed())

    async def _info(self) -> tuple[int, str, bytes]:
        return 200, JSON, herd_api.encode(self._settings.info)

    async def _openapi(self) -> tuple[int, str, bytes]:
        return 200, JSON, openapi.document(self._settings.info.version)

    async def _status(self) -> tuple[int, str, bytes]:
        return 200, JSON, herd_api.encode(await picture(self._parts.find, self._settings.info))

    async def _node(self, request: HttpRequest) -> tuple[int, str, bytes]:
        name = shown_node(request.path)
        node: NodeStatus | None = await self._fleet.node.remote(name)
        if node is None:
            raise RequestError(unknown_node(name, await self._nodes()), status=404)
        entry = await listed_node(self._parts.find, node)
        lessons: tuple[Lesson, ...] = await self._parts.learner.lessons.remote()
        week: tuple[LearnedHour, ...] = await self._parts.find(names.CAPACITY_LEARNER).week.remote(node.id)
        now = self._parts.clock.monotonic()
        return 200, JSON, herd_api.encode(documents.node_document(node, entry, lessons, week, now))

    async def _requests(self, request: HttpRequest) -> tuple[int, str, bytes]:
        limit = stories.limit_of(request.query)
        return 200, JSON, stories.encode_requests(await self._parts.traces.recent.remote(limit))

    async def _story(self, request: HttpRequest) -> tuple[int, str, bytes]:
        wanted = story_id(request.path)
        story: Story | None = await self._parts.traces.story.remote(wanted)
        if story is None:
            shown = repr(wanted[: stories.MAX_SHOWN_ID])
            text = f"no request {shown} is known: the router remembers those of 30 days, or the last {MAX_TRACES:,}"
            raise RequestError(text, status=404)
        return 200, JSON, stories.encode_story(story.request, story.events)

    async def _logs(self, request: HttpRequest) -> tuple[int, str, bytes]:
        return 200, JSON, live.encode_log(self._settings.log.latest(stories.limit_of(request.query)))

    async def _pin(self, request: HttpRequest) -> tuple[int, str, bytes]:
        """Keep a model loaded, or let it go."""
        name = pinned_model(request.path)
        shown, scorer, pinned = repr(name[:MAX_MODEL_NAME]), self._parts.scorer, request.method == "POST"
        end: PinEnd = await (scorer.pin if pinned else scorer.unpin).remote(canonical(name))
        if end is PinEnd.UNKNOWN:
            raise RequestError(f"no node has {shown}" if pinned else f"{shown} is not pinned", status=404)
        if end is PinEnd.FULL:
            raise RequestError(f"{MAX_PINS} models are pinned already: let one go first", status=409)
        if end is PinEnd.UNKEEPABLE:
            text = f"no node can keep {shown} loaded: only Ollama can be told to, and no Ollama has it"
            raise RequestError(text, status=409)
        pins: dict[str, NodeId] = await scorer.pins.remote()
        home = next((node.name for node in await self._nodes() if pins.get(canonical(name)) == node.id), None)
        return 200, JSON, herd_api.encode(herd_api.PinDocument(canonical(name), pinned, home))

    async def _healthz(self) -> tuple[int, str, bytes]:
        return 200, JSON, herd_api.encode({"status": "alive"})

    async def _readyz(self) -> tuple[int, str, bytes]:
        if documents.can_serve(await self._nodes()):
            return 200, JSON, herd_api.encode({"status": "ready"})
        return 503, JSON, herd_api.encode({"status": "no node can serve a model now"})

    async def _metrics(self) -> tuple[int, str, bytes]:
        figures = await measured(self._parts.find, self._settings.info)
        return 200, *await self._parts.meter.exposition(figures)


def _priority(headers: Headers) -> Priority:
    """The class that the client asks for; what is no class is interactive, the default."""
    wanted = value_of(headers, "x-herd-priority").strip().lower()
    return Priority.BATCH if wanted == Priority.BATCH else Priority.INTERACTIVE


def _session(headers: Headers, client: str) -> str:
    """The conversation as this client names it; what two clients call the same is not."""
    name = value_of(headers, "x-herd-session").strip()[:MAX_SESSION_NAME]
    return f"{client} {name}" if name else ""


async def _send(sink: Sink, status: int, headers: Headers, body: bytes, request_id: RequestId) -> None:
    """A whole answer of the router's own."""
    if not any(name.lower() == "content-length" for name, _ in headers):
        headers = (*headers, ("Content-Length", str(len(body))))
    await sink.start(status, (*headers, ("X-Request-Id", str(request_id))))
    await sink.write(body)
    await sink.finish()
