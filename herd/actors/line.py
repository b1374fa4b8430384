"""How one request stands in line: it asks the queue of its node for a lease, and goes where that sends it."""

from collections.abc import Callable
from dataclasses import dataclass

from herd.actors import names
from herd.actors.ports import Clock
from herd.actors.story import Diary
from herd.policy.calibration import Check, Prediction, predicted
from herd.policy.retrying import MAX_PLACEMENTS
from herd.policy.values import Candidate, Lease, Moved, Reason, Refused, Ticket
from herd.runtime import ActorDiedError, ActorHandle, ActorUnavailableError
from herd.types import Seconds

GONE = Reason("queue-gone", "has no such queue any more")
# Whoever waited for less finds the model as it was when the request was placed: no load is as quick.
WAITED_S = 0.01
RESTLESS = Reason("moved", "has sent it on too often")


@dataclass(frozen=True, slots=True)
class InLine:
    """How it ended, and the node where it did: that to which the request was moved last."""

    placed: Candidate
    answer: Lease | Refused


class Line:
    """The waits of one request in queues. It is in one queue at a time, if in any.

    Args:
        find: an actor by its name; raises ValueError when there is none.
        scorer: told when the request begins, and where.
        clock: measures the waits.
        ticket: the request's, in every queue.
        diary: told of every step.

    Attributes:
        waited: seconds in queues, all of them together.
        moves: from queue to queue.
        prediction: of the node that it was placed at or moved to last; None: nothing was predicted there.
    """

    def __init__(
        self, find: Callable[[str], ActorHandle], scorer: ActorHandle, clock: Clock, ticket: Ticket, diary: Diary
    ) -> None:
        self._find = find
        self._scorer = scorer
        self._clock = clock
        self._ticket = ticket
        self._diary = diary
        self._sent_away = False  # a queue has answered without a lease, by the router's own decision
        self.queue: ActorHandle | None = None  # which has, or may have, the ticket
        self.waited = Seconds(0.0)
        self.moves = 0
        self.prediction: Prediction | None = None

    async def acquire(self, placed: Candidate, model: str) -> InLine:
        """A lease of the node that the request is placed at, or is moved to; or why it must be placed again.

        Args:
            placed: where.
            model: for which model, by canonical name.
        """
        queue = names.model_queue(placed.node, model)
        self._expect(placed)
        self._diary.queued()
        for _ in range(MAX_PLACEMENTS):
            answer = await self._ask(queue)
            if isinstance(answer, Lease):
                self._scorer.started.tell(self._ticket.id, placed.node)
                if answer.waited >= WAITED_S:
                    placed = await self._scorer.edited.remote(self._ticket.id, placed)
                self._diary.granted(placed.name, answer)
                return InLine(placed, answer)
            self.leave()
            if isinstance(answer, Refused):
                self._sent_away |= answer.reason.kind != "queue-full"
                self._diary.refused(placed.name, answer.reason)
                return InLine(placed, answer)
            self._sent_away = True
            self.moves += 1
            queue, placed = answer.queue, answer.placed
            self._expect(placed)
            self._diary.moved(placed, queue)
        self._diary.refused(placed.name, RESTLESS)
        return InLine(placed, Refused(RESTLESS))

    def _expect(self, placed: Candidate) -> None:
        seconds = predicted(placed)
        self.prediction = None if seconds is None else Prediction(seconds, self._clock.monotonic())

    def check(self) -> Check | None:
        """The whole answer is there: what had been predicted, and how long it took."""
        if self.prediction is None:
            return None
        return Check(self.prediction.seconds, Seconds(self._clock.monotonic() - self.prediction.at))

    async def _ask(self, queue: str) -> Lease | Moved | Refused:
        began = self._clock.monotonic()
        try:
            self.queue = self._find(queue)
            answer: Lease | Moved | Refused = await self.queue.acquire.remote(self._ticket, self._sent_away)
        except (ValueError, ActorDiedError, ActorUnavailableError):
            answer = Refused(GONE)
        # What a lease was waited for the queue knows; the time of the messages is no wait.
        here = answer.waited if isinstance(answer, Lease) else self._clock.monotonic() - began
        self.waited = Seconds(self.waited + here)
        return answer

    def leave(self) -> None:
        """Always told, whatever the queue answered: a lease granted while the client hung up comes back this way."""
        queue, self.queue = self.queue, None
        if queue is not None:
            queue.release.tell(self._ticket.id)
