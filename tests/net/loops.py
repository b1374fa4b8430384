"""Runs tests of sockets on every event loop that Herd runs on, and fails them for errors that nobody saw."""

import asyncio
import functools
import gc
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

if sys.platform == "win32":
    LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    import uvloop

    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

# What hangs is a failure. Nothing that works comes near it, on the slowest machine either.
HANGS_S = 40.0


def on_every_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Decorator: an async test runs once on each loop. Tasks that are left, and exceptions nobody fetched, fail it."""

    @functools.wraps(test)
    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        gc.freeze()  # what was there before this test need not be searched
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            unseen: list[dict[str, Any]] = []
            runner.get_loop().set_exception_handler(lambda _, context: unseen.append(context))
            runner.run(_checked(test(**fixtures)))
            gc.collect()  # futures complain when they are collected
            gc.unfreeze()
            assert unseen == []

    signature = inspect.signature(test)
    factory = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), factory], return_annotation=None
    )
    pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)(run)  # marks the function itself
    return run


async def _checked(test: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(HANGS_S):
        await test
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(10):  # tasks that are ending may take a few turns to do so
            await asyncio.sleep(0)
        left = {task for task in others if not task.done()}
        assert left == set(), "tasks are left over"


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds: for what shows only in a state."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
