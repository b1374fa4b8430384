"""What people are told of a node: each thing once, whatever path it comes by."""

from collections.abc import Callable
from typing import Any

from herd.actors import news
from herd.actors.breakers import LINK, MAX_BREAKERS
from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.policy.liveness import HEARTBEAT_S
from herd.policy.values import Circuit, NodeView
from herd.protocols.happenings import HappeningKind, LoadCause
from herd.runtime import Timer
from herd.types import NodeState

# A node that is back before it would have said anything was not away.
AWAY_S = HEARTBEAT_S
# Loads that were ordered on one node and have not shown: one at a time is, and is forgotten when the node joins anew.
MAX_ORDERED = 64

_WHY = {LoadCause.REQUEST: "", LoadCause.QUEUE: " ahead of those who wait", LoadCause.HOME: ", its home"}

_UNKNOWN = frozenset((NodeState.OFFLINE, NodeState.JOINING))  # what it has, and how it is, is not known


class Herald:
    """Knows what people were told of a node, and tells them what is otherwise now.

    Args:
        clock: of the happenings.
        later: calls a function after so many seconds, for as long as the Node lives.
    """

    def __init__(self, clock: Clock, later: Callable[[float, Callable[[NodeView], None], NodeView], Timer]) -> None:
        self._clock = clock
        self._later = later
        self._there = False
        self._leaving: Timer | None = None
        self._halted = ""  # the kind of the reason for which it takes no requests
        self._failing: dict[str, None] = {}  # models that are left alone, and perhaps LINK
        self._ordered: dict[str, LoadCause] = {}  # loads that the router has asked for

    def changed(self, before: NodeView, view: NodeView) -> None:
        """The node is otherwise than it was."""
        self._comes_or_goes(view)
        if view.state in _UNKNOWN:
            return
        self._halts(view)
        self._fails(LINK, view.breaker.circuit, view)
        for model, seen in view.models.items():
            self._fails(model, seen.breaker.circuit, view)
            was = before.models.get(model)
            if was is None or was.resident == seen.resident or was.backend != seen.backend:
                continue  # a model that is new, or another server's, was not loaded by that
            if before.state not in _UNKNOWN:
                self._loaded(model, view) if seen.resident else self._evicted(model, view)

    def load_ordered(self, model: str, cause: LoadCause) -> None:
        """The router asks the node to load a model (by canonical name) that it does not have in memory."""
        self._ordered[model] = cause
        keep_latest(self._ordered, MAX_ORDERED)

    def load_failed(self, model: str, text: str, view: NodeView) -> None:
        """What the router asked for has ended without the model in memory."""
        self._ordered.pop(model, None)
        self._tell(HappeningKind.LOAD_FAILED, view, f"did not load {model}: {text}", model=model)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _comes_or_goes(self, view: NodeView) -> None:
        if view.state is NodeState.OFFLINE:
            if self._there and self._leaving is None:
                self._leaving = self._later(AWAY_S, self._left, view)
            return
        if view.state is NodeState.JOINING:  # its link is a new one, and so is its breaker
            self._failing.pop(LINK, None)
            self._ordered.clear()
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        elif not self._there:
            self._tell(HappeningKind.JOINED, view, "has joined")
        self._there = True

    def _left(self, view: NodeView) -> None:
        self._there, self._leaving, self._halted = False, None, ""
        self._failing.clear()
        self._tell(HappeningKind.LEFT, view, view.reasons[0].text)

    def _halts(self, view: NodeView) -> None:
        """It takes no requests any more, or takes some again."""
        halted = ""
        if view.state in {NodeState.PAUSED, NodeState.DRAINING}:
            halted = view.reasons[0].kind
        if halted in {self._halted, "draining"}:  # the latter says that it is about to leave, as it will
            return
        self._halted = halted
        if not halted:
            self._tell(HappeningKind.RESUMED, view, "takes requests again")
        elif view.state is NodeState.DRAINING:
            self._tell(HappeningKind.DRAINED, view, view.reasons[0].text)
        else:
            text = view.reasons[0].text
            said = text if text.startswith("is paused") else f"is paused: it {text}"
            self._tell(HappeningKind.PAUSED, view, said, cause=halted)

    def _fails(self, model: str, circuit: Circuit, view: NodeView) -> None:
        """A breaker has opened, or has closed; one that opens again after a trial was never closed."""
        if circuit is Circuit.OPEN and model not in self._failing:
            self._failing[model] = None
            keep_latest(self._failing, MAX_BREAKERS)
            what = f"fails again and again with {model}" if model else "fails again and again"
            self._tell(HappeningKind.BREAKER_OPENED, view, f"{what}: it is left alone for a while", model=model)
        elif circuit is Circuit.CLOSED and model in self._failing:
            del self._failing[model]
            what = f"serves {model} again" if model else "serves again"
            self._tell(HappeningKind.BREAKER_CLOSED, view, what, model=model)

    def _loaded(self, model: str, view: NodeView) -> None:
        cause = self._ordered.pop(model, LoadCause.REQUEST)
        kind = HappeningKind.LOADED if cause is LoadCause.REQUEST else HappeningKind.PRE_WARMED
        text = f"{model} is loaded on {view.name}{_WHY[cause]}"
        news.happened(kind, self._clock, text, node=view.name, model=model, cause=cause)

    def _evicted(self, model: str, view: NodeView) -> None:
        text = f"{model} has left the memory of {view.name}"
        news.happened(HappeningKind.EVICTED, self._clock, text, node=view.name, model=model)

    def _tell(self, kind: HappeningKind, view: NodeView, what: str, **more: Any) -> None:
        news.happened(kind, self._clock, f"{view.name} {what}", node=view.name, **more)
