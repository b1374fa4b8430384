"""Real zeroconf on real sockets: several addresses of loopback stand for the addresses of a machine.

Two machines on one network: `tests/e2e/test_netns_harness.py`.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_interface

import pytest
import zeroconf
from zeroconf import ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from herd.net import mdns
from herd.net.mdns import Heard, LocalAddress, MdnsAdvertiser, MdnsFinder, heard, local_addresses
from herd.protocols.discovery import SERVICE_TYPE, RouterAddress
from herd.types import RouterId, Seconds

LOOPBACK = (LocalAddress(ip_interface("127.0.0.1/8"), 1),)
MOVED = (LocalAddress(ip_interface("127.0.0.2/8"), 1),)


class Machine:
    """Where its addresses can be changed."""

    def __init__(self, *addresses: LocalAddress) -> None:
        self.addresses = addresses

    def look(self) -> tuple[LocalAddress, ...]:
        return self.addresses


def router(router_id: str) -> RouterAddress:
    return RouterAddress((), 11435, 11436, RouterId(router_id), (1,))


async def loop_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def machine() -> Machine:
    return Machine(*LOOPBACK)


@pytest.fixture
async def advertiser(machine: Machine) -> AsyncIterator[MdnsAdvertiser]:
    advertiser = MdnsAdvertiser(machine.look)
    yield advertiser
    await advertiser.stop()


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that RFC 6762 wants between probes and between announcements, as zeroconf's own tests do.

    A zeroconf that names them otherwise makes these tests slower, not wrong.
    """
    monkeypatch.setattr(zeroconf._core, "_PROBE_RANDOM_DELAY_INTERVAL", (0, 1), raising=False)
    for pause in ("_CHECK_TIME", "_REGISTER_TIME", "_UNREGISTER_TIME"):
        monkeypatch.setattr(zeroconf._core, pause, 10, raising=False)


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    yield
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_router_that_is_announced_is_found(advertiser: MdnsAdvertiser) -> None:
    await advertiser.start(router("found"))
    found = await MdnsFinder(lambda: LOOPBACK).find(RouterId("found"))
    assert found == RouterAddress(("127.0.0.1",), 11435, 11436, RouterId("found"), (1,))


async def test_a_router_that_starts_later_is_found_when_it_starts(advertiser: MdnsAdvertiser) -> None:
    finding = asyncio.create_task(MdnsFinder(lambda: LOOPBACK).find(RouterId("later")))
    await advertiser.start(router("later"))
    assert (await finding).router_id == "later"


async def test_a_router_that_moved_is_found_at_its_new_address(advertiser: MdnsAdvertiser, machine: Machine) -> None:
    await advertiser.start(router("moved"))
    machine.addresses = MOVED
    assert await advertiser.refresh()
    found = await MdnsFinder(lambda: LOOPBACK).find(RouterId("moved"))
    assert found.hosts == ("127.0.0.2",)


async def test_a_router_that_did_not_move_is_not_announced_again(advertiser: MdnsAdvertiser) -> None:
    await advertiser.start(router("still"))
    assert not await advertiser.refresh()


async def test_a_machine_without_network_says_so_once_and_announces_when_it_has_one(
    advertiser: MdnsAdvertiser, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.addresses = ()
    await advertiser.start(router("cable"))
    assert not await advertiser.refresh()
    assert [record.message for record in caplog.records if record.name == mdns.__name__] == [
        "This machine has no network: agents can find the router by mDNS once it has one."
    ]
    machine.addresses = LOOPBACK
    assert await advertiser.refresh()
    assert (await MdnsFinder(lambda: LOOPBACK).find(RouterId("cable"))).http_port == 11435


async def test_a_network_that_went_away_and_came_back_is_used_again(
    advertiser: MdnsAdvertiser, machine: Machine
) -> None:
    await advertiser.start(router("wifi"))
    machine.addresses = ()
    assert not await advertiser.refresh()
    machine.addresses = MOVED
    assert await advertiser.refresh()
    assert (await MdnsFinder(lambda: LOOPBACK).find(RouterId("wifi"))).hosts == ("127.0.0.2",)


async def test_an_agent_waits_for_its_own_router_among_others(advertiser: MdnsAdvertiser, machine: Machine) -> None:
    await advertiser.start(router("other"))
    finding = asyncio.create_task(MdnsFinder(lambda: LOOPBACK).find(RouterId("own")))
    own = MdnsAdvertiser(machine.look)
    await own.start(router("own"))
    assert (await finding).router_id == "own"
    await own.stop()


async def test_a_new_agent_between_two_routers_takes_one_and_names_both(
    advertiser: MdnsAdvertiser, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    second = MdnsAdvertiser(machine.look)
    await asyncio.gather(advertiser.start(router("north")), second.start(router("south")))
    found = await MdnsFinder(lambda: LOOPBACK).find(RouterId(""))
    await second.stop()
    assert found.router_id in ("north", "south")
    (sentence,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "north at 127.0.0.1" in sentence
    assert "south at 127.0.0.1" in sentence
    assert sentence.endswith(f"{found.router_id}.")


async def test_a_hostile_record_is_passed_over(advertiser: MdnsAdvertiser) -> None:
    hostile = ServiceInfo(
        SERVICE_TYPE,
        f"hostile.{SERVICE_TYPE}",
        port=1,
        properties={"v": "1", "http": "99999", "link": "x", "id": "victim"},
        server="hostile.local.",
        addresses=[socket.inet_aton("127.0.0.66")],
    )
    liar = AsyncZeroconf(interfaces=["127.0.0.1"])
    await (await liar.async_register_service(hostile))
    finding = asyncio.create_task(MdnsFinder(lambda: LOOPBACK).find(RouterId("victim")))
    await advertiser.start(router("victim"))
    assert (await finding).hosts == ("127.0.0.1",)
    await liar.async_close()


async def test_giving_up_at_any_moment_leaves_nothing_behind() -> None:
    for turns in range(30):
        finding = asyncio.create_task(MdnsFinder(lambda: LOOPBACK).find(RouterId("nobody")))
        await loop_turns(turns)
        finding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finding


async def test_a_start_that_is_cancelled_leaves_nothing_behind(machine: Machine) -> None:
    for turns in range(0, 20, 4):
        advertiser = MdnsAdvertiser(machine.look)
        starting = asyncio.create_task(advertiser.start(router("hasty")))
        await loop_turns(turns)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await advertiser.stop()


async def test_an_agent_without_network_says_so_and_waits(caplog: pytest.LogCaptureFixture) -> None:
    looked = asyncio.Event()

    def look() -> tuple[LocalAddress, ...]:
        looked.set()
        return ()

    finding = asyncio.create_task(MdnsFinder(look).find(RouterId("nobody")))
    await looked.wait()
    assert not finding.done()
    assert "This machine has no network" in caplog.text
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding


async def test_who_listens_for_a_while_hears_every_router_once(
    advertiser: MdnsAdvertiser, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = MdnsAdvertiser(machine.look)
    await asyncio.gather(advertiser.start(router("north")), second.start(router("south")))
    monkeypatch.setattr(mdns, "_MAX_NAMES", 2)  # no further one is waited for
    found = await heard(Seconds(20.0), lambda: LOOPBACK)
    await second.stop()
    assert sorted(each.router_id for each in found.routers) == ["north", "south"]
    assert (found.addresses, found.trouble) == (("127.0.0.1",), "")


async def test_who_listens_where_no_router_is_hears_none_and_says_on_what(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await heard(Seconds(0.05), lambda: LOOPBACK) == Heard(("127.0.0.1",))
    assert await heard(Seconds(20.0), lambda: ()) == Heard((), trouble="this machine has no network")
    monkeypatch.setattr(mdns, "AsyncZeroconf", no_port)
    assert (await heard(Seconds(20.0), lambda: LOOPBACK)).trouble == "port 5353 is taken"


def no_port(**_: object) -> AsyncZeroconf:
    raise OSError("port 5353 is taken")


async def test_stopping_twice_or_unstarted_is_fine(advertiser: MdnsAdvertiser) -> None:
    await advertiser.stop()
    await advertiser.start(router("twice"))
    await advertiser.stop()
    await advertiser.stop()


def test_this_machine_has_addresses_in_order_without_loopback_where_it_can() -> None:
    addresses = local_addresses()
    loopback = [address for address in addresses if address.interface.ip.is_loopback]
    assert not loopback or loopback == list(addresses)
    assert [a.interface.ip.is_link_local for a in addresses] == sorted(a.interface.ip.is_link_local for a in addresses)
