"""Deadlines and cancellation: they reach all that a call has led to, however many actors deep.

It runs in virtual time, so ten seconds cost nothing.

python examples/deadlines.py
"""

import asyncio

from herd.runtime import ActorHandle, GetTimeoutError, TaskCancelledError, cancel, deadline, remote, stop
from herd.runtime.testing import run_virtual


def say(what: str) -> None:
    print(f"{asyncio.get_running_loop().time():3.0f} s  {what}")


class Worker:
    """Works for ten seconds if it is let."""

    async def work(self) -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            say("worker: cancelled")
            raise
        return "done"


class Middle:
    """Asks on, and says nothing of time: what it asks for ends with what it was asked for."""

    def __init__(self, following: ActorHandle) -> None:
        self.following = following

    async def work(self) -> str:
        answer: str = await self.following.work.remote()
        return answer


class Philosopher:
    """Serial, as `max_concurrency=1` makes it: while it waits for an answer, it takes no question."""

    async def discuss(self, others: list[ActorHandle]) -> None:
        if others:
            await others[0].discuss.remote(others[1:])


async def main() -> None:
    worker = remote(Worker).remote()
    middle = remote(Middle).remote(worker)
    front = remote(Middle).remote(middle)
    try:
        await front.work.options(timeout=3).remote()
    except GetTimeoutError as error:
        say(f"a call with a timeout: {error}")
    try:
        with deadline(5):
            await front.work.remote()
            await front.work.remote()
    except GetTimeoutError as error:
        say(f"calls within a deadline: {error}")

    ref = front.work.remote()
    await asyncio.sleep(1)
    cancel(ref)
    try:
        await ref
    except TaskCancelledError as error:
        say(f"a cancelled call: {error}")

    plato, kant = (remote(Philosopher).options(name=name, max_concurrency=1).remote() for name in ("Plato", "Kant"))
    try:
        await plato.discuss.options(timeout=2).remote([kant, plato])
    except GetTimeoutError as error:
        say(str(error))
    for actor in (plato, kant, front, middle, worker):
        await stop(actor)


if __name__ == "__main__":
    run_virtual(main())
