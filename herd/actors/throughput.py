"""How many tokens of answers each node makes a second."""

from collections import deque

from herd.types import Seconds

# A router hears of an answer's tokens at its end. Over a minute that evens out, and what was a minute ago is history.
WINDOW_S = Seconds(60.0)
# A fleet that answers a hundred requests a second has 6,000 of them in it.
MAX_ANSWERS = 8192


class Throughput:
    """Answers of the last minute."""

    def __init__(self) -> None:
        self._answers: deque[tuple[Seconds, str, int]] = deque(maxlen=MAX_ANSWERS)  # when, by which node, tokens

    def answered(self, node: str, tokens: int, now: Seconds) -> None:
        """A node has ended an answer of so many tokens. `now` is monotonic, here and below."""
        self._answers.append((now, node, max(0, tokens)))  # as a model server says

    def rates(self, now: Seconds) -> dict[str, float]:
        """Tokens a second by the names of the nodes that have made any."""
        while self._answers and self._answers[0][0] <= now - WINDOW_S:
            self._answers.popleft()
        totals: dict[str, int] = {}
        for _, node, tokens in self._answers:
            totals[node] = totals.get(node, 0) + tokens
        return {node: round(total / WINDOW_S, 2) for node, total in totals.items()}
