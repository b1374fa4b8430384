"""When a crashed actor is started again, and when that is given up. Pure: time and chance are arguments."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Strategy(StrEnum):
    """Who is restarted when one child of a supervisor crashes: Erlang's words and meanings."""

    ONE_FOR_ONE = "one_for_one"  # it alone
    REST_FOR_ONE = "rest_for_one"  # it, and all that were started after it
    ONE_FOR_ALL = "one_for_all"  # all


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often and how soon. Times are in seconds.

    Args:
        max_restarts: within `window`; -1 for no limit. One crash more is given up on.
        window: over which restarts are counted; infinite: over the whole life.
        backoff: wait before the second restart in a row; each further one waits twice as long. The first comes at once:
            most crashes are of one message, which is gone.
        max_backoff: the wait grows no further.
        jitter: share of a wait that chance takes off, so that what crashed together does not come back together.
        reset_after: without a crash, and the next one waits like a first one.
    """

    max_restarts: int = 5
    window: float = 60.0
    backoff: float = 0.1
    max_backoff: float = 10.0
    jitter: float = 0.5
    reset_after: float = 60.0

    def __post_init__(self) -> None:
        if self.max_restarts < -1:
            raise ValueError(f"max_restarts must be at least 0, or -1 for no limit, not {self.max_restarts}")
        for name in ("window", "backoff", "max_backoff", "reset_after"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0 seconds, not {getattr(self, name)}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a share, from 0 to 1, not {self.jitter}")

    @classmethod
    def lifelong(cls, max_restarts: int) -> "RestartPolicy":
        """Ray's `max_restarts`: counted over the whole life of the actor."""
        return cls(max_restarts=max_restarts, window=math.inf)


@dataclass(slots=True)
class RestartHistory:
    """The crashes of one actor, or of a group that restarts together."""

    policy: RestartPolicy
    _crashes: deque[float] = field(default_factory=deque)  # within the window; at most max_restarts of them
    _in_a_row: int = 0
    _last: float = -math.inf

    def crashed(self, now: float, chance: Callable[[], float]) -> float | None:
        """Note a crash.

        Args:
            now: in seconds.
            chance: gives a number from 0 to 1.

        Returns:
            Seconds to wait before the restart; None: there have been too many.
        """
        policy = self.policy
        while self._crashes and now - self._crashes[0] > policy.window:
            self._crashes.popleft()
        if len(self._crashes) >= policy.max_restarts != -1:
            return None
        if policy.max_restarts != -1:
            self._crashes.append(now)
        if now - self._last > policy.reset_after:
            self._in_a_row = 0
        self._last = now
        self._in_a_row += 1
        if self._in_a_row == 1:
            return 0.0
        doublings = min(self._in_a_row - 2, 64)  # 2.0 ** 64 is still a float, and beyond any cap
        wait = min(policy.max_backoff, policy.backoff * 2.0**doublings)
        return wait * (1 - policy.jitter * chance())
