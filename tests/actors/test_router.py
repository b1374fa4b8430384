"""The router process: what it does without, and what it leaves in order when its actors will not live."""

import asyncio

from herd.actors import names
from herd.actors.discovery import REFRESH_S
from herd.actors.fleet import RouterIdentity
from herd.actors.ports import Advertiser, HttpServer
from herd.actors.router import RouterOptions, RouterPorts, running_router
from herd.runtime import get_actor, kill, list_actors
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.links import InMemoryLinks
from herd.types import Bytes, MiB, RouterId, Seconds
from tests.actors.doubles import FakeAdvertiser, FakeHttpServer

OPTIONS = RouterOptions(RouterIdentity(RouterId("r1"), "1.2"), 0, Seconds(30.0), Bytes(MiB))


def ports(http: HttpServer, advertiser: Advertiser | None = None) -> RouterPorts:
    links = InMemoryLinks()
    return RouterPorts(LoopClock(), http, links, links, links, advertiser)


@virtual_time
async def test_a_network_that_is_down_for_long_costs_the_router_nothing_but_its_announcement() -> None:
    advertiser = FakeAdvertiser(failures=7)
    async with running_router(OPTIONS, ports(FakeHttpServer(), advertiser)) as router:
        await asyncio.sleep(8 * REFRESH_S + 30)
        assert not router.failed.done()
        assert advertiser.diary == ["announces", "says goodbye"] * 7 + ["announces"]
        assert {state.identity.name: state.restarts for state in list_actors() if state.restarts} == {
            names.DISCOVERY: 7
        }
    assert advertiser.diary[-1] == "says goodbye"


@virtual_time(allow_lost=True)  # the others end with the Gateway; the router does not look who is left to be told
async def test_a_router_whose_gateway_is_given_up_stops_the_listener_at_its_end() -> None:
    http = FakeHttpServer()
    async with running_router(OPTIONS, ports(http)) as router:
        for _ in range(6):
            assert not router.failed.done()
            kill(get_actor(names.GATEWAY, "router-r1"), no_restart=False)
            await asyncio.sleep(5)
        failure = await router.failed
        assert str(failure).startswith('Gateway "gateway" crashed of ActorKilled(')
        assert http.diary == ["listens"]
    assert http.diary == ["listens", "has stopped"]
