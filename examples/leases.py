"""Leases: a client that is cancelled in the very turn in which it is granted its slot does not take it with it.

Two owners of one slot each. The first returns the slot from `acquire`, the second knows who has it by a ticket.

python examples/leases.py
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from herd.runtime import ActorHandle, Leases, remote, stop
from herd.runtime.leases import leased
from herd.runtime.testing import run_virtual

Use = Callable[[ActorHandle, str], AbstractAsyncContextManager[Any]]


class Slots:
    """The obvious way: who has been answered has the slot, and gives it back."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(1)

    async def acquire(self) -> None:
        await self.free.acquire()

    def release(self) -> None:
        self.free.release()

    def is_free(self) -> bool:
        return not self.free.locked()


@asynccontextmanager
async def slot(owner: ActorHandle, _ticket: str) -> AsyncIterator[None]:
    await owner.acquire.remote()  # cancelled here with the answer on its way, a client cannot know that it has a slot
    try:
        yield
    finally:
        owner.release.tell()


class Tickets:
    """The ticket protocol: who may have a slot always tells `release`, answered or not."""

    def __init__(self) -> None:
        self.leases: Leases[str] = Leases(limit=1)

    async def acquire(self, ticket: str) -> str | None:
        return await self.leases.acquire(ticket, asked_again="a later call waits for this ticket")

    def release(self, ticket: str) -> None:
        self.leases.release(ticket, "released")

    def is_free(self) -> bool:
        return not self.leases.held


async def hold(use: Use, owner: ActorHandle, ticket: str, until: asyncio.Event) -> None:
    async with use(owner, ticket):
        await until.wait()


async def race(kind: type, use: Use, turns: int) -> bool:
    """One client has the slot and lets go, another waits for it and is cancelled `turns` later. Is the slot free?"""
    owner, done = remote(kind).remote(), asyncio.Event()
    first, second = (asyncio.create_task(hold(use, owner, ticket, done)) for ticket in ("first", "second"))
    await asyncio.sleep(1)
    done.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([first, second])
    free: bool = await owner.is_free.remote()
    await stop(owner)
    return free


async def main() -> list[str]:
    """What is left after a cancellation at each of ten turns of the loop around the grant."""
    said = []
    for name, kind, use in (("slots", Slots, slot), ("tickets", Tickets, leased)):
        lost = [turns for turns in range(10) if not await race(kind, use, turns)]
        said.append(f"{name}: lost when cancelled at turn {lost} of the loop" if lost else f"{name}: never lost")
    return said


if __name__ == "__main__":
    print("\n".join(run_virtual(main())))
