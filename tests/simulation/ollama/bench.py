"""An engine alone, on a machine of round figures: what is asked of it, and when everything happened."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from herd.simulation.machine.catalog import GB, SimulatedModel
from herd.simulation.machine.pace import BATCH_COST, CHUNK
from herd.simulation.ollama.engine import Engine
from herd.simulation.ollama.scheduler import Job, Limits, Scheduler
from herd.types import Bytes, GiB, Seconds, Tokens
from tests.simulation.round_machine import MACHINE

LOAD_S = 3.0
STEP_S = 0.1  # one token
TOKEN_S = 0.005  # one token of a prompt
PAIR_S = STEP_S * (1 + BATCH_COST)  # one token for each of two in a batch
STALLED_S = CHUNK * TOKEN_S + STEP_S  # one token for a request beside which another prefills
CTX = Tokens(4096)


def model(name: str) -> SimulatedModel:
    """5 GB, without keys and values, so that every sum is a short one."""
    return SimulatedModel(name, Bytes(5 * GB), "9B", "Q4_K_M", "llama", Tokens(8192), (), Bytes(0))


A, B, C = model("a"), model("b"), model("c")


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def at(time: float) -> None:
    """Wait until the loop's time is this."""
    await asyncio.sleep(time - now())


@dataclass(slots=True)
class Told:
    """When what happened to one request."""

    granted: float = 0.0
    read: float = 0.0
    tokens: list[float] = field(default_factory=list)
    load_s: float = 0.0
    cached: int = 0


class Bench:
    """An engine, and requests for it.

    Attributes:
        engine: the engine.
        changes: the times at which it said that something had changed.
    """

    def __init__(
        self, *, memory: float = 48.0, parallel: int = 1, max_loaded: int = 3, keep_alive_s: float = 300.0
    ) -> None:
        limits = Limits(Bytes(int(memory * GiB)), parallel, max_loaded, keep_alive_s=keep_alive_s)
        self.changes: list[float] = []
        self.engine = Engine(MACHINE, Scheduler(limits), parallel, lambda: self.changes.append(now()))
        self._ids = itertools.count(1)

    @property
    def loaded(self) -> list[str]:
        """Names of what is in memory or on its way there."""
        return [runner.model.name for runner in self.engine.runners()]

    def job(self, of: SimulatedModel = A, *, keep_alive: float | None = None, load_only: bool = False) -> Job:
        """A new job."""
        return Job(next(self._ids), of, CTX, keep_alive, load_only=load_only)

    async def warm(self, *models: SimulatedModel, keep_alive: float | None = None) -> None:
        """Have these in memory."""
        for one in models:
            async with self.engine.slot(self.job(one, keep_alive=keep_alive, load_only=True)):
                pass

    async def ask(
        self,
        of: SimulatedModel = A,
        *,
        prompt: int = 20,
        tokens: int = 10,
        text: str = "",
        at_once: int = 1,
        pauses: Sequence[float] = (),
        keep_alive: float | None = None,
    ) -> Told:
        """One request from its arrival to its last token.

        Args:
            of: the model.
            prompt: its tokens.
            tokens: of the answer.
            text: of the prompt.
            at_once: tokens that are taken together.
            pauses: seconds for which the reader looks away after the first token, after the second, and so on.
            keep_alive: as the request has it.
        """
        told = Told()
        async with self.engine.slot(self.job(of, keep_alive=keep_alive), text) as slot:
            told.granted, told.load_s = now(), slot.load_s
            await slot.prefill(Tokens(prompt))
            told.read, told.cached = now(), slot.cached
            slot.start_decoding(0.0)
            rest = iter(pauses)
            for _ in range(0, tokens, at_once):
                await slot.make(at_once)
                told.tokens.append(now())
                await asyncio.sleep(next(rest, 0.0))
        return told

    def start(self, of: SimulatedModel = A, **asked: object) -> "asyncio.Task[Told]":
        """`ask` in a task of its own; to cancel it is to hang up."""
        return asyncio.create_task(self.ask(of, **asked))  # type: ignore[arg-type] # as `ask` takes them

    async def settled(self, *, within: float = 1000.0) -> None:
        """Wait until nobody runs or waits."""
        async with asyncio.timeout(within):
            while self.engine.running or self.engine.waiting:  # noqa: ASYNC110 - cheap in virtual time
                await asyncio.sleep(0.01)


def timers() -> int:
    """Timers of the loop that will still fire."""
    loop = asyncio.get_running_loop()
    scheduled: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined] # no public way to know
    return sum(not handle.cancelled() for handle in scheduled)


async def turns(count: int = 5) -> None:
    """Let the loop turn, without a moment passing."""
    for _ in range(count):
        await asyncio.sleep(0)


def since(began: float, times: Sequence[float]) -> list[float]:
    """The same times, counted from `began`."""
    return [Seconds(time - began) for time in times]
