"""The Store: when its file is open, and when what it is told is in it."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.actors import store as module
from herd.actors.store import FLUSH_S, PRUNE_AFTER, PRUNE_S, RETRY_S, Store
from herd.runtime import ActorHandle, kill, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.store.database import Database, StoreError
from herd.store.executor import InlineExecutor
from herd.store.records import KnownNode, KnownOrders, KnownSlot, KnownUnload, Pin, Record
from herd.types import NodeId, NodeName, Seconds
from tests.actors.doubles import settled

T = TypeVar("T")
A = NodeId("a")


class File(Database):
    """A database in memory that notes what is done to it. It may fail, for a while."""

    def __init__(self, diary: list[str]) -> None:
        super().__init__(None)
        self.diary = diary
        self.broken = False
        diary.append("opened")

    def save(self, records: Any) -> None:
        batch = tuple(records)
        self.diary.append(f"saved {len(batch)}")
        if self.broken:
            raise StoreError("the database failed: database or disk is full")
        super().save(batch)

    def prune(self, now: Seconds) -> bool:
        self.diary.append("pruned")
        return super().prune(now)

    def close(self) -> None:
        super().close()
        self.diary.append("closed")


class Slow(InlineExecutor):
    """A disk that takes its time: calls end when they are let, in order."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self._turn = asyncio.Lock()

    async def run(self, call: Callable[[], T]) -> T:
        async with self._turn:
            await self.free.wait()
            return call()


def unload(number: int, at: float = EPOCH) -> KnownUnload:
    return KnownUnload(A, f"m{number}", Seconds(at))


def store_of(file: Database, executor: InlineExecutor | None = None) -> ActorHandle:
    return remote(Store).options(max_restarts=1).remote(lambda: file, executor or InlineExecutor(), LoopClock())


@pytest.fixture(name="file")
def opened_file() -> Iterator[File]:
    file = File([])
    yield file
    Database.close(file)


@virtual_time
async def test_a_store_that_crashes_closes_its_file_and_opens_it_again() -> None:
    diary: list[str] = []

    class Thread(InlineExecutor):
        async def run(self, call: Callable[[], T]) -> T:
            assert "thread ended" not in diary
            return await super().run(call)

        def close(self) -> None:
            diary.append("thread ended")

    store = remote(Store).options(max_restarts=1).remote(lambda: File(diary), Thread(), LoopClock())
    await store.load.remote()
    kill(store, no_restart=False)
    assert await store.load.remote() == ()
    await stop(store)
    assert diary == ["opened", "closed", "opened", "closed", "thread ended"]


def in_file(file: Database) -> list[str]:
    return [one.model for one in file.all(KnownUnload)]


def test_what_is_learned_is_in_the_file_within_a_second_in_one_batch(file: File) -> None:
    @virtual_time
    async def story() -> None:
        store = store_of(file)
        for number in range(50):
            store.record.tell(unload(number % 10))
            await asyncio.sleep(FLUSH_S / 100)
        assert in_file(file) == []
        await asyncio.sleep(FLUSH_S / 2 + 0.01)
        assert len(in_file(file)) == 10
        await asyncio.sleep(100 * FLUSH_S)
        assert file.diary == ["opened", "saved 10"]  # nothing to write is not written
        store.record.tell(unload(10))
        await asyncio.sleep(FLUSH_S + 0.01)
        assert file.diary[2:] == ["saved 1"]
        await stop(store)

    story()


def test_what_was_not_written_is_written_when_the_store_stops_or_crashes(tmp_path: Path) -> None:
    @virtual_time
    async def story() -> None:
        kind = remote(Store).options(max_restarts=1)
        actor = kind.remote(lambda: Database(tmp_path / "herd.db"), InlineExecutor(), LoopClock())
        actor.record.tell(unload(1))
        await settled()
        kill(actor, no_restart=False)
        await actor.load.remote()
        actor.record.tell(unload(2))
        await stop(actor)
        file = Database(tmp_path / "herd.db")
        assert in_file(file) == ["m1", "m2"]
        file.close()

    story()


def test_a_batch_that_is_being_written_when_the_store_stops_is_written_once(file: File) -> None:
    @virtual_time
    async def story() -> None:
        disk = Slow()
        store = store_of(file, disk)
        await store.load.remote()
        disk.free.clear()
        store.record.tell(unload(1))
        await asyncio.sleep(FLUSH_S + 0.01)
        store.record.tell(unload(2))
        stopped = asyncio.ensure_future(stop(store))
        await asyncio.sleep(1.0)
        disk.free.set()
        await stopped
        assert file.diary[1:] in (["saved 1", "saved 1", "closed"], ["saved 1", "saved 0", "saved 1", "closed"])

    story()


def test_a_batch_that_was_under_way_when_the_store_crashed_is_written(tmp_path: Path) -> None:
    @virtual_time
    async def story() -> None:
        disk = Slow()
        store = remote(Store).options(max_restarts=1).remote(lambda: Database(tmp_path / "herd.db"), disk, LoopClock())
        await store.load.remote()
        disk.free.clear()
        store.record.tell(unload(1))
        await asyncio.sleep(FLUSH_S + 0.01)
        store.record.tell(unload(2))
        await settled()
        kill(store, no_restart=False)
        await settled()
        disk.free.set()
        assert [one.model for one in await store.unloads.remote()] == ["m1", "m2"]
        await stop(store)

    story()


def test_whoever_asks_is_told_what_is_not_in_the_file_yet(file: File) -> None:
    @virtual_time
    async def story() -> None:
        store = store_of(file)
        slots = tuple(KnownSlot(A, number, 0.5, 0.25, 1.0, Seconds(EPOCH)) for number in range(168))
        store.record_slots.tell(slots)
        node = KnownNode(A, NodeName("a"), ("m",), Seconds(EPOCH))
        store.record.tell(node)
        assert await store.slots.remote() == slots
        assert await store.load.remote() == (node,)
        await stop(store)

    story()


def test_what_a_person_said_is_in_the_file_at_once(file: File) -> None:
    @virtual_time
    async def story() -> None:
        store = store_of(file)
        orders = KnownOrders(A, Seconds(EPOCH), Seconds(EPOCH), None, None)
        await store.record_orders.remote(orders)
        await store.pin.remote(Pin("m", A))
        assert (file.orders(A), file.pins()) == (orders, (Pin("m", A),))
        await store.unpin.remote("m")
        assert file.pins() == ()
        await stop(store)

    story()


def test_a_disk_that_is_full_is_said_once_and_what_waits_is_written_when_there_is_room(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    @virtual_time
    async def story() -> None:
        store = store_of(file)
        file.broken = True
        for number in range(100):
            store.record.tell(unload(number))
            await asyncio.sleep(1.0)
        assert (
            caplog.text.count("what is learned cannot be written: the database failed: database or disk is full") == 1
        )
        tries = sum(line.startswith("saved") for line in file.diary)
        assert tries == 1 + int(100 / RETRY_S)
        file.broken = False
        await asyncio.sleep(RETRY_S)
        assert len(in_file(file)) == 100
        assert caplog.text.count("what is learned can be written again") == 1
        file.broken = True
        store.record.tell(unload(0, EPOCH + 1))
        await asyncio.sleep(1.0)
        assert caplog.text.count("cannot be written") == 2
        file.broken = False
        await stop(store)

    story()


def test_of_what_waits_for_a_disk_the_latest_is_kept(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNSAVED", 5)

    @virtual_time
    async def story() -> None:
        store = store_of(file)
        file.broken = True
        for number in (*range(4), 0, *range(4, 8)):
            store.record.tell(unload(number, EPOCH + number))
            await asyncio.sleep(1.0)
        file.broken = False
        await stop(store)
        assert set(saved_last(file)) == {"m0", "m4", "m5", "m6", "m7"}

    def saved_last(file: File) -> list[str]:
        assert file.diary[-2:] == ["saved 5", "closed"]
        return batches[-1]

    batches: list[list[str]] = []
    right = Database.save

    def save(self: Database, records: Any) -> None:
        batches.append([one.model for one in records])
        right(self, records)

    monkeypatch.setattr(Database, "save", save)
    story()


def test_what_is_old_is_forgotten_soon_after_the_start_and_then_every_hour(file: File) -> None:
    @virtual_time
    async def story() -> None:
        store = store_of(file)
        await store.load.remote()
        await asyncio.sleep(PRUNE_S * 3 - 1)
        assert file.diary.count("pruned") == 3
        await stop(store)

    story()


def test_what_was_written_much_is_looked_through_sooner(file: File) -> None:
    @virtual_time
    async def story() -> None:
        store = store_of(file)
        batch: list[Record] = [unload(number) for number in range(PRUNE_AFTER // 2 + 1)]
        for _ in range(2):
            assert "pruned" not in file.diary
            store.record.tell(*batch)
            await asyncio.sleep(1.0)
        assert file.diary.count("pruned") == 1
        await stop(store)

    story()


def test_a_file_that_cannot_be_read_is_done_without(file: File, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def story() -> None:
        store = store_of(file)
        await store.load.remote()
        file._db.execute("drop table slots")
        assert await store.slots.remote() == ()
        assert "the habits of owners cannot be recalled" in caplog.text
        await stop(store)

    story()


# --- whatever happens -------------------------------------------------------------------------------------------------

TELL = st.tuples(st.just("tell"), st.integers(0, 5))
OTHERS = st.sampled_from([("wait", 0), ("break", 0), ("mend", 0), ("crash", 0), ("restart", 0), ("ask", 0)])


class Lasting(File):
    """It outlives whoever closes it, as a file does."""

    def close(self) -> None:
        self.diary.append("closed")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(TELL, OTHERS), max_size=25))
def test_what_was_told_is_known_in_the_end_as_it_was_told_last(steps: list[tuple[str, int]]) -> None:
    """Whatever disk, Store and router do in between; but while the disk takes nothing nobody may crash or leave."""
    file = Lasting([])

    def begun() -> ActorHandle:
        return remote(Store).options(max_restarts=-1).remote(lambda: file, InlineExecutor(), LoopClock())

    async def story() -> None:
        store, told = begun(), {}
        for time, (step, number) in enumerate(steps):
            if step == "tell":
                told[f"m{number}"] = record = unload(number, EPOCH + time)
                store.record.tell(record)
            elif step == "wait":
                await asyncio.sleep(RETRY_S + 1.0)
                assert file.broken or {one.model: one for one in file.all(KnownUnload)} == told
            elif step in {"break", "mend"}:
                file.broken = step == "break"
            elif step == "ask":
                known = await store.unloads.remote()
                assert file.broken or {one.model: one for one in known} == told
            elif not file.broken:
                await settled()
                if step == "crash":
                    kill(store, no_restart=False)
                    await store.load.remote()
                else:
                    await stop(store)
                    store = begun()
        file.broken = False
        await stop(store)
        assert {one.model: one for one in file.all(KnownUnload)} == told

    run_virtual(story())
    Database.close(file)
