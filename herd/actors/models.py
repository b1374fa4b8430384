"""The models of the fleet, as if they were those of one Ollama: shown, fetched, made, pushed, copied and deleted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from herd.actors import documents
from herd.actors.body import MemoryBody
from herd.actors.delivery import Failed, WholeAnswer
from herd.actors.everywhere import Everywhere
from herd.actors.hosts import NO_HOST, are_away, hosts_of, named, settling, shown
from herd.actors.node import NodeStatus
from herd.actors.passing import SettledSink, passed
from herd.actors.placing import unavailable
from herd.actors.ports import Body, HttpRequest, Sink
from herd.actors.pulls import JSON, Board, Fetch, PullKey
from herd.actors.request import RouterParts
from herd.actors.sending import SEND_SIZE
from herd.actors.upload import keeper
from herd.errors import RequestError
from herd.names import canonical
from herd.policy.hosts import Host, best_host, holders
from herd.protocols import listings, managing
from herd.protocols.headers import to_backend
from herd.protocols.managing import ModelRequest
from herd.protocols.messages import RequestHead
from herd.protocols.paths import Endpoint, shown_model
from herd.protocols.requests import Routing
from herd.runtime import ActorHandle
from herd.types import BackendId, Bytes, NodeName, RequestId

logger = logging.getLogger(__name__)

NOBODY = BackendId("")


@dataclass(frozen=True, slots=True)
class _Job:
    """A request that was read, and the fleet as it is then."""

    id: RequestId
    endpoint: Endpoint
    query: str
    wanted: ModelRequest
    head: RequestHead  # for whoever is asked
    body: Body
    nodes: tuple[NodeStatus, ...]
    sink: Sink

    @property
    def key(self) -> str:
        """The model's canonical name."""
        return canonical(self.wanted.model)


class Models:
    """Answers requests about models.

    Args:
        parts: what is needed of the router.
        fleet: the Fleet, asked for its nodes.
    """

    def __init__(self, parts: RouterParts, fleet: ActorHandle) -> None:
        self._parts = parts
        self._fleet = fleet

    async def handle(self, request_id: RequestId, endpoint: Endpoint, request: HttpRequest, sink: Sink) -> None:
        """Answer one request.

        Raises:
            HerdError: it cannot be done.
        """
        limit = managing.MAX_RECIPE if endpoint.name == "ollama.create" else managing.MAX_BODY
        given: Body = MemoryBody(b"") if request.method == "GET" else await request.read_body(limit)
        body = given
        try:
            if endpoint.name == "openai.model":
                wanted = ModelRequest(shown_model(request.path))
                target = f"/v1/models/{quote(wanted.model, safe=':')}"
            else:
                wanted, target = await given.examine(partial(managing.read, endpoint.name)), endpoint.path
            model = self._parts.names.resolve(wanted.model)
            if endpoint.name == "ollama.show" and model != wanted.model:
                wanted, body = (
                    replace(wanted, model=model),
                    MemoryBody(await given.examine(partial(managing.renamed, model))),
                )
            head = RequestHead(
                request_id=request_id,
                backend=NOBODY,
                method=request.method,
                path=target,
                headers=to_backend(request.headers),
                dialect=endpoint.dialect,
                size=body.size,
            )
            nodes: tuple[NodeStatus, ...] = await self._fleet.snapshot.remote()
            await self._do(_Job(request_id, endpoint, request.query, wanted, head, body, nodes, sink))
        finally:
            given.close()

    async def _do(self, job: _Job) -> None:
        wanted = job.wanted
        match job.endpoint.name:
            case "ollama.show" | "openai.model":
                await self._show(job)
            case "ollama.pull":
                await self._pull(job)
            case "ollama.push":
                hosts = holders(hosts_of(job.nodes, job.key)) or await self._strangers(job)
                await self._in_turn(job, hosts, streamed=wanted.stream)
            case "ollama.create":
                await self._create(job)
            case "ollama.copy":
                everywhere = Everywhere(self._parts, job.nodes, job.head, await job.body.examine(bytes))
                await everywhere.copy(wanted.model, wanted.destination, job.sink)
            case "ollama.delete":
                everywhere = Everywhere(self._parts, job.nodes, job.head, await job.body.examine(bytes))
                await everywhere.delete(wanted.model, job.sink)

    async def unload(self, request_id: RequestId, endpoint: Endpoint, routing: Routing, sink: Sink) -> bool:
        """Answer a request that wants a model out of memory, if it is one and the model that of an Ollama.

        Raises:
            RequestError: a node failed.
        """
        if not (routing.loads_only and managing.lets_go(routing.keep_alive)):
            return False
        nodes: tuple[NodeStatus, ...] = await self._fleet.snapshot.remote()
        said = managing.unloaded(endpoint.name, routing.model, self._parts.clock.wall())
        everywhere = Everywhere(self._parts, nodes, RequestHead(request_id, NOBODY, "POST", endpoint.path), b"")
        return await everywhere.unload(self._parts.names.resolve(routing.model), said, sink)

    # --- one node -----------------------------------------------------------------------------------------------------

    async def _show(self, job: _Job) -> None:
        """From a node that has the build which the lists show; the router's own word where that is no Ollama."""
        listed = documents.with_aliases(documents.served_models(job.nodes), self._parts.names.aliases)
        model = listings.shown(listed, job.key)
        if model is None:
            hosts = await self._strangers(job)
            # Behind a slash Ollama has no such path.
            if job.endpoint.name == "openai.model" and "/" in job.wanted.model:
                raise managing.not_found(job.endpoint.name, job.wanted.model)
            await self._in_turn(job, hosts)
            return
        if job.endpoint.name == "openai.model":
            await _send(job, listings.openai_model(model), "application/json")
        elif hosts := holders(hosts_of(job.nodes, job.key), model.digest):
            await self._in_turn(job, hosts)
        else:
            await _send(job, listings.show(model), JSON)

    async def _strangers(self, job: _Job) -> list[Host]:
        """Whom to ask about a model that nobody is known to have: it may know more, and its words are Ollama's.

        Raises:
            RequestError: 503, nodes have it that are away; 404, and there is nobody to ask.
        """
        away: tuple[NodeName, ...] = await self._parts.scorer.away_with.remote(job.key)
        if away:
            raise are_away(job.wanted.model, away)
        host = best_host(hosts_of(job.nodes, job.key))
        if host is None:
            raise managing.not_found(job.endpoint.name, job.wanted.model)
        return [host]

    async def _create(self, job: _Job) -> None:
        """Where its parts are, else where the model is that it is made from."""
        nodes = named(job.nodes, managing.wanted_node(job.query))
        wanted = job.wanted
        host = best_host(hosts_of(nodes, canonical(wanted.base))) if wanted.base and not wanted.blobs else None
        host = host or keeper(nodes, any_state=nodes is not job.nodes)
        if host is None:
            raise unavailable(NO_HOST)
        sink = SettledSink(job.sink, settling(self._parts, host, wanted.model))
        await self._in_turn(job, [host], sink, streamed=wanted.stream)

    async def _in_turn(
        self, job: _Job, hosts: Sequence[Host], sink: Sink | None = None, *, streamed: bool = False
    ) -> None:
        """Have the first host answer that can: the next one is asked when one is not reached, or has not what it had.

        Raises:
            RequestError: 502, nobody could.
        """
        last: Failed | None = None
        for host in hosts:
            head = replace(job.head, backend=host.backend, streamed=streamed)
            pieces = job.body.chunks(SEND_SIZE)
            done = await passed(self._parts, host.node, head, pieces, sink or job.sink, shown=shown(job.id, [host]))
            if not isinstance(done, Failed):
                logger.info("request %s: %s of a model handled by %s", job.id, job.endpoint.name, host.name)
                return
            last = done if done.answer is not None or last is None else last
            if done.answer is not None and done.answer.status != 404:
                break
        if last is None or last.answer is None:
            why = last.failure.text if last is not None else "there is none"
            raise RequestError(f"{hosts[-1].name} did not answer: {why}", status=502)
        await last.answer.send(job.sink)

    # --- pulls --------------------------------------------------------------------------------------------------------

    async def _pull(self, job: _Job) -> None:
        body = await job.body.examine(partial(managing.streaming, job.wanted))
        host = self._puller(job.nodes, job.wanted, managing.wanted_node(job.query))
        key = PullKey(host.node, host.backend, job.key, job.wanted.extras)
        async with self._parts.pulls.followed(
            key, host.name, self._fetch(job.head, host, job.wanted.model, body)
        ) as board:
            await board.follow(job.sink, shown(job.id, [host]), stream=job.wanted.stream)

    def _puller(self, nodes: tuple[NodeStatus, ...], wanted: ModelRequest, node: str) -> Host:
        """Where a model is fetched to: where that is being done already, unless somebody names a node."""
        key = canonical(wanted.model)
        hosts = hosts_of(named(nodes, node), key)
        going = self._parts.pulls.under_way(key, wanted.extras)
        here = [
            host for host in hosts if going is not None and (host.node, host.backend) == (going.node, going.backend)
        ]
        # A named node is asked however it stands: whoever names it knows it.
        host = next(iter(here), None) or best_host(hosts) or (hosts[0] if node and hosts else None)
        if host is None:
            raise unavailable(NO_HOST)
        return host

    def _fetch(self, head: RequestHead, host: Host, model: str, body: bytes) -> Fetch:
        asked = RequestHead(
            head.request_id, host.backend, "POST", head.path, head.headers, streamed=True, size=Bytes(len(body))
        )

        async def fetch(board: Board) -> WholeAnswer | None:
            logger.info("request %s: %s fetches %s", head.request_id, host.name, model)
            sink = SettledSink(board, settling(self._parts, host, model))
            done = await passed(self._parts, host.node, asked, MemoryBody(body).chunks(SEND_SIZE), sink)
            if isinstance(done, Failed):
                if done.answer is None:
                    raise RequestError(f"{host.name} did not answer: {done.failure.text}", status=502)
                return done.answer
            return None

        return fetch


async def _send(job: _Job, body: bytes, content_type: str) -> None:
    headers = (("Content-Type", content_type), ("Content-Length", str(len(body))), *shown(job.id))
    await WholeAnswer(200, headers, body).send(job.sink)
