"""How long the leases of a queue have all been in use, how long just one, and how many: clocks that stop and go on."""

from dataclasses import dataclass
from typing import Self

from herd.types import Seconds


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Totals up to `at`, and what has held since then. What passed between two of them is their difference."""

    at: Seconds = Seconds(0.0)  # monotonic; of a queue in which nothing ran yet, any time
    running: int = 0
    limit: int = 1
    full: Seconds = Seconds(0.0)  # all leases in use, and none more
    alone: Seconds = Seconds(0.0)  # one in use
    streams: Seconds = Seconds(0.0)  # of all leases together

    def now(self, running: int, limit: int, at: Seconds) -> Self:
        """The totals up to `at`, from where on so many run of so many that may."""
        passed = at - self.at
        full = self.full + passed if self.running == self.limit else self.full
        alone = self.alone + passed if self.running == 1 else self.alone
        streams = self.streams + passed * self.running
        return type(self)(at, running, limit, Seconds(full), Seconds(alone), Seconds(streams))
