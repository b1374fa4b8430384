"""The two ends of a command on a link: what the router waits for, and what an agent has under way."""

import asyncio
import logging
from collections.abc import Callable

from herd.actors.ports import Obey
from herd.errors import LinkClosed
from herd.protocols.messages import Command, Result

logger = logging.getLogger(__name__)

# Of one link. A node loads one model at a time, so what is beyond comes of a router that has lost count.
MAX_UNDER_WAY = 16


async def unable(command: Command) -> Result:
    """Obeys no command; implements the port `Obey`."""
    return Result(command.id, False, text="this node takes no commands")


class Unanswered:
    """The commands of one link that no Result has come for, at the router."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Result]] = {}  # at most as many as NodeProxies wait for

    async def wait(self, command: Command, send: Callable[[Command], None]) -> Result:
        """Send a command and wait for its result. Whoever waits no longer is cancelled.

        Raises:
            LinkClosed: the link has ended.
            UnsendableError: the command is longer than a frame.
            ValueError: the id is under way already.
        """
        if command.id in self._waiting:
            raise ValueError(f"a command {command.id} is under way already")
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[command.id] = answer
        try:
            send(command)
            return await answer
        finally:
            del self._waiting[command.id]

    def heard(self, result: Result) -> None:
        """A result came in; one that nobody waits for is passed over."""
        answer = self._waiting.get(result.id)
        if answer is not None and not answer.done():
            answer.set_result(result)

    def lost(self, why: str) -> None:
        """The link is gone."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkClosed(f"the link to the node was lost: {why}"))


class UnderWay:
    """The commands that an agent carries out for one link; they end with it.

    Args:
        obey: carries one out.
        answer: sends a result.
    """

    def __init__(self, obey: Obey, answer: Callable[[Result], None]) -> None:
        self._obey = obey
        self._answer = answer
        self._tasks: dict[asyncio.Task[None], None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, command: Command) -> None:
        """Carry a command out, in a task of its own."""
        if len(self._tasks) >= MAX_UNDER_WAY:
            self._answer(Result(command.id, False, text=f"this node has {MAX_UNDER_WAY} commands under way already"))
            return
        task = asyncio.create_task(self._carry_out(command), name=f"command {command.id}")
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    def end(self) -> None:
        """Nobody waits for the results any more."""
        for task in list(self._tasks):
            task.cancel()

    async def _carry_out(self, command: Command) -> None:
        try:
            result = await self._obey(command)
        except Exception:
            logger.exception("command %d failed in the agent", command.id)
            result = Result(command.id, False, text="the agent failed; its log says why")
        self._answer(result)
