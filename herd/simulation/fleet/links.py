"""Links without sockets: whole fleets of production actors run over them, in virtual time and always the same.

One object is both ends' door: the router's `LinkListener`, `Links` and `Streams`, and the agents' `Dialer`. What the
network can do to a link is done from outside: `cut` breaks it, `freeze` silences it, `unplug` takes its machine away.
"""

import asyncio

from herd.actors.command_ends import unable
from herd.actors.ports import LinkEvents, Obey, Relay
from herd.errors import LinkClosed, StreamFailed
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Command, Goodbye, Hello, RequestHead, Result
from herd.protocols.session import HelloReceived
from herd.simulation.fleet.agent_end import AgentEnd
from herd.simulation.fleet.line import CLOSED, Wire
from herd.simulation.fleet.router_end import RouterEnd, RouterStream
from herd.types import LinkId, NodeId, RouterId, Seconds, StreamId

PORT = 11436  # nothing listens there: for those who want to see a number
CONNECT_S = 3.0  # as long as a real agent waits for a machine that does not answer
JOIN_S = 10.0


class InMemoryLinks:
    """Every link of one router. Implements the ports `LinkListener`, `Links`, `Streams` and `Dialer`."""

    events: LinkEvents

    def __init__(self) -> None:
        self.port = PORT
        self._listening = False
        self._last_link = 0
        self._links: dict[LinkId, tuple[RouterEnd, AgentEnd, NodeId]] = {}  # until both ends are told that it is gone
        self._agents: dict[LinkId, RouterEnd] = {}  # welcomed ones
        self._stream_ends: dict[StreamId, RouterEnd] = {}
        self._frozen: dict[NodeId, None] = {}

    def __repr__(self) -> str:
        return f"<InMemoryLinks [{len(self._agents)} agents, {self.router_streams}/{self.agent_streams} streams]>"

    # --- For those who watch it ---------------------------------------------------------------------------------------

    @property
    def router_streams(self) -> int:
        """Streams that the router has not closed."""
        return len(self._stream_ends)

    @property
    def agent_streams(self) -> int:
        """Streams that agents still serve."""
        return sum(len(agent.tasks) for _, agent, _ in self._links.values())

    def is_under_way(self, stream: StreamId) -> bool:
        """The stream is open at the router's end, its link is up, and the end of its answer has not come."""
        end = self._stream_ends.get(stream)
        return end is not None and not end.lost and not end.streams[stream].ended

    def node_of(self, link: LinkId) -> NodeId:
        """Whose link it is. Raises KeyError when it has ended."""
        return self._links[link][2]

    # --- What the network does ----------------------------------------------------------------------------------------

    def cut(self, node: NodeId) -> None:
        """Break the node's link: what is under way is lost, and both ends are told at once."""
        for router, agent, _ in self._of(node):
            router.wire.drop()
            agent.wire.drop()
            router.end(CLOSED)
            agent.end(CLOSED)

    def unplug(self, node: NodeId) -> None:
        """The node's machine is gone without a word: what it does is lost, and the router hears nothing more of it."""
        for router, agent, _ in self._of(node):
            router.wire.drop()
            agent.wire.drop()
            agent.end(CLOSED)

    def freeze(self, node: NodeId) -> None:
        """Let nothing pass between the node and the router, and no new link come up, without telling anybody."""
        self._frozen[node] = None
        for router, agent, _ in self._of(node):
            router.wire.freeze()
            agent.wire.freeze()

    def thaw(self, node: NodeId) -> None:
        """What was held up arrives now."""
        self._frozen.pop(node, None)
        for router, agent, _ in self._of(node):
            router.wire.thaw()
            agent.wire.thaw()

    def _of(self, node: NodeId) -> list[tuple[RouterEnd, AgentEnd, NodeId]]:
        """The node's links; those of which both ends know that they are gone are forgotten here."""
        over = [link for link, (router, agent, _) in self._links.items() if router.gone and agent.lost]
        for link in over:
            if not self._links[link][1].tasks:
                del self._links[link]
        return [ends for ends in self._links.values() if ends[2] == node]

    # --- LinkListener -------------------------------------------------------------------------------------------------

    async def start(self, events: LinkEvents) -> None:
        """Let agents dial."""
        self.events = events
        self._listening = True

    async def stop(self) -> None:
        """Say goodbye to every agent, and take no further one."""
        self._listening = False
        goodbye = Goodbye("shutdown", "the router is shutting down")
        for router, _, _ in list(self._links.values()):
            router.hang_up(goodbye.text, goodbye)
        await asyncio.sleep(0)  # the turn in which the router's ends learn that they are gone

    def joined(self, end: RouterEnd) -> None:
        """The fleet let the agent in."""
        self._agents[end.link] = end

    def left(self, end: RouterEnd, why: str) -> None:
        """The router's end is gone."""
        if self._agents.pop(end.link, None) is not None and end.node is not None:
            self.events.down(end.link, end.node, why)

    # --- Links --------------------------------------------------------------------------------------------------------

    def open(self, link: LinkId, stream: StreamId, head: RequestHead) -> None:
        """Raises LinkClosed, or StreamFailed when the link carries as many streams as it may."""
        end = self._agents.get(link)
        if end is None:
            raise LinkClosed("the node's link is gone")
        end.open(stream, head)
        self._stream_ends[stream] = end

    async def command(self, link: LinkId, command: Command) -> Result:
        """Raises LinkClosed."""
        end = self._agents.get(link)
        if end is None:
            raise LinkClosed("the node's link is gone")
        return await end.command(command)

    def silence(self, link: LinkId) -> Seconds:
        """Seconds since the link was last heard; infinite when it is gone."""
        end = self._agents.get(link)
        return end.silence if end is not None else Seconds(float("inf"))

    def disconnect(self, link: LinkId, goodbye: Goodbye) -> None:
        """Say goodbye and close."""
        if link in self._links:
            self._links[link][0].hang_up(goodbye.text or goodbye.code, goodbye)

    def disconnect_all(self, goodbye: Goodbye) -> None:
        """Say goodbye to every agent that was let in."""
        for router_end, *_ in list(self._links.values()):
            if router_end.node is not None:
                router_end.hang_up(goodbye.text or goodbye.code, goodbye)

    # --- Streams ------------------------------------------------------------------------------------------------------

    def attach(self, stream: StreamId) -> RouterStream:
        """Raises LinkClosed."""
        end = self._stream_ends.get(stream)
        if end is None:
            raise LinkClosed("the stream is not open")
        return end.streams[stream]

    def close(self, stream: StreamId) -> None:
        """Give a stream up."""
        end = self._stream_ends.pop(stream, None)
        if end is not None:
            end.close(stream)

    # --- Dialer -------------------------------------------------------------------------------------------------------

    async def locate(self, url: str) -> RouterAddress:
        """The router, whatever the URL: there is one. Raises StreamFailed when it is not there."""
        if not self._listening:
            raise StreamFailed(f"cannot connect to {url}: connection refused")
        return RouterAddress(("in memory",), 0, self.port, RouterId(""))

    async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = unable) -> AgentEnd:
        """Join the router. Raises LinkClosed or JoinRefused."""
        if hello.node_id in self._frozen:
            await asyncio.sleep(CONNECT_S)
            raise LinkClosed(f"no router on link port {address.link_port} (no answer)")
        if not self._listening:
            raise LinkClosed(f"no router on link port {address.link_port} (connection refused)")
        agent = self._connect(hello, relay, obey)
        agent.say(HelloReceived(hello))
        try:
            async with asyncio.timeout(JOIN_S):
                await asyncio.shield(agent.joined)
        except TimeoutError as error:
            agent.joined.cancel()  # nobody waits for it any more
            agent.hang_up("the router did not answer the hello")
            raise LinkClosed("the router did not answer the hello") from error
        except BaseException:
            agent.joined.cancel()
            agent.hang_up("not joined")
            raise
        return agent

    def _connect(self, hello: Hello, relay: Relay, obey: Obey) -> AgentEnd:
        self._of(hello.node_id)
        self._last_link += 1
        link = LinkId(self._last_link)
        agent, router = AgentEnd(Wire(), relay, obey), RouterEnd(self, link, Wire())
        agent.wire.hear, router.wire.hear = router.hear, agent.hear
        self._links[link] = (router, agent, hello.node_id)
        return agent
