"""A workload, and the fake that serves it in virtual time."""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from herd.runtime.testing import run_virtual
from herd.simulation.http import InMemoryRequest, call
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.ollama.server import FakeOllama
from herd.simulation.runs.asking import Seen
from herd.simulation.workload.requests import SimulatedRequest, body, target
from herd.types import Seconds, Tokens

# Share of the time for which one request after the other would keep the server busy: some come together, some wait.
LOAD = 0.7

# (least, median, most) tokens. Short, so that a hundred requests take minutes on a machine that reads 150 tokens a
# second; the spread is that of a lognormal with sigma 1, about what traces of chats show.
PROMPTS = (20, 120, 1500)
ANSWERS = (5, 30, 150)
SIGMA = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a workload."""

    at: float  # seconds since its beginning
    prompt: int
    answer: int


@dataclass(frozen=True, slots=True)
class Told:
    """What its client saw. Seconds since it asked."""

    first: float  # until the first token came
    completion: float
    tokens: tuple[float, ...] = ()  # when each came, where somebody looked


def lengths(dice: random.Random, count: int) -> list[tuple[int, int]]:
    """Prompts and answers of so many requests."""
    return [(_length(dice, *PROMPTS), _length(dice, *ANSWERS)) for _ in range(count)]


def arrivals(dice: random.Random, sizes: Sequence[tuple[int, int]], alone_s: Sequence[float]) -> list[Asked]:
    """Requests of these sizes in a Poisson process that is `LOAD` of what one after the other would take."""
    gap = sum(alone_s) / len(alone_s) / LOAD
    at, workload = 0.0, []
    for prompt, answer in sizes:
        workload.append(Asked(at, prompt, answer))
        at += dice.expovariate(1 / gap)
    return workload


def serve(machine: MachineProfile, model: SimulatedModel, slots: int, workload: Sequence[Asked]) -> list[Told]:
    """What the clients of the fake see, with the model loaded before."""
    return run_virtual(_serve(machine, model, slots, workload))


async def _serve(machine: MachineProfile, model: SimulatedModel, slots: int, workload: Sequence[Asked]) -> list[Told]:
    fake = FakeOllama(machine, [model], num_parallel=slots, keep_alive_s=math.inf)
    await call(fake.handle, "POST", "/api/generate", {"model": model.name})
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def ask(number: int, asked: Asked) -> Told:
        await asyncio.sleep(began + asked.at - loop.time())
        # Texts begin with the client's name: none is to begin like another, for the fake keeps prompts.
        request = SimulatedRequest(
            Seconds(asked.at), f"{number:04d}"[::-1], model.name, Tokens(asked.prompt), Tokens(asked.answer)
        )
        seen = Seen()
        await fake.handle(InMemoryRequest("POST", target(request), orjson.dumps(body(request))), seen)
        return Told(seen.first - seen.began, seen.ended - seen.began)

    return list(await asyncio.gather(*(ask(number, asked) for number, asked in enumerate(workload))))


def _length(dice: random.Random, least: int, middle: int, most: int) -> int:
    return min(most, max(least, round(dice.lognormvariate(math.log(middle), SIGMA))))
