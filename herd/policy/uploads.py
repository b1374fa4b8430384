"""Where the parts of a model go that a client makes itself (`ollama create`)."""

from collections.abc import Iterable
from dataclasses import dataclass

from herd.types import BackendId, Bytes, NodeId, NodeName


@dataclass(frozen=True, slots=True)
class BlobHome:
    """An Ollama that takes uploads now."""

    node: NodeId
    name: NodeName
    backend: BackendId
    memory_total: Bytes


def blob_home(homes: Iterable[BlobHome]) -> BlobHome | None:
    """The one that all blobs go to: a model is made where all of its parts are.

    That is the machine with the most memory, because what fits anywhere fits there; of equals the one with the lowest
    id, whatever their order, so that the choice stays the same from one part to the next.
    """
    return min(homes, key=lambda home: (-home.memory_total, home.node, home.backend), default=None)
