"""The real llama.cpp server: what it takes for prompts and tokens, and for requests that come as they like.

Prompts are tokens by chance, so that none begins like another and each has exactly the length that is wanted; answers
do not end before their length (`ignore_eos`). All times are the client's: a token counts when it has come.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import orjson
import psutil

from benchmarks.fidelity_fake import Asked, Told
from benchmarks.fidelity_fit import Calibration, Decode, Prefill
from benchmarks.talk import progress
from herd.net.embedded import EmbeddedModel, EmbeddedServer
from herd.types import Seconds, Tokens

# As many as a small server has; each further one costs a long measurement.
SLOTS = 4

# Longer than any request of these measurements.
SLOT_CONTEXT = Tokens(2048)

# With more, threads wait for each other whenever another program takes a core, and what is measured is that.
THREADS = 1

# Ids of ordinary words in a vocabulary of 49,152: the first are signs of the template, the last may be unused.
WORDS = range(100, 48_000)

ALONE_PROMPTS = (16, 64, 256, 512, 1024)
ALONE_ANSWER = 32
BATCHES = tuple(range(2, SLOTS + 1))
BATCH_PROMPT, BATCH_ANSWER = 16, 48


class Server:
    """One server with `SLOTS` slots."""

    def __init__(self, url: str, session: aiohttp.ClientSession, load_s: Seconds, dice: random.Random) -> None:
        self._url = url
        self._session = session
        self._dice = dice
        self.load_s = load_s

    def cpu_s(self) -> float:
        """Seconds of processor time that it has had."""
        times = [child.cpu_times() for child in psutil.Process().children()]
        return sum(each.user + each.system for each in times)

    async def ask(self, prompt: int, answer: int) -> Told:
        """One request. Raises RuntimeError when the answer is not what was asked for."""
        body = {
            "prompt": self._dice.sample(WORDS, prompt),
            "n_predict": answer,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
        }
        began = _now()
        came: list[float] = []
        timings: dict[str, float] = {}
        async with self._session.post(f"{self._url}/completion", data=orjson.dumps(body)) as response:
            async for line in response.content:
                if line.startswith(b"data:"):
                    event = orjson.loads(line[5:])
                    timings = event.get("timings", timings)
                    if not event.get("stop"):
                        came.append(_now() - began)
        if timings.get("prompt_n") != prompt or timings.get("predicted_n") != answer or not came:
            raise RuntimeError(f"asked for {prompt} and {answer} tokens, the server says {timings}")
        return Told(came[0], _now() - began, tuple(came))

    async def serve(self, workload: Sequence[Asked]) -> list[Told]:
        """Send every request when its time has come, and wait for all answers."""
        began = _now()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for asked in workload:
                await asyncio.sleep(max(0.0, asked.at - (_now() - began)))
                tasks.append(group.create_task(self.ask(asked.prompt, asked.answer)))
        return [task.result() for task in tasks]


@asynccontextmanager
async def served(model: EmbeddedModel, seed: int) -> AsyncIterator[Server]:
    """A server, warm. Raises EmbeddedError."""
    child = EmbeddedServer(replace(model, parallel=SLOTS, context=Tokens(SLOTS * SLOT_CONTEXT), threads=THREADS))
    began = _now()
    url = await child.start()
    load_s = Seconds(_now() - began)
    try:
        # A kept connection may be closed just when it is used again.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            server = Server(url, session, load_s, random.Random(seed))
            await server.ask(BATCH_PROMPT, BATCH_ANSWER)
            yield server
    finally:
        await child.stop()


async def calibrate(server: Server, found: Calibration, prompts: Sequence[int], batches: Sequence[int]) -> None:
    """Measure prompts and tokens alone, and tokens of several requests at once; added to what was found before."""
    found.load_s = server.load_s
    for prompt in prompts:
        progress(f"calibrating: a prompt of {prompt}")
        told = await server.ask(prompt, ALONE_ANSWER)
        found.prefills.append(Prefill(prompt, told.first))
        found.decodes.append(Decode(1, prompt + ALONE_ANSWER / 2, _step([told.tokens])))
    for batch in batches:
        progress(f"calibrating: {batch} requests at once")
        found.decodes.append(await _together(server, batch))


async def _together(server: Server, batch: int) -> Decode:
    """Steps while all of a batch make tokens."""
    began = _now()

    async def ask() -> tuple[float, Told]:
        asked = _now() - began
        return asked, await server.ask(BATCH_PROMPT, BATCH_ANSWER)

    answers = await asyncio.gather(*(ask() for _ in range(batch)))
    return Decode(
        batch,
        batch * (BATCH_PROMPT + BATCH_ANSWER / 2),
        _step([[asked + came for came in told.tokens] for asked, told in answers]),
    )


def _step(came: Sequence[Sequence[float]]) -> float:
    """Seconds of a step while all of these answers go on. Raises ValueError when they never do so together."""
    since, until = max(each[0] for each in came), min(each[-1] for each in came)
    steps = [sum(since <= at <= until for at in each) - 1 for each in came]
    if min(steps) < 1:
        raise ValueError("these answers were not made at the same time")
    return (until - since) / max(steps)


def _now() -> float:
    return asyncio.get_running_loop().time()
