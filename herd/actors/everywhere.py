"""What is done to a model on every node that has it, with one answer: it is copied, deleted, or let go from memory."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from herd.actors import documents, names
from herd.actors.commands import UNLOAD
from herd.actors.delivery import WholeAnswer
from herd.actors.hosts import are_away, hosts_of, shown, sighted
from herd.actors.node import NodeStatus
from herd.actors.passing import answered
from herd.actors.ports import Headers, Sink
from herd.actors.pulls import JSON
from herd.actors.request import RouterParts
from herd.actors.sightings import Sight
from herd.errors import HerdError, RequestError
from herd.names import canonical
from herd.policy.hosts import Host, best_host, holders
from herd.protocols import listings, managing
from herd.protocols.messages import Failure, RequestHead, Result
from herd.runtime import ActorDiedError, ActorUnavailableError
from herd.types import NodeId, NodeName

logger = logging.getLogger(__name__)

Told = WholeAnswer | Failure


class Everywhere:
    """One request that concerns a model on all of its nodes.

    Args:
        parts: of the router.
        nodes: the fleet as it is now.
        head: of the request, for whoever is asked.
        body: its body.
    """

    def __init__(self, parts: RouterParts, nodes: tuple[NodeStatus, ...], head: RequestHead, body: bytes) -> None:
        self._parts = parts
        self._nodes = nodes
        self._head = head
        self._body = body

    async def delete(self, model: str, sink: Sink) -> None:
        """Delete a model wherever it is, from memory first: Ollama would go on to hold what is on no disk any more.

        Raises:
            RequestError: nobody has it, or a node failed; the others have done it.
        """
        key = canonical(model)
        hosts, away = await self._who(model, managing.not_found("ollama.delete", model))
        await self._parts.scorer.let_go.remote(key)  # or its home would load it again while it goes
        having = [host for host in hosts if host.model]
        await self._each(having, self._unload)  # loaded or not: what has just been loaded is not known to be
        told = await self._each(hosts, self._ask)
        await self._answer(hosts, told, away, sink, model=key, sight=Sight.GONE)

    async def copy(self, source: str, destination: str, sink: Sink) -> None:
        """Give a model a second name wherever it is.

        Raises:
            RequestError: as for `delete`.
        """
        hosts, away = await self._who(source, managing.not_found("ollama.copy", source))
        told = await self._each(hosts, self._ask)
        await self._answer(hosts, told, away, sink, model=canonical(destination), sight=Sight.LISTED)

    async def unload(self, model: str, said: bytes, sink: Sink) -> bool:
        """Have a model go from memory wherever it is loaded, and answer with `said`; False when this is for others.

        It stays where it is pinned: to ask for that takes no more than to be a client, to pin it does.

        Raises:
            RequestError: 502, a node failed; the others have done it.
        """
        key = canonical(model)
        hosts = holders(hosts_of(self._nodes, key))
        away: tuple[NodeName, ...] = await self._parts.scorer.away_with.remote(key)
        if not hosts and (not away or listings.shown(documents.served_models(self._nodes), key)):
            return False
        pins: dict[str, NodeId] = await self._parts.scorer.pins.remote()
        kept = [host.name for host in hosts if host.node == pins.get(key)]
        told = [host for host in hosts if host.name not in kept]
        await self._parts.scorer.let_go.remote(key)
        if told:
            answers = await self._each(told, partial(self._unload, said=said))
            await self._answer(told, answers, (*kept, *away), sink, model=key, sight=Sight.UNLOADED)
        else:
            headers = shown(self._head.request_id, (), (*kept, *away))
            await WholeAnswer(200, (*_json(said), *headers), said).send(sink)
        return True

    # --- who, and what they say ---------------------------------------------------------------------------------------

    async def _who(self, model: str, unknown: RequestError) -> tuple[list[Host], tuple[NodeName, ...]]:
        """Whom to ask, and who cannot be. What nobody is known to have the best machine is asked for: it may know more,
        and has its own words for what is no name. Raises RequestError when there is nobody to ask.
        """
        key = canonical(model)
        everybody = hosts_of(self._nodes, key)
        away: tuple[NodeName, ...] = await self._parts.scorer.away_with.remote(key)
        if hosts := holders(everybody):
            return hosts, away
        if away:
            raise are_away(model, away)
        if listings.shown(documents.served_models(self._nodes), key):
            raise RequestError(f"{model} is kept by a model server that is no Ollama: it can be changed there alone")
        best = best_host(everybody)
        if best is None:
            raise unknown
        return [best], ()

    async def _each(self, hosts: Sequence[Host], do: Callable[[Host], Awaitable[Told]]) -> list[Told]:
        """What each host says, all of them asked at once; whoever waits no longer asks nobody any more."""

        async def one(host: Host) -> Told:
            try:
                return await do(host)
            except (HerdError, ActorUnavailableError) as error:
                return Failure("reset", str(error))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(host), name=f"ask {host.name}") for host in hosts]
        return [task.result() for task in tasks]

    async def _ask(self, host: Host) -> Told:
        return await answered(self._parts, host.node, replace(self._head, backend=host.backend), self._body)

    async def _unload(self, host: Host, said: bytes = b"") -> Told:
        """Have a host let its model go; `said` is the answer when it did."""
        try:
            proxy = self._parts.find(names.node_proxy(host.node))
            result: Result = await proxy.command.remote(UNLOAD, {"backend": host.backend, "model": host.model})
        except (ValueError, ActorDiedError, ActorUnavailableError) as error:
            return Failure("link", str(error))
        return WholeAnswer(200, _json(said), said) if result.ok else Failure("internal", result.text)

    async def _answer(
        self,
        hosts: Sequence[Host],
        told: Sequence[Told],
        away: Sequence[str],
        sink: Sink,
        *,
        model: str,
        sight: Sight,
    ) -> None:
        """One answer of all, once the router knows of what was done."""
        said = list(zip(hosts, told, strict=True))
        done = [host for host, answer in said if isinstance(answer, WholeAnswer) and answer.status == 200]
        failed = [(host, answer) for host, answer in said if not _settled(answer)]
        await asyncio.gather(*(sighted(self._parts, host, model, sight) for host in done))
        if sight is Sight.GONE and done:
            self._parts.scorer.let_go.tell(model)  # nobody may have it now
        if failed and (done or any(isinstance(answer, Failure) for _, answer in failed)):
            reasons = "; ".join(f"failed on {host.name}: {_why(answer)}" for host, answer in failed)
            logger.warning("request %s %s", self._head.request_id, reasons)
            raise RequestError(f"the request {reasons}", status=502)
        # What was done, else what is wrong with the request, else that nobody has the model, in a node's own words.
        ranked = sorted(said, key=lambda one: (one[0] not in done, _settled(one[1])))
        host, answer = ranked[0]
        assert isinstance(answer, WholeAnswer)  # noqa: S101 - all others are said above
        headers = shown(self._head.request_id, done or (host,), away)
        await WholeAnswer(answer.status, (*answer.headers, *headers), answer.body).send(sink)


def _json(body: bytes) -> Headers:
    return (("Content-Type", JSON), ("Content-Length", str(len(body))))


def _settled(answer: Told) -> bool:
    """It was done, or there was nothing to do: somebody else was quicker."""
    return isinstance(answer, WholeAnswer) and answer.status in {200, 404}


def _why(answer: Told) -> str:
    if isinstance(answer, Failure):
        return answer.text
    return managing.error_in(answer.body) or f"it answered {answer.status}"
