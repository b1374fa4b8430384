"""Which machine with Ollama fetches, makes or shows a model."""

from collections.abc import Iterable
from dataclasses import dataclass

from herd.policy.elimination import TAKES_REQUESTS
from herd.types import BackendId, Bytes, NodeId, NodeName, NodeState


@dataclass(frozen=True, slots=True)
class Host:
    """An Ollama that is connected, with one model in view."""

    node: NodeId
    name: NodeName
    backend: BackendId
    state: NodeState
    memory_total: Bytes  # that models run in
    memory_free: Bytes
    model: str = ""  # as it lists it; empty: it does not have it
    digest: str = ""  # of the build that it has

    @property
    def ready(self) -> bool:
        """It takes what is new."""
        return self.state in TAKES_REQUESTS


def best_host(hosts: Iterable[Host]) -> Host | None:
    """Where a model is fetched to, or made of another, unless somebody names a machine.

    One that has it already, where it is brought up to date; else that with the most memory for models, because what
    fits anywhere fits there; of equals the one with more of it free, then the one with the lowest id. Machines that
    take nothing new are left alone.
    """
    ready = (host for host in hosts if host.ready)
    return min(
        ready,
        key=lambda host: (not host.model, -host.memory_total, -host.memory_free, host.node, host.backend),
        default=None,
    )


def holders(hosts: Iterable[Host], digest: str = "") -> list[Host]:
    """Those that have the model, in the order in which to ask them about it.

    First those with the build of this digest, and those that are not to be left alone before those that are.
    """
    found = [host for host in hosts if host.model]
    return sorted(found, key=lambda host: (host.digest != digest, not host.ready, host.node, host.backend))
