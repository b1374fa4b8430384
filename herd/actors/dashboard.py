"""The Dashboard: has a live view on this process's terminal, and has it back when it was killed."""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from herd.actors import names
from herd.actors.ports import Clock
from herd.errors import HerdError
from herd.runtime import ActorDiedError, ActorUnavailableError, RestartPolicy, Supervisor, Timer, context, remote
from herd.runtime.restarts import RestartHistory

logger = logging.getLogger(__name__)

CLOSED = 0  # the status of a view that the person closed
# Of one that Ctrl-C ended, which this process is told as well: 128 and SIGINT's number as shells count, or by it.
INTERRUPTED = frozenset({128 + signal.SIGINT, -signal.SIGINT})

# A view that was killed once comes back at once; one that cannot live here is not tried for ever, for each try draws
# over what the person reads.
TRIES = RestartPolicy(max_restarts=3, window=60.0, backoff=1.0, jitter=0.0)

ASK_AGAIN_S = 1.0  # an actor that crashed is back by then, mostly, and a view can do without it for so long

Documents = Callable[[], AsyncGenerator[bytes]]


class View(Protocol):
    """A live view: a process of its own that draws on this process's terminal."""

    async def open(self, ended: Callable[[int], None]) -> None:
        """Start it. `ended` hears its exit status, negative for a signal, unless it ends because of `close`.

        Raises:
            HerdError: it cannot be started here and now.
        """

    async def send(self, line: bytes) -> None:
        """Hand it a line, and wait until it has room for another. Raises HerdError when it is gone."""

    async def close(self) -> None:
        """End it, if it runs; when this returns, the terminal is as it was before. Idempotent."""


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """What a Dashboard is told.

    Attributes:
        again: a sentence that says how a person gets a view back.
        documents: the lines that the view is told, each asked for when it has taken the one before; None: it finds out
            by itself what it shows.
    """

    again: str
    documents: Documents | None = None


class Dashboard:
    """Owns the view: opens it, hears how it ended, and opens it again unless a person wanted that.

    Args:
        view: the child process.
        clock: says how often it ended of late.
        options: what it is told.
    """

    def __init__(self, view: View, clock: Clock, options: DashboardOptions) -> None:
        self._view = view
        self._clock = clock
        self._options = options
        self._ends = RestartHistory(TRIES)
        self._telling: asyncio.Task[None] | Timer | None = None

    async def on_start(self) -> None:
        """Take the terminal."""
        await self.open()

    async def on_stop(self) -> None:
        """Give the terminal back."""
        await self._view.close()

    async def on_failure(self, *_crash: object) -> None:
        """Give the terminal back, which the next incarnation takes again."""
        await self._view.close()

    async def open(self) -> None:
        """Open the view, and begin to tell it what there is to tell."""
        try:
            await self._view.open(context(self).handle.ended.tell)
        except HerdError as error:
            self._try_again(f"cannot be opened ({error})")
        else:
            self._begin_to_tell()

    def ended(self, status: int) -> None:
        """The view has ended by itself; its exit status, negative for a signal."""
        if self._telling is not None:
            self._telling.cancel()
        if status == CLOSED:
            logger.info("the dashboard is closed; %s", self._options.again)
        elif status not in INTERRUPTED:
            self._try_again(f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}")

    def _try_again(self, how: str) -> None:
        """In a while; or never, when that has happened too often."""
        wait = self._ends.crashed(self._clock.monotonic(), lambda: 0.0)
        if wait is None:
            logger.warning("the dashboard %s again and again: it is given up; %s", how, self._options.again)
        else:
            logger.warning("the dashboard %s: it is opened again", how)
            context(self).after(wait, self.open)

    def _begin_to_tell(self) -> None:
        if self._options.documents is not None:
            self._telling = context(self).spawn(self._tell(self._options.documents), name="tell the view")

    async def _tell(self, documents: Documents) -> None:
        """One line after the other, as the view takes them. One that is stopped holds up this task and nothing else."""
        try:
            async with aclosing(documents()) as lines:
                async for line in lines:
                    await self._view.send(line)
        except HerdError:
            logger.debug("the view takes nothing any more: `ended` hears why")
        except (ActorDiedError, ActorUnavailableError):
            self._telling = context(self).after(ASK_AGAIN_S, self._begin_to_tell)


@asynccontextmanager
async def running_dashboard(view: View, clock: Clock, options: DashboardOptions) -> AsyncIterator[None]:
    """Have a live view until the block ends. A process can do without one: whatever becomes of it, the block goes on.

    Args:
        view: the child process.
        clock: of this process.
        options: what the Dashboard is told.
    """
    async with Supervisor() as optional:
        optional.start(remote(Dashboard).options(name=names.DASHBOARD), view, clock, options)
        yield
