import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors.body import MemoryBody
from herd.errors import BodyTooLarge
from herd.net.bodies import MEMORY_LIMIT, Collector, FileBody
from herd.types import KiB, MiB


async def collected(data: bytes, piece: int = 64 * KiB, limit: int = 100 * MiB) -> MemoryBody | FileBody:
    """`data` as a body, gathered piece by piece."""
    collector = Collector(limit)
    for start in range(0, len(data), piece):
        await collector.add(data[start : start + piece])
    return await collector.finish()


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(
    ("size", "kind"), [(0, MemoryBody), (MEMORY_LIMIT, MemoryBody), (MEMORY_LIMIT + 1, FileBody), (3 * MiB, FileBody)]
)
async def test_a_body_is_in_memory_up_to_a_mebibyte_and_in_a_file_beyond(size: int, kind: type) -> None:
    data = os.urandom(size)
    body = await collected(data)
    assert type(body) is kind
    assert body.size == size
    assert await whole(body.chunks(64 * KiB)) == data
    assert await whole(body.chunks(64 * KiB)) == data  # and again, for another attempt
    assert await body.examine(bytes) == data
    body.close()


async def test_pieces_are_never_longer_than_asked() -> None:
    for size in (10_000, MEMORY_LIMIT + 10_000):
        body = await collected(bytes(size))
        lengths = [len(piece) async for piece in body.chunks(1000 * 7)]
        assert sum(lengths) == size
        assert max(lengths) == 7000
        body.close()


@given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(1, 40))
def test_what_goes_in_comes_out(pieces: list[bytes], size: int) -> None:
    async def check() -> None:
        collector = Collector(MiB)
        for piece in pieces:
            await collector.add(piece)
        body = await collector.finish()
        assert await whole(body.chunks(size)) == b"".join(pieces)

    asyncio.run(check())


@pytest.mark.parametrize("limit", [0, 10, MEMORY_LIMIT, 2 * MiB])
async def test_the_limit_is_the_last_byte_that_is_let_in(limit: int) -> None:
    (await collected(bytes(limit), limit=limit)).close()
    collector = Collector(limit)
    await collector.add(bytes(limit))
    with pytest.raises(BodyTooLarge, match=f"the limit is {limit} bytes"):
        await collector.add(b"x")
    collector.discard()


async def test_a_long_body_has_no_name_on_the_disk_and_its_room_is_free_after_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    body = await collected(bytes(2 * MiB))
    assert isinstance(body, FileBody)
    assert names_in(tmp_path) == ([] if os.name == "posix" else [ANY])
    body.close()
    assert body._file.closed
    assert names_in(tmp_path) == []
    body.close()


def names_in(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def test_what_was_gathered_can_be_dropped_at_any_time() -> None:
    collector = Collector(10 * MiB)
    await collector.add(bytes(2 * MiB))
    file = collector._file
    assert file is not None
    collector.discard()
    assert file.closed
    collector.discard()


async def test_dropping_after_the_end_leaves_the_body_alone() -> None:
    collector = Collector(10 * MiB)
    await collector.add(bytes(2 * MiB))
    body = await collector.finish()
    collector.discard()
    assert await body.examine(len) == 2 * MiB
    body.close()


async def test_a_long_body_is_examined_off_the_loop() -> None:
    body = await collected(bytes(2 * MiB))
    thread = await body.examine(lambda _: threading.current_thread())
    assert thread is not threading.main_thread()
    body.close()


async def test_an_error_of_the_examiner_is_the_callers_and_the_body_can_still_be_read() -> None:
    def fail(_: bytes | memoryview) -> None:
        raise ValueError("not JSON")

    body = await collected(bytes(2 * MiB))
    with pytest.raises(ValueError, match="not JSON"):
        await body.examine(fail)
    assert len(await whole(body.chunks(MiB))) == 2 * MiB
    body.close()


async def test_two_readers_of_one_file_do_not_disturb_each_other() -> None:
    """An attempt that was cancelled may still have a thread that reads, when the next attempt begins."""
    data = os.urandom(4 * MiB)
    body = await collected(data)
    for answers in await asyncio.gather(*(whole(body.chunks(size * KiB)) for size in (3, 5, 7, 64))):
        assert answers == data
    body.close()
