"""Who waits for a node to report what has just happened to a model there."""

import asyncio
from enum import StrEnum

from herd.policy.values import NodeView
from herd.types import Seconds


class Sight(StrEnum):
    """How a model is to be reported."""

    LISTED = "listed"
    UNLOADED = "unloaded"  # not in memory, if it is there at all
    GONE = "gone"


# An agent looks at once, which takes milliseconds; a model server that is busy answers within 5 s, or late.
LISTED_S = Seconds(10.0)
# What still answers stays in memory until it is done, and nobody is to wait for that.
UNLOADED_S = Seconds(3.0)

_LONGEST = {Sight.LISTED: LISTED_S, Sight.UNLOADED: UNLOADED_S, Sight.GONE: UNLOADED_S}


class Sightings:
    """State of a Node."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], tuple[str, Sight]] = {}

    async def wait(self, view: NodeView, model: str, sight: Sight) -> bool:
        """Wait for a report with a model (by canonical name) as it shall be; False when none has come in time."""
        if _is(view, model, sight):
            return True
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[seen] = (model, sight)
        try:
            async with asyncio.timeout(_LONGEST[sight]):
                await seen
        except TimeoutError:
            return False
        finally:
            del self._waiting[seen]
        return True

    def changed(self, view: NodeView) -> None:
        """The node has reported."""
        for seen, (model, sight) in self._waiting.items():
            if not seen.done() and _is(view, model, sight):
                seen.set_result(None)


def _is(view: NodeView, model: str, sight: Sight) -> bool:
    found = view.models.get(model)
    match sight:
        case Sight.LISTED:
            return found is not None
        case Sight.UNLOADED:
            return found is None or not found.resident
        case Sight.GONE:
            return found is None
