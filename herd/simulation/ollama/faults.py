"""What can be wrong with a simulated model server."""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from herd.simulation.ollama.asks.ask import OllamaError


class Lie(StrEnum):
    """An answer that is not what it seems."""

    SHORT = "short"  # it ends cleanly, without the word that says it is whole
    ERROR = "error"  # it breaks in the middle and says so, with a status that says all is well
    GARBAGE = "garbage"  # its second half is no language of any client
    EMPTY = "empty"  # nothing, with a status that says all is well


@dataclass(slots=True)
class Faults:
    """Faults that wait for their request. Each but `wedged` is over once it has struck."""

    failures: deque[OllamaError] = field(default_factory=deque)  # as long as whoever fills it wants
    death: int | None = None  # tokens after which the next answer's connection is cut
    lie: Lie | None = None
    wedged: bool = False  # the port is open, and nothing ever answers

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self.failures.clear()
        self.death, self.lie, self.wedged = None, None, False

    def failure(self) -> OllamaError | None:
        """How the next request is refused, if it is."""
        return self.failures.popleft() if self.failures else None

    def take_death(self) -> int | None:
        """After how many tokens this answer's connection is cut, if it is."""
        death, self.death = self.death, None
        return death

    def take_lie(self) -> Lie | None:
        """How this answer is not what it seems, if it is not."""
        lie, self.lie = self.lie, None
        return lie
