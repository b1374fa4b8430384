"""A lively minute in a house, told as a log of everything that was decided: `python -m tests.scenarios.seeded SEED`."""

import asyncio
import logging
import random
import sys

from herd.runtime.testing import run_virtual
from herd.simulation.fleet.house import House, Sent
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, chat, scenario

REQUESTS = 60


class Log(logging.Handler):
    """What the router and the agents log, with virtual times."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{asyncio.get_running_loop().time():.6f} {record.name} {record.getMessage()}")


async def _trouble(home: House, chance: random.Random) -> None:
    """Links break and servers fail, at seeded times."""
    for _ in range(10):
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        node = chance.choice(home.nodes)
        if chance.random() < 0.5:
            home.links.cut(node.id)
        else:
            node.ollama.fail_next(503, "busy")


async def _story(seed: int, log: Log) -> None:
    chance = random.Random(seed)
    async with scenario(seed=seed) as home:
        for name in ("studio", "gaming", "mini"):
            await home.node(name, [LLAMA, QWEN], resident=[LLAMA], parallel=2)
        trouble = asyncio.create_task(_trouble(home, chance))
        sent: list[Sent] = []
        for _ in range(REQUESTS):
            await asyncio.sleep(chance.expovariate(4.0))
            sent.append(home.send(CHAT, chat(chance.choice([LLAMA, LLAMA, QWEN]), tokens=chance.randint(1, 200))))
            if chance.random() < 0.1:
                chance.choice(sent).task.cancel()
        await asyncio.wait([one.task for one in sent])
        await trouble
        log.lines += [f"{one.sink.status} {one.sink.headers} {len(one.sink.body)}" for one in sent]


def tell(seed: int) -> str:
    """The log of the story with this seed."""
    log = Log()
    root = logging.getLogger("herd")
    level, root.level = root.level, logging.INFO
    root.addHandler(log)
    try:
        run_virtual(_story(seed, log))
    finally:
        root.removeHandler(log)
        root.setLevel(level)
    return "\n".join(log.lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(tell(int(sys.argv[1])))
