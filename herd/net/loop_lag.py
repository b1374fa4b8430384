"""How late the event loop is: what a timer of it shows."""

import asyncio

from herd.net.metric_series import Buckets

# Four looks a second cost nothing that could be measured, and meet whatever people notice.
LOOK_EVERY_S = 0.25
# Prometheus asks every minute at the most. When nobody has asked for longer, nobody looks.
LOOK_FOR_S = 300.0
# From what a loop that has nothing to do is late by, to what breaks links.
LATE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Looks at the running loop for as long as somebody wants to know.

    Attributes:
        late: by how many seconds the loop came too late to its looks.
    """

    def __init__(self) -> None:
        self.late = Buckets(LATE)
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wanted(self) -> None:
        """Somebody reads this, and will again."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + LOOK_FOR_S
        if self._timer is None:
            self._look_next(loop)

    def _look_next(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + LOOK_EVERY_S
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self.late.observe(max(0.0, now - due))
        self._timer = None
        if now < self._until:
            self._look_next(loop)
