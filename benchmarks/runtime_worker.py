"""A process with one contender in it, for one round. It does what it is told on its standard input, a JSON line each.

    python -m benchmarks.runtime_worker CONTENDER LOOP

Every contender has a process to itself, so that its actors are all that its garbage collector and memory know.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.runtime_contenders import IN_FLIGHT, Contender, Kind
from benchmarks.runtime_guests import CONTENDERS
from herd.runtime import context, remote, stop
from herd.runtime.testing import run_virtual

DAY_S = 86_400.0
PERIOD_S = 5.0
TICKS = round(DAY_S / PERIOD_S)

Found = dict[str, float]


class Worker:
    """Carries out steps. Their results are seconds, or bytes, for each actor or call."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._kept: list[Any] = []
        self._stopped = (0, 0.0)  # actors, and the seconds that their end took

    async def warm_up(self) -> None:
        """Load and use everything once."""
        contender = self._contender
        for kind in contender.kinds if contender.warm else ():
            actors = await contender.create(contender.warm, kind)
            contender.take(actors)
            for measured in (contender.ask, contender.ask_together, contender.tell):
                await measured(2 * IN_FLIGHT)
            await contender.stop(await contender.create(1, kind))
            self._kept += actors

    async def ready(self) -> Found:
        """Nothing: the answer says that it is up."""
        return {}

    async def create(self, kind: Kind, count: int, repeats: int) -> Found:
        """Create `count` actors and stop them, again and again; the last ones stay."""
        contender = self._contender
        gc.collect()
        before = contender.memory()
        seconds = ended = 0.0
        grown = 0
        for number in range(repeats):
            if number:
                ended += await _timed(contender.stop, contender.actors)
            contender.take([])
            gc.collect()
            begin = time.perf_counter()
            actors = await contender.create(count, kind)
            seconds += time.perf_counter() - begin
            contender.take(actors)
            if not number:
                gc.collect()
                grown = contender.memory() - before
        self._stopped = (count * (repeats - 1), ended)
        return {"create": seconds / (count * repeats), "memory": grown / count}

    async def stop(self) -> Found:
        """Stop the actors that stayed."""
        contender = self._contender
        count, seconds = self._stopped
        count += len(contender.actors)
        seconds += await _timed(contender.stop, contender.actors)
        contender.take([])
        return {"stop": seconds / count}

    async def call(self, way: str, calls: int) -> Found:
        """Ask or tell the actors so often, in one of the ways of a contender."""
        contender = self._contender
        calls = max(2, int(calls * contender.share) // IN_FLIGHT) * IN_FLIGHT
        before = contender.tally.count
        measured = {"ask": contender.ask, "ask_together": contender.ask_together, "tell": contender.tell}[way]
        seconds = await _timed(measured, calls)
        if contender.shares_tally and contender.tally.count < before + calls:
            raise RuntimeError(f"{contender.tally.count - before} of {calls} messages were handled")
        return {way: seconds / calls}

    async def virtual_day(self) -> Found:
        """A day of one actor's timer, in virtual time."""
        # In a thread, for it has a loop of its own.
        return {"seconds": await asyncio.to_thread(_virtual_day)}


class Ticker:
    def __init__(self) -> None:
        self.ticks = 0
        context(self).every(PERIOD_S, self.tick)

    def tick(self) -> None:
        self.ticks += 1

    def count(self) -> int:
        return self.ticks


async def _day() -> int:
    ticker = remote(Ticker).remote()
    await asyncio.sleep(DAY_S + PERIOD_S / 2)
    ticks: int = await ticker.count.remote()
    await stop(ticker)
    return ticks


def _virtual_day() -> float:
    begin = time.perf_counter()
    ticks = run_virtual(_day())
    seconds = time.perf_counter() - begin
    if ticks != TICKS:
        raise RuntimeError(f"{ticks} ticks in a day, not {TICKS}")
    return seconds


async def _timed(measured: Callable[[Any], Awaitable[None]], argument: Any) -> float:
    gc.collect()
    begin = time.perf_counter()
    await measured(argument)
    return time.perf_counter() - begin


async def serve(name: str) -> None:
    """Do what the lines say, until there are no more."""
    # Replies have the standard output to themselves; what others print there goes to the log.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = next(each for each in CONTENDERS if each.name == name)()
    await contender.open()
    try:
        worker = Worker(contender)
        await worker.warm_up()
        # Nothing but what a step does is to run on the loop, so it may well be blocked in between.
        for line in sys.stdin:
            step, arguments = json.loads(line)
            found = await getattr(worker, step)(**arguments)
            print(json.dumps(found), file=replies, flush=True)
    finally:
        await contender.close()
    os._exit(0)  # without ending a hundred thousand actors one by one


def main(name: str, loop: str) -> None:
    """The process."""
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 - not there on every machine

        uvloop.run(serve(name))
    else:
        asyncio.run(serve(name))


if __name__ == "__main__":
    main(*sys.argv[1:])
