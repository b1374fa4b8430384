"""The RouterLink: finds, dials, dials again, and leaves in order."""

import asyncio
from itertools import pairwise
from typing import NoReturn

import pytest

from herd.actors.command_ends import unable
from herd.actors.ports import Finder, Obey, Relay, Serving
from herd.actors.router_link import BACKOFF_FIRST_S, BACKOFF_MAX_S, REFUSED_S, LinkPorts, RouterLink, Way
from herd.errors import JoinRefused, LinkClosed, StreamFailed
from herd.policy.liveness import HEARTBEAT_S
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Goodbye, Hello, Report, Welcome
from herd.protocols.session import UnsendableError
from herd.runtime import ActorHandle, kill, remote, stop
from herd.runtime.testing import virtual_time
from herd.types import NodeId, NodeName, RouterId, Seconds
from tests.actors.doubles import Witness, model, report, settled

ADDRESS = RouterAddress(("192.0.2.1",), 11435, 11436, RouterId("r1"))
WELCOME = Welcome(1, RouterId("r1"), NodeName("mac"))


class FakeLink:
    """The port `AgentLink`; the test breaks it."""

    welcome = WELCOME
    peer = "192.0.2.1"

    def __init__(self) -> None:
        self.said: list[object] = []
        self.refusal: UnsendableError | None = None
        self.closing_s = 0.0  # how long streams still run when the agent leaves
        self.broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def report(self, report: Report) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.said.append(report)

    def drain(self) -> None:
        self.said.append("drain")

    async def wait_closed(self) -> str:
        return await asyncio.shield(self.broken)

    async def close(self, goodbye: Goodbye, grace: Seconds) -> None:
        await asyncio.sleep(min(self.closing_s, grace))
        self.said.append((goodbye.code, grace))
        self.broken.set_result("closed")


class FakeDialer:
    """The ports `Dialer` and `Finder`: a script of what comes of each dial, a link when it is over."""

    def __init__(self, *script: Exception) -> None:
        self._script = list(script)
        self.links: list[FakeLink] = []
        self.dials: list[tuple[float, Hello]] = []
        self.located: list[str] = []
        self.found: list[RouterId] = []

    async def locate(self, url: str) -> RouterAddress:
        self.located.append(url)
        return ADDRESS

    async def find(self, router_id: RouterId) -> RouterAddress:
        self.found.append(router_id)
        return ADDRESS

    async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = unable) -> FakeLink:
        self.dials.append((asyncio.get_running_loop().time(), hello))
        await asyncio.sleep(0)
        if self._script:
            raise self._script.pop(0)
        self.links.append(FakeLink())
        return self.links[-1]

    @property
    def pauses(self) -> list[float]:
        """Seconds between the dials."""
        times = [time for time, _ in self.dials]
        return [later - earlier for earlier, later in pairwise(times)]


async def relay(serving: Serving) -> None:
    raise NotImplementedError


def started(
    dialer: FakeDialer,
    *,
    url: str = "http://router",
    finder: Finder | None = None,
    node: str = "n1",
    router: str = "",
    max_restarts: int = 0,
) -> tuple[ActorHandle, ActorHandle]:
    """A RouterLink, and the agent that it tells."""
    agent = remote(Witness).remote()
    hello = Hello((1,), NodeId(node), NodeName("mac"), router_id=RouterId(router))
    kind = remote(RouterLink).options(max_restarts=max_restarts)
    link = kind.remote(hello, url, LinkPorts(dialer, finder, relay), agent, Seconds(7.0))
    return link, agent


async def end(*actors: ActorHandle) -> None:
    for actor in actors:
        await stop(actor)


@virtual_time
async def test_it_dials_again_for_ever_ever_slower_up_to_a_maximum() -> None:
    dialer = FakeDialer(*[LinkClosed("nobody")] * 40)
    link, agent = started(dialer)
    await asyncio.sleep(1000)
    assert len(dialer.links) == 1
    pauses = dialer.pauses
    assert len(pauses) == 40
    for failures, pause in enumerate(pauses, start=1):
        full = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**failures)
        assert full / 2 <= pause <= full  # jittered by half
    assert max(pauses) <= BACKOFF_MAX_S
    await end(link, agent)


@virtual_time
async def test_two_agents_do_not_knock_in_step() -> None:
    dialers = [FakeDialer(*[LinkClosed("nobody")] * 10) for _ in range(2)]
    pairs = [started(dialer, node=f"n{number}") for number, dialer in enumerate(dialers)]
    await asyncio.sleep(60)
    assert dialers[0].pauses != dialers[1].pauses
    for pair in pairs:
        await end(*pair)


@virtual_time
async def test_a_router_that_cannot_be_located_is_looked_for_again() -> None:
    class Lost(FakeDialer):
        async def locate(self, url: str) -> RouterAddress:
            await super().locate(url)
            if len(self.located) < 4:
                raise StreamFailed("nobody there")
            return ADDRESS

    dialer = Lost()
    link, agent = started(dialer)
    await asyncio.sleep(20)
    assert dialer.located == ["http://router"] * 4
    assert len(dialer.links) == 1
    await end(link, agent)


@virtual_time
async def test_a_router_that_refuses_is_not_pestered() -> None:
    dialer = FakeDialer(JoinRefused("wrong token", "token"), JoinRefused("wrong token", "token"))
    link, agent = started(dialer)
    await asyncio.sleep(100)
    assert dialer.pauses == [REFUSED_S, REFUSED_S]
    assert len(dialer.links) == 1
    await end(link, agent)


@virtual_time
async def test_a_link_that_breaks_is_told_and_dialled_again_soon() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer)
    await asyncio.sleep(60)
    dialer.links[0].broken.set_result("the cable")
    await asyncio.sleep(BACKOFF_FIRST_S * 2)
    assert len(dialer.links) == 2
    told = await agent.heard.remote()
    up = ("link_up", (WELCOME, Way("http://192.0.2.1:11435", "192.0.2.1")))
    assert told == [up, ("link_down", ("the cable",)), up]
    await end(link, agent)


@virtual_time
async def test_links_that_never_last_are_dialled_ever_slower() -> None:
    class Rival(FakeDialer):
        async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = unable) -> FakeLink:
            link = await super().dial(address, hello, relay, obey)
            link.broken.set_result("replaced")
            return link

    dialer = Rival()
    link, agent = started(dialer)
    await asyncio.sleep(300)
    assert len(dialer.dials) < 300 / (BACKOFF_MAX_S / 2) + 10
    await end(link, agent)


@virtual_time
async def test_it_stays_with_the_router_that_it_joined() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer, url="", finder=dialer)
    await settled()
    dialer.links[0].broken.set_result("gone")
    await asyncio.sleep(5)
    assert dialer.found == ["", "r1"]
    assert [hello.router_id for _, hello in dialer.dials] == ["", "r1"]
    await end(link, agent)


@virtual_time
async def test_a_router_url_goes_before_what_is_heard_in_the_house() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer, finder=dialer, router="r9")
    await settled()
    assert (dialer.located, dialer.found) == (["http://router"], [])
    await end(link, agent)


@virtual_time
async def test_without_any_way_to_a_router_it_goes_on_without_one() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer, url="", finder=None)
    await asyncio.sleep(60)
    link.report.tell(report())
    await settled()
    assert dialer.dials == []
    await end(link, agent)


@virtual_time
async def test_the_latest_report_goes_out_with_the_link_and_the_next_ones_at_once() -> None:
    dialer = FakeDialer(LinkClosed("nobody"))
    link, agent = started(dialer)
    old, new, newer = report(model("a")), report(model("b")), report(model("c"))
    link.report.tell(old)
    link.report.tell(new)
    await asyncio.sleep(5)
    assert dialer.links[0].said == [new]
    link.report.tell(newer)
    await settled()
    assert dialer.links[0].said == [new, newer]
    await end(link, agent)


@virtual_time
async def test_it_leaves_in_order_and_does_not_come_back() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer)
    await settled()
    await stop(link)
    await asyncio.sleep(60)
    assert dialer.links[0].said == ["drain", ("shutdown", 7.0)]
    assert len(dialer.dials) == 1
    await stop(agent)


@virtual_time
async def test_its_heart_beats_on_while_the_last_answers_end_or_both_ends_would_take_it_for_dead() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer)
    link.report.tell(report(model("a")))
    await settled()
    dialer.links[0].closing_s = HEARTBEAT_S + 1
    await end(link, agent)
    await asyncio.sleep(60)
    assert dialer.links[0].said == [report(model("a")), "drain", report(model("a")), ("shutdown", 7.0)]


@virtual_time
@pytest.mark.parametrize("moment", ["looks", "dials", "waits"])
async def test_it_can_be_stopped_while_it(moment: str) -> None:
    ended: list[str] = []

    async def endless(what: str) -> NoReturn:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(what)
        raise AssertionError("nobody sets it")

    class Endless(FakeDialer):
        async def find(self, router_id: RouterId) -> RouterAddress:
            if moment == "looks":
                await endless("looks")
            return await super().find(router_id)

        async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = unable) -> FakeLink:
            if moment == "dials":
                await endless("dials")
            return await super().dial(address, hello, relay, obey)

    dialer = Endless(*[LinkClosed("nobody")] * 99)
    link, agent = started(dialer, url="", finder=dialer)
    await asyncio.sleep(1.0)
    dials = len(dialer.dials)
    assert (dials > 0) == (moment == "waits")
    await end(link, agent)
    await asyncio.sleep(60)
    assert ended == ([] if moment == "waits" else [moment])
    assert len(dialer.dials) == dials


@virtual_time
async def test_a_router_link_that_crashes_hangs_up_at_once_and_dials_anew() -> None:
    dialer = FakeDialer()
    link, agent = started(dialer, max_restarts=1)
    await settled()
    kill(link, no_restart=False)
    await settled()
    assert dialer.links[0].said == [("shutdown", 0.0)]
    assert len(dialer.links) == 2
    await end(link, agent)


@virtual_time
async def test_a_heartbeat_that_fits_no_frame_is_dropped_and_the_link_stays(caplog: pytest.LogCaptureFixture) -> None:
    dialer = FakeDialer()
    link, agent = started(dialer)
    await settled()
    dialer.links[0].refusal = UnsendableError("HEARTBEAT is longer than a frame.")
    link.report.tell(report(model("x" * 2**20)))
    await settled()
    assert "a heartbeat was not sent: HEARTBEAT is longer than a frame." in caplog.text
    dialer.links[0].refusal = None
    link.report.tell(report(model("m")))
    await settled()
    assert dialer.links[0].said == [report(model("m"))]
    await end(link, agent)
