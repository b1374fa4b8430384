"""The registry that a simulated server pulls its models from, and the line to it: downloads that take their time.

There is no task behind a download: it goes on at its rate for as long as somebody pulls, and those who pull look at it
now and then. Without them it stands, and goes on from there when somebody comes back.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from herd.simulation.machine.catalog import CATALOG, SimulatedModel
from herd.simulation.ollama.references import canonical
from herd.types import Bytes, Seconds

# Bytes a second: a line of 100 Mbit/s, as many homes have. An assumption.
LINE_RATE = 12_500_000.0

# How often a puller is told how far it is, in seconds. Ollama tells it every 60 ms; a model takes minutes, so this is
# often enough to see it move, and does not fill memory and logs.
_TELL = Seconds(0.5)


@dataclass(slots=True, eq=False)
class Transfer:
    """One model on its way. `done` is right at the moment `settled`."""

    size: Bytes
    done: float = 0.0
    settled: float = 0.0
    waiting: int = 0


class Registry:
    """Models to pull, by their canonical names, and how quickly they come.

    Args:
        models: what there is.
        speed: everything comes this many times as quick.
        progress: seconds between two looks at a download, at least.

    Attributes:
        rate: bytes a second of each download that is pulled at. To be set anew while downloads are under way.
    """

    def __init__(
        self,
        models: Mapping[str, SimulatedModel] = CATALOG,
        *,
        speed: float = 1.0,
        progress: Seconds = Seconds(0.0),
    ) -> None:
        self._models = {canonical(name): model for name, model in models.items()}
        self._speed = speed
        self._tell = max(progress, _TELL)
        self._power = 1.0
        self._rate = LINE_RATE
        self._transfers: dict[tuple[str, Bytes], Transfer] = {}  # those begun and not ended, by thing and size

    def find(self, name: str) -> SimulatedModel | None:
        """The model of that name, if there is one."""
        return self._models.get(canonical(name))

    @property
    def rate(self) -> float:
        """Bytes a second, before the machine's own share of it."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._settle_all()
        self._rate = rate

    def set_power(self, power: float) -> None:
        """From now on downloads go at this share of the rate; at 0 they stand still."""
        self._settle_all()
        self._power = power

    async def transfer(self, what: str, size: Bytes) -> AsyncGenerator[Bytes]:
        """How many bytes of so many are over the line, from the beginning, every now and then, until all are.

        Several may wait for one thing: it goes over once. Whoever leaves early leaves what has come so far.

        Args:
            what: tells things of one size apart.
            size: of the thing.
        """
        transfer = self._transfers.setdefault((what, size), Transfer(size))
        self._settle(transfer)
        transfer.waiting += 1
        try:
            while True:
                self._settle(transfer)
                yield Bytes(int(transfer.done))
                if transfer.done >= size:
                    return
                await asyncio.sleep(self._wait(transfer))
        finally:
            self._settle(transfer)
            transfer.waiting -= 1
            if transfer.done >= size:
                self._transfers.pop((what, size), None)

    @property
    def _effective(self) -> float:
        return self._rate * self._speed * self._power

    def _wait(self, transfer: Transfer) -> float:
        """Until the next look. A little more than what is left, so that rounding does not cost another look."""
        if not self._effective:
            return self._tell
        return min(self._tell, (transfer.size - transfer.done) / self._effective + 1e-6)

    def _settle_all(self) -> None:
        for transfer in self._transfers.values():
            self._settle(transfer)

    def _settle(self, transfer: Transfer) -> None:
        """Bring a download up to now."""
        now = asyncio.get_running_loop().time()
        if transfer.waiting:
            came = (now - transfer.settled) * self._effective
            transfer.done = min(float(transfer.size), transfer.done + came)
        transfer.settled = now
