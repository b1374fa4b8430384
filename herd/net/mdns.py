"""mDNS: the router makes itself known on the local network, agents find it. The only module that knows zeroconf.

Both sides look at the machine's addresses themselves and hand zeroconf a plain list, because what zeroconf would choose
includes loopback (where every machine has a router at 127.0.0.1) and fails where there is no network yet.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_interface
from types import TracebackType
from typing import Self

import ifaddr
from zeroconf import Error as ZeroconfError
from zeroconf import NonUniqueNameException, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from herd.errors import ProtocolError
from herd.protocols.discovery import (
    MAX_HOSTS,
    SERVICE_TYPE,
    Interface,
    RouterAddress,
    instance_label,
    nearest_first,
    parse,
    txt,
)
from herd.types import RouterId, Seconds

log = logging.getLogger(__name__)

# How long one round of listening lasts before the next begins with the interfaces of that moment. zeroconf asks at 0, 1
# and 5 s and then no more, so a longer round would only wait for a router that announces itself.
_ROUND_S = Seconds(5.0)

# Responders delay a shared answer by 20 to 120 ms (RFC 6762, section 6): after twice that, a second router would have
# been heard, too.
_SECOND_ROUTER_S = Seconds(0.25)

# A router sends address and ports together with its name; a record that has to be asked for and does not come in a
# second belongs to a router that is gone.
_RESOLVE_MS = 1000

# Names heard and not yet resolved. A house has one or two routers; more are somebody's flood, and dropped names are
# heard again in the next round.
_MAX_NAMES = 64


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """One address of this machine, and the index of the interface that has it."""

    interface: Interface
    index: int


Look = Callable[[], Sequence[LocalAddress]]


def local_addresses() -> tuple[LocalAddress, ...]:
    """This machine's addresses: IPv4, then IPv6, link-local ones last; 127.0.0.1 only where there is nothing else.

    Quick enough for the event loop: it reads a kernel table and resolves nothing.
    """
    everything = [
        LocalAddress(ip_interface(f"{ip.ip[0] if isinstance(ip.ip, tuple) else ip.ip}/{ip.network_prefix}"), index)
        for adapter in ifaddr.get_adapters()
        if (index := adapter.index) is not None
        for ip in adapter.ips
    ]
    outward = [address for address in everything if not address.interface.ip.is_loopback and _usable(address)]
    # zeroconf cannot multicast on ::1.
    chosen = outward or [address for address in everything if isinstance(address.interface, IPv4Interface)]
    return tuple(sorted(chosen, key=lambda address: (address.interface.ip.is_link_local, address.interface.version)))


def _usable(address: LocalAddress) -> bool:
    """False of an IPv6 address that is still being checked for duplicates, a second or two after its link came up."""
    ip = address.interface.ip
    scope = (0, address.index if ip.is_link_local else 0) if ip.version == 6 else ()
    try:
        with socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0, *scope))
    except OSError:
        return False
    return True


def _zeroconf_interfaces(addresses: Sequence[LocalAddress]) -> list[str | int]:
    """What zeroconf wants: IPv4 addresses, and for IPv6 each interface's index once."""
    ipv4 = [str(address.interface.ip) for address in addresses if address.interface.version == 4]
    ipv6 = {address.index: None for address in addresses if address.interface.version == 6}
    return [*ipv4, *ipv6]


def _packed(addresses: Sequence[LocalAddress]) -> list[bytes]:
    return [address.interface.ip.packed for address in addresses[:MAX_HOSTS]]


async def _close(zeroconf: AsyncZeroconf) -> None:
    """Close to the end, also when the caller is cancelled meanwhile: sockets must not outlive it."""
    closing = asyncio.create_task(zeroconf.async_close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


class _Complaint:
    """Logs why mDNS does not work: once for each reason, not at every attempt."""

    def __init__(self) -> None:
        self._last = ""

    def say(self, sentence: str) -> None:
        if sentence != self._last:
            self._last = sentence
            log.warning("%s", sentence)

    def over(self) -> None:
        self._last = ""


class MdnsAdvertiser:
    """Announces a router. Implements the port `Advertiser`.

    A machine without a network, without IPv6 or without mDNS is no error: a sentence is logged, and `refresh` tries
    again. The calls must not overlap.

    Args:
        look: where this machine's addresses come from.
    """

    def __init__(self, look: Look = local_addresses) -> None:
        self._look = look
        self._router: RouterAddress | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._info: AsyncServiceInfo | None = None
        self._announced: tuple[LocalAddress, ...] = ()
        self._complaint = _Complaint()

    async def start(self, address: RouterAddress) -> None:
        """Announce the router; returns once that has been done, one to two seconds later.

        Args:
            address: the ports, versions and id to announce; its hosts are not used, this machine's addresses are.
        """
        self._router = address
        await self._announce(tuple(self._look()))

    async def refresh(self) -> bool:
        """Announce anew if this machine's addresses changed; true if that was done."""
        addresses = tuple(self._look())
        if addresses == self._announced:
            return False
        return await self._announce(addresses)

    async def stop(self) -> None:
        """Say goodbye, so that no agent dials a router that is gone. Idempotent."""
        zeroconf, self._zeroconf, self._announced = self._zeroconf, None, ()
        if zeroconf is not None:
            await _close(zeroconf)

    async def _announce(self, addresses: tuple[LocalAddress, ...]) -> bool:
        if not addresses:
            self._complaint.say("This machine has no network: agents can find the router by mDNS once it has one.")
        try:
            if self._zeroconf is not None and self._info is not None:
                await self._move(self._zeroconf, self._info, addresses)
            elif addresses:
                await self._open(addresses)
        except NonUniqueNameException:
            self._complaint.say(
                "Another router with the same id is on this network, so this one is not announced by mDNS."
                " Was its data directory copied? Delete identity.json in the copy."
            )
            return False
        except (OSError, RuntimeError, ZeroconfError) as error:
            reason = str(error) or type(error).__name__
            self._complaint.say(f"mDNS does not work ({reason}): start agents with --router-url until it does.")
            return False
        self._announced = addresses
        if addresses:
            self._complaint.over()
        return bool(addresses)

    async def _open(self, addresses: tuple[LocalAddress, ...]) -> None:
        router = self._router
        if router is None:
            raise RuntimeError("the router's address is not known before start()")
        label = instance_label(router.router_id)
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            f"{label}.{SERVICE_TYPE}",
            port=router.link_port,
            properties=txt(router),
            # Not the machine's own host name, whose records belong to the system's mDNS responder.
            server=f"{label}.local.",
            addresses=_packed(addresses),
        )
        zeroconf = AsyncZeroconf(interfaces=_zeroconf_interfaces(addresses))
        try:
            announcing = await zeroconf.async_register_service(info)
            await announcing
        except BaseException:
            await _close(zeroconf)
            raise
        self._zeroconf, self._info = zeroconf, info

    async def _move(self, zeroconf: AsyncZeroconf, info: AsyncServiceInfo, addresses: tuple[LocalAddress, ...]) -> None:
        # The record first: the update of the interfaces announces it on each new one.
        info.addresses = _packed(addresses)
        await zeroconf.async_update_interfaces(_zeroconf_interfaces(addresses))
        announcing = await zeroconf.async_update_service(info)
        await announcing


class MdnsFinder:
    """Finds a router. Implements the port `Finder`.

    Args:
        look: where this machine's addresses come from.
    """

    def __init__(self, look: Look = local_addresses) -> None:
        self._look = look
        self._complaint = _Complaint()

    async def find(self, router_id: RouterId) -> RouterAddress:
        """Wait until a router is heard, for ever if need be; cancel it to give up.

        Args:
            router_id: the router to wait for; empty: the first one heard.
        """
        while True:
            addresses = tuple(self._look())
            if addresses:
                found = await self._listen(addresses, router_id)
                if found is not None:
                    return found
            else:
                self._complaint.say("This machine has no network: looking for a router once it has one.")
                await asyncio.sleep(_ROUND_S)

    async def _listen(self, addresses: tuple[LocalAddress, ...], router_id: RouterId) -> RouterAddress | None:
        """One round; None when no such router was heard in it."""
        try:
            ear = _Ear(addresses)
        except (OSError, RuntimeError) as error:
            self._complaint.say(f"mDNS does not work ({error}): name the router with --router-url.")
            await asyncio.sleep(_ROUND_S)
            return None
        self._complaint.over()
        async with ear:
            first = await ear.hear(lambda router: router_id in ("", router.router_id), _ROUND_S)
            if first is None or router_id:
                return first
            second = await ear.hear(lambda router: router.router_id != first.router_id, _SECOND_ROUTER_S)
        if second is not None:
            log.warning(
                "Two routers answer on this network, %s at %s and %s at %s; taking the first one heard, %s.",
                *(first.router_id, first.hosts[0], second.router_id, second.hosts[0], first.router_id),
            )
        return first


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of routers in a while."""

    addresses: tuple[str, ...]  # this machine's, on which it was listened
    routers: tuple[RouterAddress, ...] = ()  # each once, in the order in which they were heard
    trouble: str = ""  # why nothing could be


async def heard(lasts: Seconds, look: Look = local_addresses) -> Heard:
    """Every router that makes itself known within `lasts` seconds, and at least a network to hear it on."""
    addresses = tuple(look())
    own = tuple(str(address.interface.ip) for address in addresses)
    if not addresses:
        return Heard(own, trouble="this machine has no network")
    routers: dict[RouterId, RouterAddress] = {}
    try:
        async with _Ear(addresses) as ear, asyncio.timeout(lasts):
            while router := await ear.hear(lambda each: each.router_id not in routers, lasts):
                routers[router.router_id] = router
                if len(routers) == _MAX_NAMES:
                    break
    except TimeoutError:
        pass  # as it should be
    except (OSError, RuntimeError) as error:
        return Heard(own, trouble=str(error) or type(error).__name__)
    return Heard(own, tuple(routers.values()))


class _Ear:
    """Browses for routers from its construction on until it is left.

    Args:
        addresses: this machine's.

    Raises:
        OSError: the mDNS port cannot be used.
        RuntimeError: an interface went away between the look and now.
    """

    def __init__(self, addresses: Sequence[LocalAddress]) -> None:
        self._own = [address.interface for address in addresses]
        self._names: asyncio.Queue[str] = asyncio.Queue(_MAX_NAMES)
        self._zeroconf = AsyncZeroconf(interfaces=_zeroconf_interfaces(addresses))
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._heard])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._browser.async_cancel()
        finally:
            await _close(self._zeroconf)

    def _heard(self, *, name: str, state_change: ServiceStateChange, **_: object) -> None:
        if state_change is not ServiceStateChange.Removed:
            with contextlib.suppress(asyncio.QueueFull):
                self._names.put_nowait(name)

    async def hear(self, wanted: Callable[[RouterAddress], bool], timeout: Seconds) -> RouterAddress | None:
        """The next router that is wanted, or None after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    router = await self._resolve(await self._names.get())
                    if router is not None and wanted(router):
                        return router
        except TimeoutError:
            return None

    async def _resolve(self, name: str) -> RouterAddress | None:
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            if not await info.async_request(self._zeroconf.zeroconf, _RESOLVE_MS):
                return None
            hosts = nearest_first(info.parsed_scoped_addresses(), self._own)
            return parse(hosts, info.decoded_properties)
        except (ProtocolError, ZeroconfError) as error:
            log.debug("Ignored the mDNS record %r: %s", name, error)
            return None
