"""`GET /herd/v1/events`: a stream to each of those who watch."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from herd.actors import names
from herd.actors.feed import NOTHING, Update
from herd.actors.picture import Find
from herd.actors.placing import unavailable
from herd.actors.ports import HttpRequest, Sink
from herd.protocols.live import STILL_HERE, Topic, event, topics_of
from herd.types import KiB, RequestId

logger = logging.getLogger(__name__)

# Dashboards and web pages in a house; each costs a connection, and at most one document that its reader has not taken.
MAX_WATCHERS = 64
# Of these from one address: nobody else is to lose a place to a program that opens stream after stream. This machine
# has as many of its own, beside the others, so that the router's own dashboard is always let in.
MAX_OF_ONE = 16
# A reader that has taken not even this little for so long is asleep, or was stopped: it comes back to a new stream, and
# until then others have its place. When a router stops, what it answers has twice as long.
PIECE, UNREAD_S = 64 * KiB, 15.0

_HERE = ""  # no address
_HEAD = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"))


class Watching:
    """Whoever watches now, by address. `find` finds actors by name."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._watchers: Counter[str] = Counter()

    async def stream(self, request_id: RequestId, request: HttpRequest, sink: Sink, *, here: bool) -> None:
        """Tell the client what is new, until it leaves, reads no more, or the router stops.

        Args:
            request_id: told to the client.
            request: says which topics.
            sink: the client.
            here: it is on this machine.

        Raises:
            RequestError: 400 for a topic that there is not, 503 when too many watch already.
        """
        seen: Mapping[Topic, int] = dict.fromkeys(topics_of(request.query), NOTHING)
        whose = _HERE if here else request.peer
        self._check_room(whose)
        self._watchers[whose] += 1
        try:
            await sink.start(200, (*_HEAD, ("X-Request-Id", str(request_id))))
            await self._tell(Update((), seen), sink)
        except TimeoutError:
            logger.info("request %s reads nothing of what it watches: it is cut off", request_id)
            sink.abort()
        finally:
            self._watchers[whose] -= 1
            if not self._watchers[whose]:
                del self._watchers[whose]

    def _check_room(self, whose: str) -> None:
        if self._watchers[whose] >= MAX_OF_ONE:
            raise unavailable(f"{MAX_OF_ONE} watch this router from there already: close a dashboard or a page")
        if whose != _HERE and self._watchers.total() - self._watchers[_HERE] >= MAX_WATCHERS:
            raise unavailable(f"{MAX_WATCHERS} watch this router already: close a dashboard or a page")

    async def _tell(self, update: Update, sink: Sink) -> None:
        """Raises TimeoutError when the client takes nothing for `UNREAD_S`."""
        told = STILL_HERE
        while True:
            for start in range(0, len(told), PIECE):
                async with asyncio.timeout(UNREAD_S):
                    await sink.write(told[start : start + PIECE])
            if update.closed:
                break
            update = await self._find(names.FEED).after.remote(update.seen, update.life)
            told = b"".join(event(*one) for one in update.events) or STILL_HERE
        await sink.finish()
