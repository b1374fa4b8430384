from itertools import permutations

from herd.policy.uploads import BlobHome, blob_home
from herd.types import BackendId, Bytes, GiB, NodeId, NodeName


def home(name: str, memory: int) -> BlobHome:
    return BlobHome(NodeId(name), NodeName(name), BackendId("ollama"), Bytes(memory * GiB))


def test_the_machine_with_the_most_memory_keeps_the_blobs_whatever_the_order() -> None:
    homes = [home("a", 8), home("c", 64), home("b", 64)]
    for order in permutations(homes):
        assert blob_home(order) == home("b", 64)


def test_nobody_keeps_them_when_there_is_nobody() -> None:
    assert blob_home([]) is None
