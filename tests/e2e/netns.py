"""A network of its own for tests: one network namespace for each host, joined by a bridge in one more.

    with Network(["router", "a", "b"]) as network:
        process = network["a"].run([sys.executable, "-c", "..."], stdout=subprocess.PIPE)
        network["router"].move("10.77.0.99")
        network.unplug("a")

Every link is made inside these namespaces, so the machine's own network is never touched, and two networks cannot
collide. Needs root and iproute2 on Linux: `available()` says what is missing.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

SUBNET = "10.77.0"
PREFIX = 24

_INTERFACE = "eth0"
_numbers = itertools.count()  # tells the networks of one process apart

# A bridge forwards for a host a few milliseconds after the host's link is up; one that has not by then never will.
_FORWARDING_S = 10.0
_BRIDGE_FORWARDING = "3"  # BR_STATE_FORWARDING in linux/if_bridge.h

# Hosts have no other machine's addresses to clash with; without this their IPv6 addresses are unusable for a second.
_NO_DUPLICATE_DETECTION = "f=/proc/sys/net/ipv6/conf/default/accept_dad; if [ -e $f ]; then echo 0 > $f; fi"


class Host:
    """One machine of a network, with one interface, `eth0`."""

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name = name
        self.address = address
        self._namespace = namespace
        self._processes: list[subprocess.Popen[Any]] = []

    def __repr__(self) -> str:
        return f"<Host {self.name} at {self.address}>"

    def run(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a command on this host; what still runs when the network ends is killed.

        Args:
            command: program and arguments.
            options: as `subprocess.Popen` takes them.
        """
        process = subprocess.Popen(self.words(command), **options)
        self._processes.append(process)
        return process

    def words(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on this host; the process is the command itself."""
        return ["ip", "netns", "exec", self._namespace, *command]

    def move(self, address: str) -> None:
        """Give the host another address, as a new DHCP lease would: the old one is gone at once.

        Args:
            address: in the network's subnet, without a prefix length.
        """
        _ip("-n", self._namespace, "address", "flush", "dev", _INTERFACE, "scope", "global")
        self.address = address
        self.assign_address()

    def assign_address(self) -> None:
        """Put the address on the interface, and multicast and everything else on its link."""
        _ip("-n", self._namespace, "address", "add", f"{self.address}/{PREFIX}", "dev", _INTERFACE)
        _ip("-n", self._namespace, "route", "add", "default", "dev", _INTERFACE)
        _ip("-n", self._namespace, "route", "add", "224.0.0.0/4", "dev", _INTERFACE)

    def kill_processes(self) -> None:
        for process in self._processes:
            with process:  # closes its pipes and waits for it
                process.kill()


class Network:
    """Hosts that hear each other, from entering to leaving.

    Args:
        hosts: their names; the first gets the address 10.77.0.1, the next 10.77.0.2, and so on.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._prefix = f"herd-{os.getpid()}-{next(_numbers)}"
        self._bridge = f"{self._prefix}-bridge"
        self._hosts = {
            name: Host(name, f"{self._prefix}-{name}", f"{SUBNET}.{number}") for number, name in enumerate(hosts, 1)
        }
        self._ports = {name: f"port{number}" for number, name in enumerate(hosts)}
        self._cleanup = contextlib.ExitStack()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:  # undoes what was done if a step fails
            self._add_namespace(self._bridge, cleanup)
            _ip("-n", self._bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
            _ip("-n", self._bridge, "link", "set", "br0", "up")
            for name, port in self._ports.items():
                self._add_host(self._hosts[name], port, cleanup)
            for port in self._ports.values():
                self._wait_until_forwarding(port)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def unplug(self, name: str) -> None:
        """Pull a host's cable out: from now on its packets, and those for it, are lost, and nobody is told."""
        _ip("-n", self._bridge, "link", "set", self._ports[name], "down")

    def plug(self, name: str) -> None:
        """Put the cable back."""
        _ip("-n", self._bridge, "link", "set", self._ports[name], "up")
        self._wait_until_forwarding(self._ports[name])

    def _add_namespace(self, namespace: str, cleanup: contextlib.ExitStack) -> None:
        _ip("netns", "add", namespace)
        cleanup.callback(_ip, "netns", "delete", namespace)
        subprocess.run(["ip", "netns", "exec", namespace, "sh", "-c", _NO_DUPLICATE_DETECTION], check=True)
        _ip("-n", namespace, "link", "set", "lo", "up")

    def _add_host(self, host: Host, port: str, cleanup: contextlib.ExitStack) -> None:
        namespace = f"{self._prefix}-{host.name}"
        self._add_namespace(namespace, cleanup)
        cleanup.callback(host.kill_processes)
        pair = ("link", "add", port, "type", "veth", "peer", "name", _INTERFACE, "netns", namespace)
        _ip("-n", self._bridge, *pair)
        _ip("-n", self._bridge, "link", "set", port, "master", "br0", "up")
        _ip("-n", namespace, "link", "set", _INTERFACE, "up")
        host.assign_address()

    def _wait_until_forwarding(self, port: str) -> None:
        state = ["ip", "netns", "exec", self._bridge, "cat", f"/sys/class/net/{port}/brport/state"]
        deadline = time.monotonic() + _FORWARDING_S
        while subprocess.run(state, check=True, capture_output=True, text=True).stdout.strip() != _BRIDGE_FORWARDING:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the bridge does not forward for {port}")


def available() -> str | None:
    """Why network namespaces cannot be used here, or None if they can."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if shutil.which("ip") is None:
        return "iproute2's `ip` is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network(["probe"]):
            return None
    except (subprocess.CalledProcessError, TimeoutError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        return f"network namespaces cannot be made here: {reason.strip()}"


def _ip(*arguments: str) -> None:
    """Run `ip`; a CalledProcessError carries in `stderr` what it said."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
