import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import herd
from tests.e2e.netns import Host, Network, available

pytestmark = pytest.mark.netns

ROUTER_ID = "0f3c9a5e11d2b768"

LISTEN = """
import socket, struct
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("", 5399))
listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + bytes(4))
print("listening", flush=True)
words, (sender, _) = listener.recvfrom(100)
print(words.decode(), "from", sender, flush=True)
"""

SAY = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("224.0.0.251", 5399))
"""

ADVERTISE = """
import asyncio, sys
from herd.net.mdns import MdnsAdvertiser
from herd.protocols.discovery import RouterAddress

async def main():
    advertiser = MdnsAdvertiser()
    await advertiser.start(RouterAddress((), 11435, 11436, sys.argv[1]))
    print("announced", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(await advertiser.refresh(), flush=True)
    await advertiser.stop()

asyncio.run(main())
"""

FIND = """
import asyncio, json, sys
from herd.net.mdns import MdnsFinder

router = asyncio.run(MdnsFinder().find(sys.argv[1]))
print(json.dumps([router.hosts, router.http_port, router.link_port, router.router_id]), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if reason := available():
        pytest.skip(reason)


@pytest.fixture(name="network")
def three_hosts() -> Iterator[Network]:
    with Network(["router", "a", "b"]) as network:
        yield network


def python(host: Host, script: str, *arguments: str) -> "subprocess.Popen[str]":
    return host.run(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(herd.__file__).parents[1],
    )


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def refresh(router: "subprocess.Popen[str]") -> str:
    assert router.stdin is not None
    router.stdin.write("refresh\n")
    router.stdin.flush()
    return line(router)


def found_by(host: Host, router_id: str = ROUTER_ID) -> Any:
    return json.loads(line(python(host, FIND, router_id)))


def test_two_hosts_hear_each_others_multicast(network: Network) -> None:
    listener = python(network["a"], LISTEN)
    assert line(listener) == "listening"
    python(network["b"], SAY).wait()
    assert line(listener) == f"hello from {network['b'].address}"


def test_nothing_is_left_of_a_network_that_failed() -> None:
    sleepers = []

    def fail_in_a_network() -> None:
        with Network(["a"]) as network:
            sleepers.append(network["a"].run(["sleep", "1000"]))
            raise ZeroDivisionError

    before = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True).stdout
    with pytest.raises(subprocess.CalledProcessError), Network(["a", "a/b"]):
        pass
    with pytest.raises(ZeroDivisionError):
        fail_in_a_network()
    assert sleepers[0].returncode is not None
    assert subprocess.run(["ip", "netns", "list"], check=True, capture_output=True).stdout == before


def test_a_router_is_found_by_another_host_and_again_at_once_after_it_moved(network: Network) -> None:
    router = python(network["router"], ADVERTISE, ROUTER_ID)
    assert line(router) == "announced"
    hosts, http_port, link_port, router_id = found_by(network["a"])
    assert hosts[0] == "10.77.0.1"
    assert all(host.startswith("fe80::") and "%" in host for host in hosts[1:])
    assert (http_port, link_port, router_id) == (11435, 11436, ROUTER_ID)

    network["router"].move("10.77.0.99")
    waiting = python(network["b"], FIND, ROUTER_ID)
    assert refresh(router) == "True"
    assert json.loads(line(waiting))[0][0] == "10.77.0.99"
    assert found_by(network["a"], router_id="")[0][0] == "10.77.0.99"
    assert refresh(router) == "False"


def test_a_second_router_with_the_same_id_is_told_so(network: Network) -> None:
    assert line(python(network["router"], ADVERTISE, ROUTER_ID)) == "announced"
    copy = network["a"].run(
        [sys.executable, "-c", ADVERTISE, ROUTER_ID],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(herd.__file__).parents[1],
    )
    assert "Was its data directory copied?" in copy.communicate()[1]
