"""How long handlers hold the loop: measured step by step, method by method."""

import logging
import types
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import Any

from herd.runtime.values import MethodState

log = logging.getLogger("herd.runtime")

# A handler that keeps everything else waiting for longer is a defect: people see 100 ms, and a token stream of 50 a
# second misses its beat at 20.
HOLD_S = 0.05

# Seconds between two lines about one method.
LOG_EVERY_S = 10.0


class Tally:
    """What one method of one actor has done."""

    __slots__ = ("_logged", "failed", "is_async", "longest", "name", "notable", "processed", "seconds")

    def __init__(self, name: str, is_async: bool) -> None:
        self.name = name
        self.is_async = is_async
        self.processed = 0
        self.failed = 0
        self.seconds = 0.0
        self.longest = 0.0
        self.notable = 0.0  # a stretch longer than this is one for `note`
        self._logged = float("-inf")

    def note(self, seconds: float, label: str, limit: float) -> None:
        """A stretch of `seconds` is the longest so far, or kept everything else waiting, which is logged."""
        self.longest = max(self.longest, seconds)
        self.notable = min(self.longest, limit)
        now = perf_counter()
        if seconds > limit and now - self._logged >= LOG_EVERY_S:
            self._logged = now
            log.warning("%s: %s held the loop for %.0f ms", label, self.name, seconds * 1000)

    @property
    def state(self) -> MethodState:
        return MethodState(self.name, self.processed, self.failed, self.seconds, self.longest)


@types.coroutine
def stepped(coroutine: Coroutine[Any, Any, Any], account: Callable[[float], None]) -> Generator[Any, Any, Any]:
    """Await `coroutine`; `account` is told the seconds that each of its steps took, between two awaits of the loop."""
    step: Callable[[Any], Any] = coroutine.send
    argument: Any = None
    while True:
        began = perf_counter()
        try:
            awaited = step(argument)
        except StopIteration as stop:
            return stop.value
        finally:
            account(perf_counter() - began)
        step = coroutine.send
        try:
            argument = yield awaited
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown on into the coroutine, which it is meant for
            step, argument = coroutine.throw, error
