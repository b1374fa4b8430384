"""What belongs to batches and needs no node: bodies that are parts of others, and what is learned of their times.

The flow is told in tests/scenarios.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors.batch_times import LEAST_SEEN, TimedSink
from herd.actors.body import MemoryBody, SplicedBody
from herd.net.bodies import Collector
from herd.policy.batches import Place, Spread
from herd.protocols.splice import Splice
from herd.simulation.http import RecordingSink
from herd.types import MiB, NodeId, NodeName, Seconds

BODY = bytes(range(256)) * 4


async def pieces(body: SplicedBody, size: int) -> list[bytes]:
    return [piece async for piece in body.chunks(size)]


@given(st.lists(st.integers(0, len(BODY)), min_size=4, max_size=4), st.integers(1, 300))
def test_it_is_the_other_body_without_what_was_cut_out(edges: list[int], size: int) -> None:
    a, b, c, d = sorted(edges)
    body = SplicedBody(MemoryBody(BODY), (Splice(a, b, b""), Splice(c, d, b"")))
    expected = BODY[:a] + BODY[b:c] + BODY[d:]

    async def check() -> None:
        assert body.size == len(expected)
        assert await body.examine(bytes) == expected
        cut = await pieces(body, size)
        assert b"".join(cut) == expected
        assert all(0 < len(piece) <= size for piece in cut)

    asyncio.run(check())


async def test_parts_of_one_long_body_are_read_at_once_from_its_file() -> None:
    collector = Collector(8 * MiB)
    data = b"x" * MiB + b"a" * MiB + b"b" * MiB
    await collector.add(data)
    whole = await collector.finish()
    first, second = (SplicedBody(whole, (cut,)) for cut in (Splice(2 * MiB, 3 * MiB, b""), Splice(MiB, 2 * MiB, b"")))
    one, two = await asyncio.gather(pieces(first, 65_536), pieces(second, 65_536))
    assert b"".join(one) == data[: 2 * MiB]
    assert b"".join(two) == data[:MiB] + data[2 * MiB :]
    first.close()
    assert await second.examine(len) == 2 * MiB, "a part does not close what it is a part of"
    whole.close()


async def test_it_is_read_as_it_is_whenever_it_is_asked_for() -> None:
    body = SplicedBody(MemoryBody(b"0123456789"), (Splice(2, 5, b""),))
    for _ in range(2):
        assert await pieces(body, 4) == [b"01", b"567", b"89"]
    with pytest.raises(ValueError, match="read"):
        await body.examine(_refuse)


def _refuse(data: bytes | memoryview) -> None:
    raise ValueError(f"cannot read {len(data)} bytes")


# --- how long they take -----------------------------------------------------------------------------------------------

A, B = Place(NodeId("1"), NodeName("a"), 0.0, 10.0), Place(NodeId("2"), NodeName("b"), 3.0, 10.0)
FOUND = Spread("texts:latest", "one", A, (A, B))


class Hands:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> Seconds:
        return Seconds(self.now)

    def wall(self) -> Seconds:
        return Seconds(self.now)


async def ratio(node: str, took: float, *, share: float = 1.0, **other: Any) -> float | None:
    """What an answer of a node teaches of node a."""
    clock = Hands()
    timed = TimedSink(RecordingSink(), clock)
    clock.now += took
    told = {"X-Herd-Node": node, "X-Herd-Queue-Ms": "2000", "X-Herd-Attempts": "1", **other.get("headers", {})}
    await timed.start(other.get("status", 200), tuple(told.items()))
    taught = timed.ratio(FOUND, share, other.get("size", LEAST_SEEN))
    return taught[1] if taught is not None and taught[0] == A.node else None


async def test_what_a_batch_took_beside_its_prediction_is_taught_of_its_node() -> None:
    assert await ratio("a", 22.0) == pytest.approx(2.0), "the wait in a queue is none of the work"
    assert await ratio("a", 7.0, share=0.25) == pytest.approx(2.0)


async def test_nothing_is_learned_from_what_says_nothing() -> None:
    assert await ratio("b", 22.0) is None
    assert await ratio("somebody", 22.0) is None
    assert await ratio("a", 22.0, size=LEAST_SEEN - 1) is None
    assert await ratio("a", 22.0, status=400) is None
    assert await ratio("a", 22.0, headers={"X-Herd-Attempts": "2"}) is None
    assert await ratio("a", 1.0) is None, "it says to have waited for longer"
