"""How a router is known on the local network: the values of its mDNS record, to and from TXT.

TXT keys (all ASCII, in RFC 6763's `key=value` form):

    v     link protocol versions, comma-separated: "1" or "1,2"
    http  port of the HTTP listener
    link  port of the link listener
    id    router id
    tls   "1" where the HTTP and the link listener speak TLS; not there where they do not
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address
from operator import itemgetter

from herd.errors import ProtocolError
from herd.types import RouterId

SERVICE_TYPE = "_herd._tcp.local."

# A machine with a dozen container bridges has two dozen addresses; each one taken may be dialled, so a record that
# lists hundreds must not keep an agent busy.
MAX_HOSTS = 32

# 63 bytes is the longest DNS label, and the id's first characters become part of one.
_ROUTER_ID = re.compile(r"[0-9A-Za-z_-]{1,63}")
_PORT = re.compile(r"[0-9]{1,5}")  # not \d and not int(): both take digits of every script
# Sixteen versions of at most three digits: far more than two neighbouring releases ever speak.
_VERSIONS = re.compile(r"[0-9]{1,3}(?:,[0-9]{1,3}){0,15}")

# Characters of the router id in the instance name: enough that two routers of one house differ.
_NAME_CHARS = 12

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class RouterAddress:
    """Where a router listens."""

    hosts: tuple[str, ...]  # IPv4 and IPv6 addresses, or names, best first
    http_port: int
    link_port: int
    router_id: RouterId
    versions: tuple[int, ...] = (1,)  # link protocol versions it speaks
    tls: bool = False  # its link speaks TLS
    url: str = ""  # by which a person named it, without a path; empty when it was found


def instance_label(router_id: RouterId) -> str:
    """The first label of the router's service name and of its host name on the local network."""
    return f"herd-{router_id[:_NAME_CHARS]}"


def txt(address: RouterAddress) -> dict[str, str]:
    """The TXT values that announce a router; its hosts travel in A and AAAA records."""
    return {
        "v": ",".join(str(version) for version in address.versions),
        "http": str(address.http_port),
        "link": str(address.link_port),
        "id": address.router_id,
        **({"tls": "1"} if address.tls else {}),
    }


def parse(hosts: Iterable[str], values: Mapping[str, str | None]) -> RouterAddress:
    """The address that a record announces. Keys that this version does not know are ignored.

    Args:
        hosts: the record's addresses, best first; at most `MAX_HOSTS` are kept.
        values: the record's TXT values; None for a key without a value.

    Raises:
        ProtocolError: there is no host, or a value is missing or cannot be used.
    """
    kept = tuple(dict.fromkeys(hosts))[:MAX_HOSTS]
    if not kept:
        raise ProtocolError("The record names no address that this machine could dial.")
    versions = tuple(int(version) for version in _value(values, "v", _VERSIONS).split(","))
    router_id = RouterId(_value(values, "id", _ROUTER_ID))
    tls = values.get("tls") == "1"
    return RouterAddress(kept, _port(values, "http"), _port(values, "link"), router_id, versions, tls)


def _port(values: Mapping[str, str | None], key: str) -> int:
    port = int(_value(values, key, _PORT))
    if not 1 <= port <= 65535:
        raise ProtocolError(f"The record's {key!r} is no port: {port}.")
    return port


def _value(values: Mapping[str, str | None], key: str, form: re.Pattern[str]) -> str:
    value = values.get(key)
    if value is None:
        raise ProtocolError(f"The record has no {key!r}.")
    if not form.fullmatch(value):
        raise ProtocolError(f"The record's {key!r} cannot be used: {value[:80]!r}.")
    return value


class _Distance(IntEnum):
    """How far away an address is; the smallest is dialled first."""

    SAME_SUBNET = 0
    ROUTED = 1
    LINK_LOCAL = 2
    OWN = 3
    UNDIALLABLE = 4


def nearest_first(hosts: Sequence[str], own: Sequence[Interface]) -> tuple[str, ...]:
    """The addresses of another machine, the one to dial first in front; equals keep their order.

    Addresses in a subnet of this machine come first, then those behind a gateway, then IPv6 link-local ones. Last come
    this machine's own: a container bridge has the same address on every machine, and dialling it would reach oneself.
    (Where *all* are its own, router and caller share a machine, and each will do.) An IPv6 link-local address that does
    not say by which interface it was heard cannot be dialled and is left out.

    Args:
        hosts: IPv4 and IPv6 addresses as text; IPv6 link-local ones with "%" and an interface.
        own: this machine's addresses with their subnets.
    """
    ranked = sorted(((_distance(host, own), host) for host in hosts), key=itemgetter(0))
    return tuple(host for distance, host in ranked if distance is not _Distance.UNDIALLABLE)


def _distance(host: str, own: Sequence[Interface]) -> _Distance:
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        if address.is_link_local and not address.scope_id:
            return _Distance.UNDIALLABLE
        address = IPv6Address(int(address))  # without its scope, which says nothing about whose it is
    if any(address == interface.ip for interface in own):
        return _Distance.OWN
    if address.version == 6 and address.is_link_local:
        return _Distance.LINK_LOCAL
    if any(address in interface.network for interface in own):
        return _Distance.SAME_SUBNET
    return _Distance.ROUTED
