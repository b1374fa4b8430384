import asyncio
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors.body import MemoryBody
from herd.errors import BodyTooLarge, RequestError
from herd.net.bodies import MEMORY_LIMIT, READ_AT_ONCE, Collector, FileBody, HeldBody, Room, directory
from herd.types import KiB, MiB


async def collected(
    data: bytes, piece: int = 64 * KiB, limit: int = 100 * MiB, room: Room | None = None
) -> MemoryBody | FileBody:
    """`data` as a body, gathered piece by piece."""
    collector = Collector(limit, room)
    try:
        for start in range(0, len(data), piece):
            await collector.add(data[start : start + piece])
        return await collector.finish()
    finally:
        collector.discard()


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(
    ("size", "kind"), [(0, HeldBody), (MEMORY_LIMIT, HeldBody), (MEMORY_LIMIT + 1, FileBody), (3 * MiB, FileBody)]
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


@pytest.mark.parametrize(
    ("size", "at_once"), [(100, True), (READ_AT_ONCE, True), (READ_AT_ONCE + 1, False), (3 * MiB, False)]
)
async def test_whatever_may_take_long_to_read_is_read_off_the_loop(size: int, at_once: bool) -> None:
    body = await collected(bytes(size))
    reader = await body.examine(lambda _: threading.get_ident())
    assert (reader == threading.get_ident()) is at_once
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


@pytest.mark.parametrize(("usual", "chosen"), [("/tmp", "/var/tmp"), ("/elsewhere", "/elsewhere")])
def test_long_bodies_lie_on_a_disk_unless_the_owner_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, usual: str, chosen: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", usual)
    assert directory() == chosen
    monkeypatch.setattr("herd.net.bodies.ON_DISK", "/there/is/none")
    assert directory() == usual


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


# --- The room that all bodies share -----------------------------------------------------------------------------------


async def test_bodies_take_room_until_they_are_closed_and_without_room_they_go_to_files() -> None:
    room = Room(1000)
    first, second = await collected(bytes(600), room=room), await collected(bytes(300), room=room)
    assert room.free == 100
    third = await collected(b"x" * 300, piece=60, room=room)
    assert [type(body) for body in (first, second, third)] == [HeldBody, HeldBody, FileBody]
    assert await whole(third.chunks(1000)) == b"x" * 300
    assert room.free == 100
    for body in (second, second, third, first):  # closing twice gives nothing twice
        body.close()
    assert room.free == 1000


async def test_a_body_without_a_byte_needs_no_room() -> None:
    assert isinstance(await collected(b"", room=Room(0)), HeldBody)


@pytest.mark.parametrize("size", [500, MEMORY_LIMIT + 500], ids=["in memory", "in a file"])
async def test_a_body_that_is_dropped_halfway_gives_its_room_back(size: int) -> None:
    room = Room(2 * MEMORY_LIMIT)
    collector = Collector(10 * MiB, room)
    await collector.add(bytes(size))
    await collector.add(bytes(400))
    assert room.free < 2 * MEMORY_LIMIT
    collector.discard()
    collector.discard()
    assert room.free == 2 * MEMORY_LIMIT


async def test_a_body_that_is_dropped_while_it_is_written_gives_its_room_back_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for turns in range(10):
        room = Room()
        collector = Collector(10 * MiB, room)
        await collector.add(bytes(MEMORY_LIMIT))
        writing = asyncio.create_task(collector.add(b"x"))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        collector.discard()
        assert room.free == Room().free
    await asyncio.get_running_loop().shutdown_default_executor()
    assert names_in(tmp_path) == []


async def test_a_body_of_single_bytes_takes_no_more_memory_than_its_bytes() -> None:
    """Whoever sends a mebibyte in two million segments must not make objects of them."""
    collector = Collector(MiB)
    tracemalloc.start()
    try:
        for number in range(100_000):
            await collector.add(b"%02d" % (number % 100))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 200_000
    collector.discard()


# --- Disks ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize(("size", "free"), [(5 * MiB, 2 * MiB), (100, 0)], ids=["long", "without room"])
async def test_a_disk_that_is_full_is_said_so_and_nothing_is_left_over(
    size: int, free: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = partial(open, "/dev/full", "wb")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full())
    monkeypatch.setattr("herd.net.bodies.DISK_RESERVE", -(2**62))  # /dev is no disk, and has no room to be left
    room = Room(free)
    collector = Collector(10 * MiB, room)
    with pytest.raises(RequestError, match="cannot store this request body: No space left on device") as error:
        await collector.add(bytes(size))
    assert error.value.status == 507
    assert "No space left on device" in caplog.text
    collector.discard()
    assert room.free == free


async def test_a_temporary_directory_that_is_gone_is_said_so_without_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(RequestError, match=r"cannot store this request body: No such file or directory$") as error:
        await collected(bytes(2 * MiB))
    assert error.value.status == 507


async def test_the_last_of_the_disk_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.net.bodies.DISK_RESERVE", 2**62)
    with pytest.raises(RequestError, match="No space left on device"):
        await collected(bytes(2 * MiB))
