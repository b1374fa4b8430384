"""What people tell a node by hand: to take nothing new, for some time or until told otherwise.

Times are wall clock, for they are stored. What a node's own agent says of its owner is none of this: whoever resumes a
node does not end a meeting.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from herd.policy.values import Reason
from herd.types import Seconds

DRAINED = "drained"  # kinds of the reasons
PAUSED = "manual"


class Order(StrEnum):
    """What a node is told."""

    DRAIN = "drain"  # what runs ends, what waits goes elsewhere, nothing new comes
    PAUSE = "pause"  # the same, mostly for some time
    RESUME = "resume"  # neither any more


@dataclass(frozen=True, slots=True)
class Orders:
    """What is in force."""

    drained: Seconds | None = None  # since when
    paused: Seconds | None = None
    until: Seconds | None = None  # when the pause ends by itself; None: when the node is resumed

    def given(self, order: Order, now: Seconds, lasts: Seconds | None = None) -> "Orders":
        """What is in force from now on. A pause of so many seconds takes the place of the one before."""
        if order is Order.RESUME:
            return Orders()
        if order is Order.DRAIN:
            return self if self.drained is not None else replace(self, drained=now)
        since = now if self.paused is None else self.paused
        return replace(self, paused=since, until=None if lasts is None else Seconds(now + lasts))

    def pause_over(self) -> "Orders":
        """The pause's time is over."""
        return replace(self, paused=None, until=None)

    def begun_by(self, now: Seconds) -> "Orders":
        """The same; a pause that was told when the clock was ahead begins now, and lasts as long as it was to."""
        if self.paused is None or self.paused <= now:
            return self
        left = self.left(now)
        return replace(self, paused=now, until=None if left is None else Seconds(now + left))

    def left(self, now: Seconds) -> Seconds | None:
        """Seconds until the pause ends by itself; None when it does not.

        Never more than it was to last: a clock that was set back while the router was away makes no pause longer.
        """
        if self.paused is None or self.until is None:
            return None
        return Seconds(min(max(0.0, self.until - now), max(0.0, self.until - self.paused)))

    def reasons(self) -> tuple[Reason | None, Reason | None]:
        """Why the node is draining, and why it is paused; None where it is not."""
        drained = None if self.drained is None else Reason(DRAINED, "is drained by hand", self.drained)
        paused = None if self.paused is None else Reason(PAUSED, "is paused by hand", self.paused, self.until)
        return drained, paused


NO_ORDERS = Orders()
