"""What the attempts of one request teach: each node is told how the one at it ended, for its breakers."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from herd.actors import names
from herd.actors.delivery import Failed
from herd.actors.ports import Clock
from herd.errors import RequestError, StreamFailed
from herd.policy.breaker import AttemptEnd, Lesson, lesson_of
from herd.policy.values import Candidate
from herd.protocols.messages import Usage
from herd.runtime import ActorDiedError, ActorHandle, ActorUnavailableError
from herd.types import NodeId, Seconds

STALLED = 504  # status of the error when a model server takes nothing of a request


class Attempts:
    """The attempts of one request.

    Args:
        find: an actor by its name; raises ValueError when there is none.
        clock: tells when an attempt began.
        model: canonical name.

    Attributes:
        first_byte: seconds from the beginning of the latest attempt until its answer began to reach the client.
    """

    def __init__(self, find: Callable[[str], ActorHandle], clock: Clock, model: str) -> None:
        self._find = find
        self._clock = clock
        self._model = model
        self.first_byte = Seconds(0.0)
        self._blamed: list[NodeId] = []  # a request that fails again and again at one node teaches no more than once
        self._doubted: list[tuple[NodeId, Seconds]] = []  # said 500; as many as there are attempts

    async def judged(self, node: NodeId, attempt: Awaitable[Usage | Failed]) -> Usage | Failed:
        """The outcome of an attempt, once the node knows of it.

        An attempt that is cancelled teaches nothing. After a failure the node has told the Scorer by the time this
        returns, so that the next placement heeds it.

        Raises:
            Exception: whatever the attempt raises.
        """
        began = self._clock.monotonic()
        try:
            outcome = await attempt
        except StreamFailed as error:  # bytes of its answer are out
            await self._tell(node, lesson_of(error.kind), began)
            raise
        except RequestError as error:
            if error.status == STALLED:
                await self._tell(node, lesson_of("timeout"), began)
            raise
        if isinstance(outcome, Failed):
            status = outcome.answer.status if outcome.answer is not None else 0
            lesson = lesson_of(outcome.failure.kind, status)
            if lesson is Lesson.DOUBTFUL:
                self._doubted.append((node, began))
            await self._tell(node, lesson, began)
        else:
            self._told(node, AttemptEnd(Lesson.ANSWERED if outcome.failed else Lesson.WORKED, began))
        return outcome

    def answering(self, placed: Candidate) -> Callable[[int], None]:
        """Called with the status as soon as an answer to the attempt at a node begins to reach the client."""
        return partial(self._begins, placed.node, placed.trial, self._clock.monotonic())

    def _begins(self, answering: NodeId, trial: bool, began: Seconds, status: int) -> None:
        """With less than a 500: a trial has shown what it should, and others who said 500 to the same are to blame."""
        self.first_byte = Seconds(self._clock.monotonic() - began)
        if status >= 500:
            return
        if trial:
            self._told(answering, AttemptEnd(Lesson.ANSWERED, began))
        doubted, self._doubted = self._doubted, []
        for node, since in doubted:
            if node != answering and node not in self._blamed:
                self._blamed.append(node)
                self._told(node, AttemptEnd(Lesson.FAILED, since))

    async def _tell(self, node: NodeId, lesson: Lesson, began: Seconds) -> None:
        if lesson in {Lesson.FAILED, Lesson.CUT}:
            if node in self._blamed:
                return
            self._blamed.append(node)
        with suppress(ValueError, ActorDiedError, ActorUnavailableError):  # it starts anew, and so do its breakers
            await self._find(names.node(node)).attempted.remote(self._model, AttemptEnd(lesson, began))

    def _told(self, node: NodeId, end: AttemptEnd) -> None:
        """Without waiting for it."""
        with suppress(ValueError):
            self._find(names.node(node)).attempted.tell(self._model, end)
