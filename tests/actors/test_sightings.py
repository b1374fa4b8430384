"""Who waits for a node to report a model."""

import asyncio
from dataclasses import replace

import pytest

from herd.actors.sightings import LISTED_S, UNLOADED_S, Sight, Sightings
from herd.policy.values import ModelView, NodeView
from herd.runtime.testing import virtual_time
from herd.types import BackendId, ModelName
from tests.actors.doubles import view

M = "m:latest"
IDLE = ModelView(ModelName(M), BackendId("ollama"))
WITHOUT, WITH, LOADED = view("a"), view("a", {M: IDLE}), view("a", {M: replace(IDLE, resident=True)})


@pytest.mark.parametrize(
    ("sight", "before", "after"),
    [
        (Sight.LISTED, WITHOUT, WITH),
        (Sight.UNLOADED, LOADED, WITH),
        (Sight.UNLOADED, LOADED, WITHOUT),
        (Sight.GONE, WITH, WITHOUT),
    ],
)
@virtual_time
async def test_the_report_that_is_waited_for_ends_the_wait(sight: Sight, before: NodeView, after: NodeView) -> None:
    sightings = Sightings()
    waits = [asyncio.create_task(sightings.wait(before, M, sight)) for _ in range(2)]
    await asyncio.sleep(1)
    sightings.changed(before)
    await asyncio.sleep(1)
    assert not any(wait.done() for wait in waits)
    sightings.changed(after)
    sightings.changed(after)
    assert await asyncio.gather(*waits) == [True, True]
    assert await sightings.wait(after, M, sight)


@virtual_time
async def test_nobody_waits_for_ever_and_who_waits_no_longer_leaves_nothing() -> None:
    sightings = Sightings()
    assert not await sightings.wait(WITHOUT, M, Sight.LISTED)
    assert asyncio.get_running_loop().time() == pytest.approx(LISTED_S)
    assert not await sightings.wait(WITH, M, Sight.GONE)
    assert asyncio.get_running_loop().time() == pytest.approx(LISTED_S + UNLOADED_S)
    gone = asyncio.create_task(sightings.wait(WITHOUT, M, Sight.LISTED))
    await asyncio.sleep(1)
    gone.cancel()
    await asyncio.wait([gone])
    assert not sightings._waiting
