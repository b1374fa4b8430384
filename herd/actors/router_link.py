"""The RouterLink: finds the router, dials it, and dials again for ever."""

import asyncio
import logging
import random
from dataclasses import dataclass, replace

from herd.actors.command_ends import unable
from herd.actors.ports import AgentLink, Dialer, Finder, Obey, Relay
from herd.errors import HerdError, JoinRefused
from herd.policy.liveness import HEARTBEAT_S
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Goodbye, Hello, Report, Welcome
from herd.runtime import ActorHandle, context
from herd.types import RouterId, Seconds

logger = logging.getLogger(__name__)

BACKOFF_MAX_S = 3.0  # a router that is back is found within this
BACKOFF_FIRST_S = 0.1
# A link that lasted so long was a good one. Shorter ones count as failures, or two agents with one identity, which
# replace one another for ever, would do so hundreds of times a second.
STEADY_S = 5.0
GRACE_S = Seconds(30.0)  # what an answer of a few hundred tokens takes on a slow machine
REFUSED_S = 30.0  # a router that refused will not change its mind by itself


@dataclass(frozen=True, slots=True)
class Way:
    """How a router is reached, for people."""

    url: str  # of its HTTP side
    peer: str  # the address that the link goes to


NO_WAY = Way("", "")


@dataclass(frozen=True, slots=True)
class LinkPorts:
    """What the RouterLink needs of the outside world."""

    dialer: Dialer
    finder: Finder | None  # None: mDNS is off
    relay: Relay
    obey: Obey = unable


class RouterLink:
    """Owns the agent's link to its router.

    Args:
        hello: who this agent is; carries the id of the router that it belongs to, empty before it first joined.
        router_url: where the router is; empty to listen for it on the local network.
        ports: ways to find and dial it.
        agent: told when the link is up and when it is down.
        grace: seconds that running streams have to end when the agent stops.
    """

    def __init__(
        self, hello: Hello, router_url: str, ports: LinkPorts, agent: ActorHandle, grace: Seconds = GRACE_S
    ) -> None:
        self._hello = hello
        self._router_url = router_url
        self._ports = ports
        self._agent = agent
        self._grace = grace
        self._link: AgentLink | None = None
        self._report: Report | None = None
        # Jitter keeps a houseful of agents from knocking in step after a power cut; it decides nothing.
        self._random = random.Random(hello.node_id)  # noqa: S311

    def on_start(self) -> None:
        """Begin to look for the router, and have the Agent report."""
        self._agent.start_reporting.tell(context(self).handle)
        context(self).spawn(self._stay_linked(), name="stay linked")

    async def on_stop(self) -> None:
        """Ask for nothing new, let running streams end, and leave."""
        link, self._link = self._link, None
        if link is None:
            return
        link.drain()
        beating = asyncio.create_task(self._keep_beating(link), name="last heartbeats")
        try:
            await link.close(Goodbye("shutdown", "the agent is shutting down"), self._grace)
        finally:
            beating.cancel()

    async def on_failure(self, *_crash: object) -> None:
        """Hang up: the next incarnation dials anew."""
        if self._link is not None:
            await self._link.close(Goodbye("shutdown", "the agent starts anew"), Seconds(0.0))

    async def _keep_beating(self, link: AgentLink) -> None:
        """The Agent reports no more, but a stream may say nothing for long: without heartbeats the link would die."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self._send(link, self._report or Report())

    def report(self, report: Report) -> None:
        """Send a heartbeat, now or as soon as there is a link."""
        self._report = report
        if self._link is not None:
            self._send(self._link, report)

    def _send(self, link: AgentLink, report: Report) -> None:
        """What does not fit a frame is dropped, with a word to the owner: the router keeps the report before."""
        try:
            link.report(report)
        except HerdError as error:
            logger.warning("a heartbeat was not sent: %s", error)

    async def _stay_linked(self) -> None:
        """Find, dial, wait until the link is gone, and again."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            pause = 0.0
            try:
                ports, address = self._ports, await self._address()
                link = await ports.dialer.dial(address, self._hello, ports.relay, ports.obey)
                await self._linked(link, _way(address, link.peer))
            except HerdError as error:
                if failures == 0 or isinstance(error, JoinRefused):
                    logger.warning("cannot join the router: %s", error)
                self._agent.link_down.tell(str(error))
                pause = REFUSED_S if isinstance(error, JoinRefused) else 0.0
            failures = failures + 1 if loop.time() - began < STEADY_S else 0
            await asyncio.sleep(pause or self._backoff(failures))

    async def _address(self) -> RouterAddress:
        if self._router_url:
            return await self._ports.dialer.locate(self._router_url)
        if self._ports.finder is None:
            raise HerdError("there is no --router-url, and --no-mdns forbids looking for the router")
        return await self._ports.finder.find(self._hello.router_id)

    async def _linked(self, link: AgentLink, way: Way) -> None:
        """From the welcome to the end of the link."""
        welcome: Welcome = link.welcome
        self._hello = replace(self._hello, router_id=RouterId(welcome.router_id))
        self._link = link
        self._agent.link_up.tell(welcome, way)
        if self._report is not None:
            self._send(link, self._report)
        why = await link.wait_closed()
        if self._link is link:  # else this agent itself is leaving
            self._link = None
            logger.warning("the link to the router is gone: %s", why)
        self._agent.link_down.tell(why)

    def _backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row: doubling, jittered by half, never over the maximum."""
        full = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
        return float(full * self._random.uniform(0.5, 1.0))


def _way(address: RouterAddress, peer: str) -> Way:
    """To the router that was found at an address, at one of whose hosts it answers."""
    host = f"[{peer}]" if ":" in peer else peer
    return Way(address.url or f"http{'s' if address.tls else ''}://{host}:{address.http_port}", peer)
