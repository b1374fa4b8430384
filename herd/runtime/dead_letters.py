"""Messages that no handler was started for: counted by reason, and logged at a bounded rate."""

import logging
from collections.abc import Callable
from enum import StrEnum

log = logging.getLogger("herd.runtime")

# Seconds between two lines for one reason: a flood is a line now and then that carries its number.
LOG_EVERY_S = 10.0


class DeadLetterReason(StrEnum):
    """Why a message was not handled."""

    DEAD = "dead"  # its actor was dead, or was stopping
    FULL = "full"  # its actor had max_pending_calls unanswered calls
    EXPIRED = "expired"  # its deadline passed while it waited
    CANCELLED = "cancelled"  # its caller gave up while it waited
    KILLED = "killed"  # it waited, or was told and under way, when its actor was killed or crashed


class DeadLetters:
    """The count. `lost` is the part of it that nobody was told of: messages sent by `tell`."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.counts = dict.fromkeys(DeadLetterReason, 0)
        self.lost = 0
        self.last_lost = ""
        self._time = time
        self._logged: dict[tuple[DeadLetterReason, int], tuple[float, int]] = {}  # when, and the count at that time

    def add(self, reason: DeadLetterReason, message: str, *, told: bool) -> None:
        """Count one.

        Args:
            reason: why it was not handled.
            message: actor and method, for a person; never what was in it.
            told: sent by `tell`; else it was a call, and the caller's ref says what became of it.
        """
        self.counts[reason] += 1
        if told:
            self.lost += 1
            self.last_lost = message
        # A caller knows what became of its call; that an actor is overrun is worth a line all the same.
        level = logging.WARNING if told or reason is DeadLetterReason.FULL else logging.DEBUG
        if not log.isEnabledFor(level):
            return
        now, count = self._time(), self.counts[reason]
        when, before = self._logged.get((reason, level), (-LOG_EVERY_S, 0))
        if now - when >= LOG_EVERY_S:
            self._logged[reason, level] = (now, count)
            log.log(level, "dead letter (%s, %d since the last such line): %s", reason, count - before, message)
