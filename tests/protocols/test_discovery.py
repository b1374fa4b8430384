from ipaddress import IPv4Interface, IPv6Interface, ip_interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import ProtocolError
from herd.protocols.discovery import MAX_HOSTS, RouterAddress, instance_label, nearest_first, parse, txt
from herd.types import RouterId

GOOD = {"v": "1", "http": "11435", "link": "11436", "id": "0f3c9a5e11d2b768"}

addresses = st.builds(
    RouterAddress,
    hosts=st.lists(st.ip_addresses().map(str), min_size=1, max_size=MAX_HOSTS, unique=True).map(tuple),
    http_port=st.integers(1, 65535),
    link_port=st.integers(1, 65535),
    router_id=st.from_regex(r"[0-9A-Za-z_-]{1,63}", fullmatch=True).map(RouterId),
    versions=st.lists(st.integers(0, 999), min_size=1, max_size=16).map(tuple),
    tls=st.booleans(),
)


@given(addresses)
@settings(max_examples=100)
def test_what_is_announced_is_what_is_read(address: RouterAddress) -> None:
    assert parse(address.hosts, txt(address)) == address


@given(
    st.lists(st.text(max_size=20), max_size=3),
    st.dictionaries(st.sampled_from(["v", "http", "link", "id", "x"]), st.none() | st.text(max_size=70)),
)
@settings(max_examples=200)
def test_any_record_is_an_address_or_one_sentence(hosts: list[str], values: dict[str, str | None]) -> None:
    try:
        address = parse(hosts, values)
    except ProtocolError as error:
        assert str(error).endswith(".")  # noqa: PT017 - both outcomes are right
        assert len(str(error)) < 1000  # noqa: PT017
    else:
        assert 1 <= address.http_port <= 65535
        assert 1 <= address.link_port <= 65535
        assert address.router_id
        assert address.hosts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", None),
        ("id", ""),
        ("id", "x" * 64),
        ("id", "../../etc"),
        ("id", "new\nline"),
        ("http", "0"),
        ("http", "65536"),
        ("http", "-1"),
        ("http", "80.5"),
        ("link", "٨٠"),  # digits, but not ours
        ("link", " 80"),
        ("link", None),
        ("v", ""),
        ("v", "1,"),
        ("v", "one"),
        ("v", "1" * 5000),
    ],
)
def test_a_partial_or_hostile_record_names_the_value_at_fault(key: str, value: str | None) -> None:
    with pytest.raises(ProtocolError, match=repr(key)):
        parse(["192.0.2.1"], {**GOOD, key: value})


@pytest.mark.parametrize("key", ["v", "http", "link", "id"])
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(ProtocolError, match=f"no '{key}'"):
        parse(["192.0.2.1"], {name: value for name, value in GOOD.items() if name != key})


def test_a_record_without_an_address_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no address"):
        parse([], GOOD)


def test_a_newer_router_with_more_keys_and_versions_is_understood() -> None:
    address = parse(["192.0.2.1"], {**GOOD, "v": "1,2,3", "mood": "sunny"})
    assert address.versions == (1, 2, 3)


@pytest.mark.parametrize(("value", "tls"), [("1", True), ("0", False), ("", False), (None, False), ("yes", False)])
def test_a_router_that_speaks_tls_says_so(value: str | None, tls: bool) -> None:
    assert parse(["192.0.2.1"], {**GOOD, "tls": value}).tls is tls
    assert parse(["192.0.2.1"], GOOD).tls is False


def test_no_record_makes_an_agent_dial_for_ever() -> None:
    assert len(parse((f"10.0.{n // 256}.{n % 256}" for n in range(1000)), GOOD).hosts) == MAX_HOSTS


def test_the_same_address_heard_twice_is_one_address() -> None:
    assert parse(["192.0.2.1", "192.0.2.1"], GOOD).hosts == ("192.0.2.1",)


def test_the_service_name_is_short_and_tells_routers_apart() -> None:
    assert instance_label(RouterId("0f3c9a5e11d2b768")) == "herd-0f3c9a5e11d2"
    assert instance_label(RouterId("short")) == "herd-short"


class TestNearestFirst:
    OWN = (ip_interface("192.168.1.6/24"), ip_interface("172.17.0.1/16"), ip_interface("fd00::6/64"))

    def test_a_shared_subnet_beats_a_routed_address(self) -> None:
        assert nearest_first(["10.9.9.9", "192.168.1.5"], self.OWN) == ("192.168.1.5", "10.9.9.9")

    def test_ipv4_and_ipv6_of_one_subnet_keep_their_order(self) -> None:
        assert nearest_first(["192.168.1.5", "fd00::5"], self.OWN) == ("192.168.1.5", "fd00::5")

    def test_a_container_bridge_that_every_machine_has_comes_last(self) -> None:
        hosts = ["172.17.0.1", "192.168.1.5", "10.9.9.9"]
        assert nearest_first(hosts, self.OWN) == ("192.168.1.5", "10.9.9.9", "172.17.0.1")

    def test_a_router_on_this_machine_is_dialled_at_its_first_address(self) -> None:
        assert nearest_first(["192.168.1.6", "172.17.0.1"], self.OWN) == ("192.168.1.6", "172.17.0.1")

    def test_link_local_ipv6_needs_the_interface_it_was_heard_on(self) -> None:
        hosts = ["fe80::1", "fe80::2%3", "10.9.9.9"]
        assert nearest_first(hosts, self.OWN) == ("10.9.9.9", "fe80::2%3")

    def test_on_a_link_without_any_routable_address_link_local_is_enough(self) -> None:
        assert nearest_first(["fe80::2%3"], (IPv6Interface("fe80::6/64"),)) == ("fe80::2%3",)

    @given(
        st.lists(st.ip_addresses(), max_size=8),
        st.lists(st.ip_addresses(v=4).map(lambda ip: IPv4Interface(f"{ip}/24")), max_size=3),
    )
    @settings(max_examples=100)
    def test_it_only_orders_and_drops(self, hosts: list[object], own: list[IPv4Interface]) -> None:
        given_hosts = [str(host) for host in hosts]
        ordered = nearest_first(given_hosts, own)
        dialable = [host for host in given_hosts if not host.startswith(("fe8", "fe9", "fea", "feb"))]
        assert sorted(ordered) == sorted(dialable)
