"""The runtime that Pykka's own tests run on here: actors of this project, on an event loop in a thread of its own.

A plugin of the pytest that runs those tests. It is imported there by its bare name, beside Pykka's package `tests`, so
it may import nothing from ours.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from herd.runtime._pykka import LoopFuture
from herd.runtime.actor import AsyncioActor

NAME = "asyncio"

# Made before any test runs: Pykka's tests count what is logged, and asyncio logs the making of a loop. In debug mode it
# would log slow callbacks too, and handlers that block are what some of those tests are about.
LOOP = asyncio.new_event_loop()
LOOP.set_debug(False)
THREAD = threading.Thread(target=LOOP.run_forever, name="actors", daemon=True)
THREAD.start()


class ThreadsafeStartActor(AsyncioActor):
    """An AsyncioActor that may be started from any thread, as Pykka's actors are; it runs on `LOOP`."""

    def _start_actor_loop(self) -> None:
        start = super()._start_actor_loop
        if threading.current_thread() is THREAD:  # started by another actor
            start()
        else:
            asyncio.run_coroutine_threadsafe(_call(start), LOOP).result()


async def _call(function: Callable[[], None]) -> None:
    function()


def add(runtimes: dict[str, Any], runtime_type: Callable[..., Any]) -> None:
    """Add this runtime to the table of Pykka's conftest, whose entries hold a `runtime_type`."""
    runtime = runtime_type(
        name=NAME,
        actor_class=ThreadsafeStartActor,
        event_class=threading.Event,
        future_class=LoopFuture,
        sleep_func=time.sleep,
    )
    runtimes[NAME] = pytest.param(runtime, id=NAME)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the tests that run on this runtime."""
    chosen = [item for item in items if _runtime_of(item) == NAME]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _runtime_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else getattr(callspec.params.get("runtime"), "name", None)
