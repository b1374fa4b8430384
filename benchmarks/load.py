"""The clients, in a process of their own.

    python -m benchmarks.load PLAN

does what the plan (JSON) says and prints what it found (JSON): how much, how fast, what it cost whom, what was wrong.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter  # uvloop's own time has milliseconds

import msgspec
import psutil
import uvloop

from benchmarks.client import Asker, Listener
from benchmarks.traffic import small_request
from herd.cli.process import raise_file_limit

# A first request opens connections all the way down; by the third everything is as it stays.
WARM_UP = 3
# Streams that open in a second: a fraction of what the slowest of the three ways manages, for what is measured is how
# they flow, not how they open.
OPENS_PER_S = 400.0
# For a machine on which something else runs. Whatever has not come by then does not come.
PATIENCE_S = 60.0
MAX_COMPLAINTS = 5  # the first ones tell the story, a thousand would hide it


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: ask small questions (for `seconds`, or `requests` times), or, with `tokens`, listen to streams."""

    connections: int
    seconds: float = 0.0
    requests: int = 0
    tokens: int = 0  # of each stream
    rate: float = 0.0  # tokens a second; 0: flat out
    port: int = 0
    key: str = ""  # sent with small questions, where the router wants one
    watched: Mapping[str, int] = field(default_factory=dict)  # processes whose CPU time is taken: name -> pid

    @property
    def expected_s(self) -> float:
        """About how long it takes a machine that keeps pace."""
        if self.tokens and self.rate:
            return self.connections / OPENS_PER_S + self.tokens / self.rate
        return self.seconds


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a plan. Times in seconds."""

    units: int  # requests, or tokens
    seconds: float
    p50: float  # of an answer, or of the gap between two tokens of one stream
    p99: float
    cpu: Mapping[str, float]  # by process; the load's own too
    broken: int = 0
    complaints: Sequence[str] = ()


class Run:
    """One plan being carried out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._processes = {name: psutil.Process(pid) for name, pid in plan.watched.items()}
        self._processes["load"] = psutil.Process()
        self._times: list[float] = []
        self._complaints: list[str] = []
        self._broken = 0
        self._open = plan.connections
        self._over = asyncio.Event()
        self._began = 0.0
        self._cpu: dict[str, float] = {}

    async def carry_out(self) -> Found:
        """Do it all."""
        try:
            async with asyncio.timeout(self._plan.expected_s + PATIENCE_S):
                await (self._listen() if self._plan.tokens else self._ask())
                await self._over.wait()
        except TimeoutError:
            self._complain(f"{self._open} of {self._plan.connections} connections did not end in time")
            self._broken += self._open
        except OSError as error:
            self._complain(f"no connection: {error}")
            self._broken += 1
        ended = perf_counter()
        cpu = {name: seconds - self._cpu.get(name, 0.0) for name, seconds in self._cpu_times().items()}
        units = len(self._times)
        if self._plan.tokens:
            units = self._plan.tokens * (self._plan.connections - self._broken)
        self._times.sort()
        return Found(
            units=units,
            seconds=ended - self._began,
            p50=percentile(self._times, 0.5),
            p99=percentile(self._times, 0.99),
            cpu=cpu,
            broken=self._broken,
            complaints=self._complaints,
        )

    def _start_clock(self) -> None:
        self._began = perf_counter()
        self._cpu = self._cpu_times()

    def _cpu_times(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: time.user + time.system for name, time in times.items()}

    # --- small questions ----------------------------------------------------------------------------------------------

    async def _ask(self) -> None:
        """Warm every connection, wait for the last of them, then start the clock for all."""
        warm: dict[Asker, int] = {}
        ready: list[Asker] = []

        def warming(asker: Asker, _: float) -> bool:
            warm[asker] = warm.get(asker, 0) + 1
            if warm[asker] < WARM_UP:
                return True
            ready.append(asker)
            if len(ready) == self._plan.connections:
                self._start_clock()
                for each in ready:
                    each.answered = self._answered
                    each.ask()
            return False

        for _ in range(self._plan.connections):
            await self._connect(partial(Asker, warming, self._failed, small_request(self._plan.key)))

    def _answered(self, asker: Asker, seconds: float) -> bool:
        self._times.append(seconds)
        plan = self._plan
        if plan.requests:
            # Those that the other connections wait for count: they come in any case.
            again = len(self._times) + self._open <= plan.requests
        else:
            again = perf_counter() - self._began < plan.seconds
        if not again:
            asker.close()
            self._ended()
        return again

    # --- streams ------------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Open the streams, paced ones one after the other so that their tokens do not all fall into one moment."""
        plan = self._plan
        self._start_clock()
        for number in range(plan.connections):
            if plan.rate and (early := self._began + number / OPENS_PER_S - perf_counter()) > 0:
                await asyncio.sleep(early)
            await self._connect(partial(Listener, plan.tokens, plan.rate, self._times, self._ended, self._failed))

    # --- both ---------------------------------------------------------------------------------------------------------

    async def _connect(self, protocol: "partial[Asker] | partial[Listener]") -> None:
        await self._loop.create_connection(protocol, "127.0.0.1", self._plan.port)

    def _failed(self, what: str) -> None:
        self._complain(what)
        self._broken += 1
        self._ended()
        if not self._plan.tokens:  # whoever waits for all to be warm would wait for ever
            self._over.set()

    def _complain(self, what: str) -> None:
        if len(self._complaints) < MAX_COMPLAINTS:
            self._complaints.append(what)

    def _ended(self) -> None:
        self._open -= 1
        if not self._open:
            self._over.set()


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the ordered values do not exceed (nearest rank); 0 when there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))]


async def main(plan: Plan) -> Found:
    """Carry out a plan."""
    return await Run(plan).carry_out()


if __name__ == "__main__":
    raise_file_limit()
    found = uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
    print(msgspec.json.encode(found).decode())
