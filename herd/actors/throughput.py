"""How many tokens of answers each node makes a second."""

from collections import deque

from herd.types import Seconds

# A router hears of an answer's tokens at its end. Over a minute that evens out, and what was a minute ago is history.
WINDOW_S = 60
# Names of nodes that one second has room for: more than a fleet has.
MAX_NODES = 1024


class Throughput:
    """Answers of the last minute, second by second."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, dict[str, int]]] = deque(maxlen=WINDOW_S)  # which, and tokens by node

    def answered(self, node: str, tokens: int, now: Seconds) -> None:
        """A node has ended an answer of so many tokens. `now` is monotonic, here and below."""
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, {}))
        made = self._seconds[-1][1]
        if tokens > 0 and (node in made or len(made) < MAX_NODES):
            made[node] = made.get(node, 0) + tokens

    def rates(self, now: Seconds) -> dict[str, float]:
        """Tokens a second by the names of the nodes that have made any."""
        totals: dict[str, int] = {}
        for second, made in self._seconds:
            if second > int(now) - WINDOW_S:
                for node, tokens in made.items():
                    totals[node] = totals.get(node, 0) + tokens
        return {node: round(total / WINDOW_S, 2) for node, total in totals.items()}
