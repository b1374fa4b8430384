"""Where one request goes: to a node that can serve the first of its models that any can, or into the pen until then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from herd.actors.attempts import Attempts
from herd.actors.delivery import Failed, WholeAnswer
from herd.actors.holding_pen import Hold, HoldEnd
from herd.actors.ports import Clock
from herd.actors.story import Diary
from herd.errors import RequestError
from herd.policy.holding import Patience, hold_for, worth_waiting_for
from herd.policy.placement import hopeless, why_hopeless, why_none
from herd.policy.retrying import MAX_ATTEMPTS, MAX_PLACEMENTS
from herd.policy.values import Ask, Candidate, Decision, Ticket
from herd.protocols.refusals import BUSY, unequipped, unknown
from herd.runtime import ActorHandle, ActorUnavailableError
from herd.types import Api, Bytes, NodeId, Seconds


def unavailable(text: str) -> RequestError:
    """It cannot be served now, but soon may be."""
    return RequestError(text, status=503)


@dataclass(slots=True)
class Choice:
    """One of the models that a request may be served by, and what came of it."""

    model: str  # canonical name
    attempts: Attempts
    broke: list[NodeId] = field(default_factory=list)  # on this request: again only when nobody else can
    full: list[NodeId] = field(default_factory=list)  # its queue there


@dataclass(slots=True)
class Tried:
    """What has been tried for one request, whichever model with, and what came of it."""

    attempts: int = 0
    placements: int = 0
    gone: list[NodeId] = field(default_factory=list)  # could not be reached: not again before the next hold ends
    last: Failed | None = None
    first_500: WholeAnswer | None = None
    sent: bool = False  # the request went to a node in its latest attempt
    retries: bool = False  # the next attempt is one that the fleet has to afford
    over_budget: bool = False
    held: bool = False  # since its latest placement: what wakes it is for others if it goes now

    @property
    def said(self) -> WholeAnswer | None:
        """What to tell the client when nobody serves it: the first 500, which may be its own fault, else the latest."""
        return self.first_500 or (self.last.answer if self.last is not None else None)


@dataclass(slots=True, kw_only=True)
class Placing:
    """The placements of one request, and its stays in the pen.

    Every placement begins with the first model again: a later one serves while no node can serve those before it, or
    their queues are full, or they have failed.
    """

    scorer: ActorHandle
    pen: ActorHandle
    clock: Clock
    diary: Diary
    ticket: Ticket
    patience: Patience
    size: Bytes  # of the body, in memory
    sent: str  # the model as the client named it, and is told of it
    api: Api  # that was asked
    choices: tuple[Choice, ...]  # the models, the first choice first
    ask: Callable[[Choice], Ask]  # what the request needs of a node now, by model
    tried: Tried = field(default_factory=Tried)
    chosen: int = 0  # of the choices: that of its latest placement

    @property
    def choice(self) -> Choice:
        """The model that it is placed for."""
        return self.choices[self.chosen]

    async def place(self) -> Candidate | None:
        """The winner; None when there is none and what has been tried must do. Raises RequestError."""
        tried = self.tried
        while tried.attempts < MAX_ATTEMPTS and tried.placements < MAX_PLACEMENTS:
            tried.placements += 1
            decisions = await self._decisions()
            winner = decisions[-1].chosen
            if winner is not None:
                self._placed(len(decisions) - 1)
                return winner
            broke = any(choice.broke for choice in self.choices)
            full = any(choice.full for choice in self.choices)
            tried.over_budget = decisions[-1].over_budget
            if tried.over_budget or (tried.said is not None and (broke or full)):
                return None  # the backend's own words are the best answer there is
            if full:
                raise unavailable(BUSY)
            if broke:
                for choice in self.choices:
                    choice.broke.clear()
                continue
            await self._hold(decisions)
        return None

    async def _decisions(self) -> Sequence[Decision]:
        """Of each model until one that is placed: of all of them when none is, or until the fleet cannot afford it."""
        decisions: Sequence[Decision]
        if len(self.choices) == 1:
            decisions = (await self.scorer.place.remote(self.ask(self.choices[0]), self.ticket),)
            self.diary.placed(decisions[0])
        else:
            asks = tuple([self.ask(choice) for choice in self.choices])
            decisions = await self.scorer.place_first.remote(asks, self.ticket)
            for choice, decision in zip(
                self.choices, decisions, strict=False
            ):  # those after the one that it is placed for
                self.diary.placed(decision, choice.model)
        return decisions

    def _placed(self, chosen: int) -> None:
        self.chosen = chosen
        self.tried.retries = False  # paid for, however often it is placed again
        if self.tried.held and len(self.choices) > 1:  # perhaps for another model than that which woke it
            self.pen.passed.tell(self.ticket.id, self.choice.model)
        self.tried.held = False

    async def _hold(self, decisions: Sequence[Decision]) -> None:
        """Wait for a change of the fleet that may help. Raises RequestError when there is no point, or no time."""
        tried = self.tried
        awaited = worth_waiting_for(decisions)
        wait = Seconds(0.0)
        if awaited is not None:
            wait = hold_for(awaited, self.patience, self.clock.monotonic(), away=bool(tried.gone))
        if awaited is None or not wait:
            raise self._refusal(decisions, awaited)
        models = tuple([choice.model for choice in self.choices])
        hold = Hold(self.ticket, models, awaited.version, self.size, wait)
        self.diary.held(wait)
        tried.held = True
        try:
            end: HoldEnd = await self.pen.hold.remote(hold)
            tried.placements = 0  # it has waited: how often that may happen is up to its deadline
        except ActorUnavailableError:
            end = HoldEnd.UNLOCKED  # the pen crashed: whether it is worth waiting still is found out anew
        self.diary.woken(end)
        if end is HoldEnd.FULL:
            raise unavailable(f"no node can serve {self.sent} now, and the router holds as many requests as it may")
        if end is HoldEnd.CLOSED:
            raise unavailable("the router is shutting down")
        # Unlocked or out of time: the next placement decides, by the states and for the reasons that hold then.
        tried.gone.clear()

    def _refusal(self, decisions: Sequence[Decision], awaited: Decision | None) -> RequestError:
        """Nobody can serve it, and there is nothing to wait for, or no time left."""
        if awaited is not None and awaited.known:
            return unavailable(f"no node can serve {self.sent} now: {self._why_none(decisions)}")
        for choice, decision in zip(self.choices, decisions, strict=False):
            if hopeless(decision) is not None:
                model = self.sent if choice is self.choices[0] else choice.model
                return RequestError(f"no node can do this with {model}: {why_hopeless(decision)}", status=400)
        if all(decision.unequipped for decision in decisions):
            first = decisions[0]
            return unavailable(unequipped(self.api, len(first.eliminated), heard=first.complete))
        return unknown(self.api, self.sent)

    def _why_none(self, decisions: Sequence[Decision]) -> str:
        if len(decisions) == 1:
            return why_none(decisions[0])
        pairs = zip(self.choices, decisions, strict=True)
        return ", ".join([f"{choice.model} ({why_none(decision)})" for choice, decision in pairs])
