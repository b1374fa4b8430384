"""The Fleet: which nodes exist, under which names, and who they are connected through."""

import asyncio
import logging
from dataclasses import dataclass

from herd.actors import names
from herd.actors.commands import WEEK
from herd.actors.node import Node, NodeStatus
from herd.actors.node_proxy import STARTS_ANEW, NodeProxy
from herd.actors.ports import Clock, Links
from herd.policy.liveness import HEARTBEAT_S
from herd.policy.naming import readable, unique_name
from herd.policy.orders import Order
from herd.policy.values import NodeView
from herd.protocols.handshake import common_version
from herd.protocols.messages import Goodbye, Hello, Report, Welcome
from herd.runtime import ActorHandle, Strategy, context, remote
from herd.types import LinkId, NodeId, NodeName, RouterId, Seconds

logger = logging.getLogger(__name__)

# Far beyond any house; bounds what agents with ever new identities can make a router remember.
MAX_NODES = 1024


@dataclass(frozen=True, slots=True)
class RouterIdentity:
    """Who this router is."""

    id: RouterId
    version: str


@dataclass(frozen=True, slots=True)
class _Member:
    """A node, and the actors that stand for it."""

    name: NodeName
    node: ActorHandle
    proxy: ActorHandle
    link: LinkId  # the current one; what an older one still says is out of date


class Fleet:
    """Owns the table of nodes; supervises a Node and a NodeProxy for each, which restart together.

    Args:
        identity: the router's.
        links: the TCP links, handed on to the proxies.
        scorer: handed on to the nodes.
        clock: handed on to the nodes.
        heartbeat: seconds between two heartbeats of a node.
    """

    def __init__(
        self,
        identity: RouterIdentity,
        links: Links,
        scorer: ActorHandle,
        clock: Clock,
        heartbeat: Seconds = HEARTBEAT_S,
    ) -> None:
        self._identity = identity
        self._links = links
        self._scorer = scorer
        self._clock = clock
        self._heartbeat = heartbeat
        self._members: dict[NodeId, _Member] = {}

    def on_start(self) -> None:
        """After a crash nothing is known of the links that are up: have every agent join anew, within seconds."""
        if context(self).restarts:
            self._links.disconnect_all(STARTS_ANEW)

    async def views(self) -> tuple[NodeView, ...]:
        """Every node, as routing sees it."""
        views: list[NodeView] = await asyncio.gather(*(member.node.view.remote() for member in self._members.values()))
        return tuple(views)

    def join(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        """Let an agent in, or say why not. A newer hello of the same node replaces its old link."""
        member = self._members.get(hello.node_id)
        if member is None and len(self._members) >= MAX_NODES:
            return Goodbye("full", f"this router already knows {MAX_NODES} nodes")
        taken = [other.name for node, other in self._members.items() if node != hello.node_id]
        name = unique_name(readable(hello.name) or NodeName(hello.node_id), taken)
        if member is None:
            household = context(self).supervisor(Strategy.ONE_FOR_ALL)
            # Its calls are questions: whoever asks one while it crashes is answered by its next incarnation.
            node_class = remote(Node).options(name=names.node(hello.node_id), max_task_retries=1)
            node = household.start(node_class, hello.node_id, self._scorer, self._clock)
            proxy_class = remote(NodeProxy).options(name=names.node_proxy(hello.node_id))
            proxy = household.start(proxy_class, self._links, node, self._heartbeat)
        else:
            node, proxy = member.node, member.proxy
        self._members[hello.node_id] = _Member(name, node, proxy, link)
        node.link_up.tell(name, hello.machine, hello.agent_version, shows_week=WEEK in hello.capabilities)
        proxy.link_up.tell(link)
        logger.info("%s joined from %s", name, peer)
        version = common_version(hello.versions, "agent")
        return Welcome(version, self._identity.id, name, self._identity.version, self._heartbeat)

    def report(self, link: LinkId, node_id: NodeId, report: Report) -> None:
        """A heartbeat came in."""
        member = self._members.get(node_id)
        if member is not None and link == member.link:
            member.proxy.heard.tell(link)
            member.node.reported.tell(report)

    def draining(self, link: LinkId, node_id: NodeId) -> None:
        """An agent is about to leave."""
        member = self._members.get(node_id)
        if member is not None and link == member.link:
            member.node.draining.tell()

    def link_down(self, link: LinkId, node_id: NodeId, why: str) -> None:
        """A link is gone."""
        member = self._members.get(node_id)
        if member is not None:  # else it is of the time before a crash
            logger.info("link with %s is gone: %s", member.name, why)
            member.proxy.link_down.tell(link, why)

    async def ordered(self, name: str, order: Order, lasts: Seconds | None = None) -> NodeStatus | None:
        """A person tells a node something: the node as it is then; None when there is none of that name.

        Args:
            name: its name, or its id.
            order: what it is told.
            lasts: seconds of a pause; None: until it is resumed.
        """
        member = self._named(name)
        if member is None:
            return None
        logger.info("%s is told by hand: %s", member.name, order.value)
        await member.node.ordered.remote(order, lasts)
        status: NodeStatus = await member.node.status.remote()
        return status

    async def node(self, name: str) -> NodeStatus | None:
        """The node of this name, or of this id; None when there is none."""
        member = self._named(name)
        return await member.node.status.remote() if member is not None else None

    def _named(self, name: str) -> _Member | None:
        named = (member for member in self._members.values() if member.name == name)
        return next(named, None) or self._members.get(NodeId(name))

    async def snapshot(self) -> tuple[NodeStatus, ...]:
        """Every node, by name."""
        found = await asyncio.gather(*(member.node.status.remote() for member in self._members.values()))
        return tuple(sorted(found, key=lambda status: status.name))


class FleetEvents:
    """What a link listener tells, as messages to the Fleet; implements the port `LinkEvents`."""

    def __init__(self, fleet: ActorHandle) -> None:
        self._fleet = fleet

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        """An agent, its token proven, wants in."""
        answer: Welcome | Goodbye = await self._fleet.join.remote(link, hello, peer)
        return answer

    def report(self, link: LinkId, node: NodeId, report: Report) -> None:
        """A heartbeat."""
        self._fleet.report.tell(link, node, report)

    def draining(self, link: LinkId, node: NodeId) -> None:
        """The agent is about to leave."""
        self._fleet.draining.tell(link, node)

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        """A welcomed link is gone."""
        self._fleet.link_down.tell(link, node, why)
