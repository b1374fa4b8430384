"""Clients of all kinds: they come one by one and in bursts, want streams and whole answers, wait or hang up."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from herd.simulation.chaos.invariants import Asked, Invariant, Observer, turns
from herd.simulation.chaos.overhearing import MARK
from herd.simulation.fleet.house import House

PATHS = ("/api/chat", "/api/generate", "/v1/chat/completions")
KNOCK_S = 0.3  # a client whose connection is refused tries again after so long
SOON = 30  # turns in which a request is placed, granted and opened
PATIENCE_S = (20.0, 200.0)  # of those who do not wait for ever; assumption: Open WebUI's is 300


class Crowd:
    """Those who ask.

    Args:
        home: whom they ask.
        observer: told of every request.
        models: that they ask for; the first ones more often.
        restless: share of those who hang up.
    """

    def __init__(self, home: House, observer: Observer, models: Sequence[str], restless: float) -> None:
        self._home = home
        self._observer = observer
        self._models = models
        self._restless = restless
        self._tasks: dict[asyncio.Task[None], Asked] = {}

    def send(self, dice: random.Random) -> None:
        """A client comes, and stays until it has its answer or has had enough."""
        model = self._models[min(int(dice.expovariate(1.2)), len(self._models) - 1)]
        path, streamed = dice.choice(PATHS), dice.random() < 0.6
        asked = self._observer.ask(f"r{len(self._tasks) + 1}", model, path, streamed=streamed)
        body = _body(path, model, tokens=dice.randint(1, 60), words=dice.randint(1, 400), streamed=streamed)
        headers = ((MARK, asked.mark), ("X-Herd-Priority", dice.choice(("interactive", "batch"))))
        client = self._client(asked, body, headers, random.Random(dice.random()))  # noqa: S311 - repeatable
        task = asyncio.create_task(client, name=f"client of {asked.mark}")
        self._tasks[task] = asked

    async def _client(
        self, asked: Asked, body: dict[str, Any], headers: tuple[tuple[str, str], ...], dice: random.Random
    ) -> None:
        while not self._home.http.listens:  # noqa: ASYNC110 - so do clients
            await asyncio.sleep(KNOCK_S)
        asked.began = asyncio.get_running_loop().time()
        self._observer.note(f"{asked.mark} asks for {asked.model} at {asked.path}")
        sent = self._home.send(asked.path, body, headers, sink=asked.sink)
        try:
            if dice.random() >= self._restless:
                await asyncio.wait([sent.task])
            elif dice.random() < 0.3:
                await turns(dice.randint(0, SOON))
            else:
                await asyncio.wait(
                    [sent.task], timeout=dice.choice((dice.uniform(0.0, 5.0), dice.uniform(*PATIENCE_S)))
                )
        finally:
            if not sent.task.done():
                asked.leaving = True
                await sent.hang_up()
            self._observer.over(asked, sent.task)

    async def check(self, model: str, within: float) -> None:
        """All is well: one more request for a model is served."""
        asked = self._observer.ask(f"last for {model}".replace(" ", "-"), model, PATHS[0], streamed=True)
        asked.began = asyncio.get_running_loop().time()
        body = _body(PATHS[0], model, tokens=2, words=1, streamed=True)
        sent = self._home.send(PATHS[0], body, ((MARK, asked.mark),), sink=asked.sink)
        await asyncio.wait([sent.task], timeout=within)
        if not sent.task.done():
            self._observer.never_ended(asked)
            asked.leaving = True
            await sent.hang_up()
        self._observer.over(asked, sent.task)
        if asked.sink.status != 200:
            self._observer.violated(Invariant.HELD, f"in the end {model} is not served: {asked.sink.body[:120]!r}")

    async def ended(self, within: float) -> None:
        """Wait until everybody has an answer or has left; who has not `within` so many seconds is sent away."""
        if not self._tasks:
            return
        await asyncio.wait(list(self._tasks), timeout=within)
        for task, asked in self._tasks.items():
            if not task.done():
                self._observer.never_ended(asked)
                task.cancel()
        await asyncio.wait(list(self._tasks))
        for task in self._tasks:
            if not task.cancelled():
                task.result()  # a client that failed is a fault of the scenario


def _body(path: str, model: str, *, tokens: int, words: int, streamed: bool) -> dict[str, Any]:
    text = "word " * words
    if path == "/api/generate":
        return {"model": model, "prompt": text, "options": {"num_predict": tokens}, "stream": streamed}
    messages = [{"role": "user", "content": text}]
    if path == "/api/chat":
        return {"model": model, "messages": messages, "options": {"num_predict": tokens}, "stream": streamed}
    return {"model": model, "messages": messages, "max_tokens": tokens, "stream": streamed}
