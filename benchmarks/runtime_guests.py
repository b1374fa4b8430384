"""Contenders of other packages: a thread for each actor, or a process, or no mailbox at all."""

import asyncio
import contextlib
import importlib
import itertools
import os
import shutil
import tempfile
from typing import Any

import psutil
import pykka

from benchmarks.runtime_contenders import (
    BATCH,
    IN_FLIGHT,
    AsyncCounter,
    Bare,
    Contender,
    Counter,
    Herd,
    Kind,
    Tally,
)

# --- Pykka ------------------------------------------------------------------------------------------------------------


class PykkaActor(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter(Tally())  # threads cannot share one without a lock

    def add(self, number: int) -> int:
        return self.counter.add(number)


class Pykka(Contender):
    """Its callers block their thread, so there is no loop here, and nobody awaits an `async def` handler."""

    name = "pykka"
    note = "pykka.ThreadingActor, asked by proxy from the main thread"
    package = "pykka"
    most = 1000  # threads that any machine lets a user have
    share = 0.2
    kinds = ("def",)
    shares_tally = False

    async def create(self, count: int, kind: Kind) -> list[Any]:  # noqa: ARG002 - there is one kind
        actors: list[Any] = []
        while len(actors) < count:
            batch = [PykkaActor.start().proxy() for _ in range(min(BATCH, count - len(actors)))]
            pykka.get_all([actor.add(1) for actor in batch])
            actors += batch
        return actors

    async def stop(self, actors: list[Any]) -> None:
        pykka.get_all([actor.actor_ref.stop(block=False) for actor in actors])

    async def ask(self, calls: int) -> None:
        for actor in itertools.islice(self.turns, calls):
            actor.add(1).get()

    async def ask_together(self, calls: int) -> None:
        for _ in range(calls // IN_FLIGHT):
            pykka.get_all([actor.add(1) for actor in itertools.islice(self.turns, IN_FLIGHT)])

    async def tell(self, calls: int) -> None:
        told = set()
        for actor in itertools.islice(self.turns, calls):
            actor.add.defer(1)
            told.add(actor)
        pykka.get_all([actor.add(1) for actor in told])


# --- xoscar -----------------------------------------------------------------------------------------------------------


class Xoscar(Contender):
    name = "xoscar"
    note = "in the caller's process, by the ref that create_actor returns: messages pass xoscar's router"
    package = "xoscar"
    share = 0.2

    async def open(self) -> None:
        self._xoscar: Any = importlib.import_module("xoscar")
        self._numbers = itertools.count()
        self._pool = await self._xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        self._classes = {
            "def": type("XoscarActor", (Counter, self._xoscar.Actor), {}),
            "async": type("XoscarAsyncActor", (AsyncCounter, self._xoscar.Actor), {}),
        }

    async def close(self) -> None:
        await self._pool.stop()

    async def create(self, count: int, kind: Kind) -> list[Any]:
        actors: list[Any] = []
        while len(actors) < count:
            batch = [await self._create(kind) for _ in range(min(BATCH, count - len(actors)))]
            await asyncio.gather(*(actor.add(1) for actor in batch))
            actors += batch
        return actors

    async def _create(self, kind: Kind) -> Any:
        uid = str(next(self._numbers))
        address = self._pool.external_address
        return await self._xoscar.create_actor(self._classes[kind], self.tally, address=address, uid=uid)

    async def stop(self, actors: list[Any]) -> None:
        for actor in actors:
            await self._xoscar.destroy_actor(actor)

    async def ask(self, calls: int) -> None:
        for actor in itertools.islice(self.turns, calls):
            await actor.add(1)

    async def ask_together(self, calls: int) -> None:
        for _ in range(calls // IN_FLIGHT):
            await asyncio.gather(*(actor.add(1) for actor in itertools.islice(self.turns, IN_FLIGHT)))

    async def tell(self, calls: int) -> None:
        expected = self.tally.count + calls
        for actor in itertools.islice(self.turns, calls):
            await actor.add.tell(1)
        await self.prove(expected)


class XoscarLocal(Xoscar):
    name = "xoscar-local"
    note = "the same by the ref that actor_ref returns: a method call under a lock, without a mailbox"
    share = 1.0

    async def _create(self, kind: Kind) -> Any:
        actor = await super()._create(kind)
        return await self._xoscar.actor_ref(address=actor.address, uid=actor.uid)


# --- Ray --------------------------------------------------------------------------------------------------------------


class Ray(Contender):
    name = "ray"
    note = "a process for each actor, with ray.get from the main thread"
    package = "ray"
    slow_start = True
    most = 4  # each is a Python interpreter of its own, and they share two cores with the rest
    share = 0.02
    warm = 0
    shares_tally = False
    weighed_from = 1

    async def open(self) -> None:
        self._ray: Any = importlib.import_module("ray")
        # Where Ray's own default is, too: a socket's path has room for some hundred characters.
        self._home = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=self._home,
        )
        share = self._ray.remote(num_cpus=0)  # of a core: nothing is to wait until there is one
        self._classes = {"def": share(_RayCounter), "async": share(_RayAsyncCounter)}

    async def close(self) -> None:
        self._ray.shutdown()
        shutil.rmtree(self._home, ignore_errors=True)

    async def create(self, count: int, kind: Kind) -> list[Any]:
        actors = [self._classes[kind].remote(Tally()) for _ in range(count)]
        self._ray.get([actor.add.remote(1) for actor in actors])
        return actors

    async def stop(self, actors: list[Any]) -> None:
        processes = [psutil.Process(pid) for pid in self._pids(actors)]
        for actor in actors:
            self._ray.kill(actor)
        psutil.wait_procs(processes)

    async def ask(self, calls: int) -> None:
        for actor in itertools.islice(self.turns, calls):
            self._ray.get(actor.add.remote(1))

    async def ask_together(self, calls: int) -> None:
        for _ in range(calls // IN_FLIGHT):
            self._ray.get([actor.add.remote(1) for actor in itertools.islice(self.turns, IN_FLIGHT)])

    async def tell(self, calls: int) -> None:
        for actor in itertools.islice(self.turns, calls):
            actor.add.remote(1)
        self._ray.get([actor.add.remote(1) for actor in self.actors])

    def memory(self) -> int:
        total = 0
        for pid in self._pids(self.actors):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += int(psutil.Process(pid).memory_full_info().uss)
        return total

    def _pids(self, actors: list[Any]) -> list[int]:
        pids: list[int] = self._ray.get([actor.pid.remote() for actor in actors])
        return pids


class _RayCounter(Counter):
    def pid(self) -> int:
        return os.getpid()


class _RayAsyncCounter(AsyncCounter):
    async def pid(self) -> int:
        return os.getpid()


CONTENDERS: tuple[type[Contender], ...] = (Bare, Herd, Pykka, Xoscar, XoscarLocal, Ray)
