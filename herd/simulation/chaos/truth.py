"""How the machines of a house really are, whatever the router believes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf

from herd.types import NodeId

# After a trouble a node is whole again within so many seconds: its agent dials within 3, looks at its server every 2
# and at the server's disk every 10.
SETTLED_S = 15.0


class Truth:
    """Models on disks, and troubles of machines. Times are the loop's."""

    def __init__(self) -> None:
        self._there: dict[NodeId, dict[str, float]] = {}  # model -> since when it is on the disk
        self._gone: dict[tuple[NodeId, str], float] = {}
        self._troubles: Counter[NodeId] = Counter()
        self._well_since: dict[NodeId, float] = {}

    def add(self, node: NodeId, models: Iterable[str], now: float) -> None:
        """Models come onto a disk."""
        for model in models:
            self._there.setdefault(node, {})[model] = now
        self._well_since.setdefault(node, now)

    def delete(self, node: NodeId, model: str, now: float) -> None:
        """A model leaves a disk."""
        self._there[node].pop(model, None)
        self._gone[node, model] = now

    def models(self, node: NodeId) -> tuple[str, ...]:
        """What is on a disk."""
        return tuple(self._there[node])

    @contextmanager
    def trouble(self, node: NodeId, time: Callable[[], float]) -> Iterator[None]:
        """While this lasts, the node may be of no use."""
        self._troubles[node] += 1
        try:
            yield
        finally:
            self._troubles[node] -= 1
            self._well_since[node] = time()

    def lacked_since(self, node: NodeId, model: str) -> float:
        """Since when the node does not have the model; infinite when it does."""
        return inf if model in self._there.get(node, {}) else self._gone.get((node, model), -inf)

    def well_since(self, node: NodeId) -> float:
        """Since when nothing is wrong with the node; infinite when something is."""
        return inf if self._troubles[node] else self._well_since.get(node, inf)

    def who_could(self, model: str, since: float) -> NodeId | None:
        """A node that has had the model, and no trouble, from well before `since` until now."""
        for node, there in self._there.items():
            if max(self.well_since(node), there.get(model, inf)) + SETTLED_S <= since:
                return node
        return None
