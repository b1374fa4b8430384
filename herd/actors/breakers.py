"""The breakers of one node: that of its link, and those of the models that have failed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from herd.actors.tables import keep_latest
from herd.policy.breaker import AttemptEnd, Breaker, link_heeds, model_heeds
from herd.policy.values import CLOSED, BreakerState, Circuit, ModelView
from herd.types import BackendId, Seconds

# A heartbeat lists no more models. Those of a server that is down are kept, so that one which dies of every request is
# not met as if it had never failed.
MAX_BREAKERS = 2000

LINK = ""  # in place of a model's name


@dataclass(frozen=True, slots=True)
class Pause:
    """A breaker has opened: the owner of the table says `pause_over` after so long."""

    model: str  # canonical name, or LINK
    lasts: Seconds
    since: Seconds  # monotonic


class Breakers:
    """A table of breakers. One that is closed and without a failure needs no place in it.

    Attributes:
        link: the breaker of the node's link.
    """

    def __init__(self) -> None:
        self.link = Breaker()
        self._models: dict[str, tuple[BackendId, Breaker]] = {}

    def models(self) -> dict[str, Breaker]:
        """Those of models, by canonical name."""
        return {model: breaker for model, (_, breaker) in self._models.items()}

    def standing(self, model: str) -> tuple[BreakerState, BreakerState]:
        """How the breakers of the link and of a model stand for routing."""
        _, breaker = self._models.get(model, (None, None))
        return self.link.state, breaker.state if breaker is not None else CLOSED

    def joined(self, now: Seconds) -> None:
        """There is a new link: what went wrong on the one before says nothing of it."""
        self.link = Breaker(since=now)

    def heed(self, model: str, view: ModelView | None, end: AttemptEnd, now: Seconds, wall: Seconds) -> list[Pause]:
        """An attempt at a model has ended.

        Args:
            model: canonical name.
            view: the model; None when the node has it no more.
            end: of the attempt.
            now: monotonic.
            wall: the same on the wall clock.

        Returns:
            The pauses that begin.
        """
        began: list[Pause] = []
        before, self.link = self.link, link_heeds(self.link, end, now, wall)
        if _opens(before, self.link):
            began.append(Pause(LINK, self.link.pause, now))
        backend, before = self._models.get(model, (None, Breaker()))
        if backend is None:
            if view is None:
                return began
            backend = view.backend
        after = model_heeds(before, end, now, wall)
        if _opens(before, after):
            began.append(Pause(model, after.pause, now))
        if after.circuit is Circuit.CLOSED and not after.failures:
            self._models.pop(model, None)
        elif after != before:
            self._models[model] = backend, after
            keep_latest(self._models, MAX_BREAKERS)
        return began

    def pause_over(self, model: str, since: Seconds) -> None:
        """The pause that began then is over."""
        if model == LINK:
            self.link = self.link.pause_over(since)
        elif model in self._models:
            backend, breaker = self._models[model]
            self._models[model] = backend, breaker.pause_over(since)

    def reported(
        self, before: Mapping[str, ModelView], after: Mapping[str, ModelView], servers: Collection[BackendId]
    ) -> None:
        """The node's models have changed: what is gone, or served by another server, has no breaker any more.

        Args:
            before: what the node had, by canonical name.
            after: what it has.
            servers: those that answer; what others had they have still, and is kept.
        """
        for model, (backend, breaker) in list(self._models.items()):
            view = after.get(model)
            if (view is None and backend in servers) or (view is not None and view.backend != backend):
                del self._models[model]
            elif view is not None and model not in before:
                self._models[model] = backend, breaker.returned()

    def shown(self, models: Mapping[str, ModelView]) -> dict[str, ModelView]:
        """The models with how their breakers stand."""
        return {
            model: replace(view, breaker=self._models[model][1].state) if model in self._models else view
            for model, view in models.items()
        }


def _opens(before: Breaker, after: Breaker) -> bool:
    return after.circuit is Circuit.OPEN and after != before
