"""Who sees how an agent stands, and how often: the desk, whose file may lie on a memory card, and live views."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace

from herd.actors.desk import AgentDesk, AgentStatus, ShownModel, ShownWork, document
from herd.actors.ports import Clock
from herd.runtime import ActorHandle, Timer
from herd.types import Seconds

FRAME_S = 0.25  # between two looks of a view: more often nobody reads
# What runs changes many times a second. To write that down each time would wear out memory cards.
REWRITE_S = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """How the agent stood when it was asked."""

    number: int  # another one than before where anything has changed
    status: AgentStatus


class Showing:
    """State of the Agent.

    Args:
        desk: where people look; None: nobody does.
        clock: when.
        status: how the agent stands now.
        after: has something called so many seconds later.
    """

    def __init__(
        self,
        desk: AgentDesk | None,
        clock: Clock,
        status: Callable[[], AgentStatus],
        after: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._status = status
        self._after = after
        self._number = 1
        self._waiting: dict[asyncio.Future[None], None] = {}  # one of each view
        self._framed = -math.inf  # when the views were told last
        self._frame: Timer | None = None
        self._shown: AgentStatus | None = None  # on the desk
        self._weighed: AgentStatus | None = None  # of that, what weighs
        self._written = -math.inf  # when
        self._rewrite: Timer | None = None

    def changed(self) -> None:
        """The agent may stand otherwise than before: the desk shows it at once, if it does."""
        self.moved()
        if self._desk is not None:
            status = self._status()
            if (weighty := _weighty(status)) != self._weighed:
                self._weighed = weighty
                self._show(self._desk, status)

    def worked(self) -> None:
        """A request began or ended: the desk shows it in a while."""
        self.moved()
        if self._desk is not None and self._rewrite is None:
            self._show_later()

    def moved(self) -> None:
        """Something is a little otherwise, which only views show."""
        self._number += 1
        if self._waiting:
            self._frame_soon()

    async def after(self, number: int) -> Shown:
        """How the agent stands, as soon as that is not what it was at `number` any more; with 0 at once."""
        if number:
            seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[seen] = None
            try:
                if number != self._number:
                    self._frame_soon()
                await seen
            finally:
                del self._waiting[seen]
        return Shown(self._number, self._status())

    def _frame_soon(self) -> None:
        if self._frame is None:
            self._frame = self._after(max(0.0, self._framed + FRAME_S - self._clock.monotonic()), self._tell_views)

    def _tell_views(self) -> None:
        self._frame = None
        self._framed = self._clock.monotonic()
        for seen in self._waiting:
            if not seen.done():
                seen.set_result(None)

    def _show(self, desk: AgentDesk, status: AgentStatus) -> None:
        self._shown, self._written = status, self._clock.monotonic()
        desk.show(status)
        if status.work.tokens_per_s and self._rewrite is None:  # which may be less by then
            self._show_later()

    def _show_later(self) -> None:
        self._rewrite = self._after(max(0.0, self._written + REWRITE_S - self._clock.monotonic()), self._show_work)

    def _show_work(self) -> None:
        self._rewrite = None
        status = self._status()
        if self._desk is not None and (self._shown is None or status.work != self._shown.work):
            self._weighed = _weighty(status)
            self._show(self._desk, status)


def _weighty(status: AgentStatus) -> AgentStatus:
    """Without what changes all the time."""
    # A step is seen every 2 s at most, and only while an image is made.
    models = tuple(
        [
            ShownModel(model.name, model.backend, model.resident, step=model.step, steps=model.steps)
            for model in status.models
        ]
    )
    return replace(
        status,
        models=models,
        work=ShownWork(),
        machine=None,
        owner_load=None,
        week_slot=None,
        at=Seconds(0.0),
    )


async def documents(agent: ActorHandle, about: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """How an agent stands, for a view: a line of JSON at once, and one whenever something has changed since the last
    one was asked for, at most 4 a second. Costs nothing while nobody asks.

    Args:
        agent: the Agent.
        about: what else is shown of it, and does not change.

    Raises:
        ActorDiedError: it has ended.
        ActorUnavailableError: it starts anew.
    """
    number = 0
    while True:
        shown: Shown = await agent.status_after.remote(number)
        number = shown.number
        yield document(shown.status, about)
