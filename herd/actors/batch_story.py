"""The diaries of a batch that is served in parts, and of its parts.

A client's request is counted once, whatever it was made of: it is in the list of requests, in the store and in the
totals by outcome and endpoint. What ran where is counted of the parts, each of which has a story of its own, found by
its id.
"""

from herd.actors.story import Diary
from herd.actors.traces import Told
from herd.names import canonical
from herd.policy.batches import Split
from herd.protocols import stories
from herd.protocols.headers import Headers, value_of
from herd.protocols.messages import Usage
from herd.protocols.stories import RequestEntry
from herd.types import Outcome, RequestId


class PartDiary(Diary):
    """Of one part."""

    def _broken(self, error: BaseException) -> tuple[Outcome, int | None, str]:
        if not isinstance(error, Exception):
            return Outcome.CANCELLED, None, "the client hung up, another part failed, or the router was stopped"
        return super()._broken(error)

    def _told(self, request: RequestEntry) -> Told:
        told = super()._told(request)
        return Told(told.ticket, told.began, told.request, told.events, part=True)

    def _tell_end(self, told: Told) -> None:
        self._traces.ended.tell(told)
        self._meter.part_ended(told.request)


class BatchDiary(Diary):
    """Of the whole. As long as it is in parts it has no node of its own; in the list it shows theirs."""

    _nodes: str | None = None  # of its parts, in their order
    _model_there: str | None = None
    _edited: tuple[str, ...] = ()
    _parts_waited = 0.0
    split_at = 0.0

    def split(self, plan: Split, ids: list[RequestId]) -> None:
        """It is served in parts from now on."""
        self._nodes = ", ".join([share.place.name for share in plan.shares])
        self.split_at, self._predicted = self._at(), round(plan.seconds, 6)
        event: stories.SplitUp = {
            "kind": "split",
            "at": self.split_at,
            "parts": [
                {"id": one, "node": share.place.name, "inputs": share.last - share.first}
                for one, share in zip(ids, plan.shares, strict=True)
            ],
            "predicted_s": round(plan.seconds, 6),
            "alone_s": round(plan.alone, 6),
        }
        self._note(event)

    def part_answered(self, request_id: RequestId, number: int, status: int, node: str, attempts: int) -> None:
        """One of the parts has its answer."""
        event: stories.PartServed = {
            "kind": "part",
            "at": self._at(),
            "id": request_id,
            "part": number,
            "node": node,
            "status": status,
            "attempts": attempts,
        }
        self._note(event)

    def unsplit(self, why: str) -> None:
        """It begins anew, as if it had never been in parts."""
        self._nodes = self._predicted = None
        event: stories.Unsplit = {"kind": "unsplit", "at": self._at(), "text": why}
        self._note(event)

    def joined(self, headers: Headers, usage: Usage, waited: float) -> None:
        """The client has the answer, which says thus of its way."""
        self._nodes = value_of(headers, "x-herd-node")
        self._attempts = int(value_of(headers, "x-herd-attempts") or 0)
        model = value_of(headers, "x-herd-model")
        self._model_there = None if canonical(model) == canonical(self._model) else model
        edited = value_of(headers, "x-herd-edited")
        self._edited = tuple(edited.split(", ")) if edited else ()
        self._parts_waited = waited
        self._took = round(self._at() - self.split_at, 6)
        self._usage, self._outcome = usage, Outcome.SERVED

    def _line(self, total: float, outcome: Outcome | None, status: int | None) -> RequestEntry:
        line = super()._line(total, outcome, status)
        if self._nodes is None:
            return line
        return {
            **line,
            "node": self._nodes,
            "waited_s": self._parts_waited,
            "edited": self._edited,
            "served_model": self._model_there,
        }

    def _tell_end(self, told: Told) -> None:
        if self._nodes is None:
            super()._tell_end(told)
            return
        self._traces.ended.tell(told)
        nowhere: RequestEntry = {**told.request, "node": None, "attempts": 1}
        self._meter.request_ended(nowhere, self._api, held_s=0.0, moves=0)
        if self._trail is not None:
            self._trail.ended(told)
