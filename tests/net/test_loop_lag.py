"""The loop's lateness is seen for as long as somebody wants to know."""

import asyncio

from herd.net.loop_lag import LOOK_EVERY_S, LOOK_FOR_S, LoopLag
from herd.net.metric_series import Buckets
from herd.runtime.testing import virtual_time
from tests.runtime.clock import pass_time, turns


def seen(late: Buckets) -> tuple[float, float]:
    """How many looks there were, and the seconds that they were late by."""
    bounds, total = late.cumulated()
    return bounds[-1][1], total


@virtual_time
async def test_nobody_looks_before_somebody_asks_nor_long_after_the_last_one_did() -> None:
    lag = LoopLag()
    await asyncio.sleep(1)
    assert not lag.late
    lag.wanted()
    lag.wanted()
    await asyncio.sleep(10 * LOOK_EVERY_S)
    assert seen(lag.late) == (10, 0)
    await asyncio.sleep(2 * LOOK_FOR_S)
    looks = seen(lag.late)[0]
    assert looks == LOOK_FOR_S / LOOK_EVERY_S
    await asyncio.sleep(LOOK_FOR_S)
    assert seen(lag.late)[0] == looks
    lag.wanted()
    await asyncio.sleep(LOOK_EVERY_S)
    assert seen(lag.late)[0] == looks + 1


@virtual_time
async def test_a_loop_that_was_kept_busy_is_late() -> None:
    lag = LoopLag()
    lag.wanted()
    pass_time(LOOK_EVERY_S + 1.5)
    await turns(3)
    assert seen(lag.late) == (1, 1.5)
    await asyncio.sleep(LOOK_EVERY_S)
    assert seen(lag.late) == (2, 1.5)
