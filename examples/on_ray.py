"""One supervised queue on two engines: this event loop, and a Ray cluster. Its callers are the same for both.

pip install 'herd-fleet[ray]' && python examples/on_ray.py
"""

import asyncio
import logging
import os
import tempfile
from pathlib import Path

from herd.runtime import ActorHandle, kill, remote, stop
from herd.runtime.engine import Engine, LocalEngine, using

# Ray reads these as it is imported: its ports are to be open to this machine alone, and it is not to call home.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}

try:
    from herd.runtime.on_ray import local_cluster
except ImportError:
    local_cluster = None


class Jobs:
    """A queue in a file. To put a job, or to have it done, a second time changes nothing: so calls can be retried."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.open: dict[str, None] = {}
        self.filled = asyncio.Event()

    def on_start(self) -> None:
        """Each life begins with what the one before left open."""
        if self.file.exists():
            self.change(dict.fromkeys(self.file.read_text().splitlines()))

    async def put(self, job: str) -> None:
        self.change(self.open | {job: None})

    async def take(self) -> str:
        """The oldest open job; waits for one."""
        await self.filled.wait()
        return next(iter(self.open))

    async def done(self, job: str) -> None:
        self.change({other: None for other in self.open if other != job})

    def change(self, jobs: dict[str, None]) -> None:
        self.file.with_suffix(".new").write_text("\n".join(jobs))
        self.file.with_suffix(".new").replace(self.file)
        self.open = jobs
        if jobs:
            self.filled.set()
        else:
            self.filled.clear()


async def consume(jobs: ActorHandle, count: int) -> list[str]:
    taken = []
    for _ in range(count):
        taken.append(await jobs.take.remote())
        await jobs.done.remote(taken[-1])
    return taken


async def story(folder: str) -> list[str]:
    """Six jobs, with a crash among them that neither the producer nor the consumer hears of."""
    queue = remote(Jobs).options(name="jobs", max_restarts=3, max_task_retries=3, max_concurrency=10)
    jobs = queue.remote(Path(folder, "jobs"))
    consumer = asyncio.create_task(consume(jobs, 6))
    for number in range(6):
        if number == 3:
            kill(jobs, no_restart=False)
        await jobs.put.remote(f"job {number}")
    said = [f"took {', '.join(await consumer)}"]
    said.append(f"stopped: {await stop(jobs)}, and again: {await stop(jobs)}")
    return said


def tell(engine: Engine) -> None:
    with tempfile.TemporaryDirectory() as folder, using(engine):
        print(type(engine).__name__, *asyncio.run(story(folder)), sep="\n  ")


if __name__ == "__main__":
    logging.getLogger("herd.runtime").setLevel(logging.CRITICAL)  # the crash is meant
    tell(LocalEngine())
    if local_cluster is None:
        print("Ray is not installed: pip install 'herd-fleet[ray]'")
    else:
        with local_cluster() as cluster:
            tell(cluster)
