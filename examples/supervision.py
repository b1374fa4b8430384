"""Supervision: who starts again when one crashes, how soon, and what follows when that does not help.

It runs in virtual time, so the waits cost nothing.

python examples/supervision.py
"""

import asyncio
import logging
import sys

from herd.runtime import ActorHandle, RestartLimitExceeded, RestartPolicy, Strategy, Supervisor, context, remote
from herd.runtime.testing import run_virtual


def say(what: str) -> None:
    print(f"{asyncio.get_running_loop().time():4.1f} s  {what}")


class Part:
    """Says when it starts and stops."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_start(self) -> None:
        say(f"{self.name} starts")

    def on_stop(self) -> None:
        say(f"{self.name} stops")

    def greet(self) -> str:
        return f"{self.name} is up"

    def fail(self) -> None:
        raise ValueError("on purpose")


class Office(Part):
    """Owns a desk. One crash of the desk is cured on the spot, the next one is the crash of the office."""

    def on_start(self) -> None:
        super().on_start()
        own = context(self).supervisor(restarts=RestartPolicy(max_restarts=1))
        self.desk = own.start(remote(Part).options(name="desk"), "desk")

    def find_desk(self) -> ActorHandle:
        return self.desk


async def restart_the_rest() -> None:
    """The cache crashes: what was started after it starts again too, and the store does not notice."""
    failed: asyncio.Future[RestartLimitExceeded] = asyncio.get_running_loop().create_future()
    policy = RestartPolicy(max_restarts=3, backoff=1.0, jitter=0.0)
    async with Supervisor(Strategy.REST_FOR_ONE, policy, give_up=failed.set_result) as group:
        names = ("store", "cache", "front")
        _, cache, front = (group.start(remote(Part).options(name=name), name) for name in names)
        for _ in range(3):
            cache.fail.tell()
            say(await front.greet.remote())  # it waited in the mailbox of the front, which outlives the crash
        cache.fail.tell()
        say(f"given up: {await failed}")


async def hand_it_up() -> None:
    """The desk crashes once more than its own supervisor bears: the office crashes, and starts with a new desk."""
    async with Supervisor() as process:
        office = process.start(remote(Office).options(name="office"), "office")
        for _ in range(2):
            desk = await office.find_desk.remote()
            desk.fail.tell()
            await asyncio.sleep(1)


if __name__ == "__main__":
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("        log: %(message)s"))
    handler.addFilter(lambda record: not record.exc_info)  # each crash, with its traceback
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    run_virtual(restart_the_rest())
    run_virtual(hand_it_up())
