"""`GET /herd/v1/events`: a stream to each of those who watch."""

from collections.abc import Mapping

from herd.actors import names
from herd.actors.feed import NOTHING, Update
from herd.actors.picture import Find
from herd.actors.placing import unavailable
from herd.actors.ports import HttpRequest, Sink
from herd.protocols.live import STILL_HERE, Topic, event, topics_of
from herd.types import RequestId

# Dashboards and web pages in a house; each costs a connection, and at most one document that its reader has not taken.
MAX_WATCHERS = 64

_HEAD = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"))


class Watching:
    """Whoever watches now. `find` finds actors by name."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._watchers = 0

    async def stream(self, request_id: RequestId, request: HttpRequest, sink: Sink) -> None:
        """Tell the client what is new, until it leaves or the router stops.

        Raises:
            RequestError: 400 for a topic that there is not, 503 when too many watch already.
        """
        seen: Mapping[Topic, int] = dict.fromkeys(topics_of(request.query), NOTHING)
        if self._watchers >= MAX_WATCHERS:
            raise unavailable(f"{MAX_WATCHERS} watch this router already: close a dashboard or a page")
        self._watchers += 1
        try:
            await sink.start(200, (*_HEAD, ("X-Request-Id", str(request_id))))
            await sink.write(STILL_HERE)
            update = Update((), seen)
            while not update.closed:
                update = await self._find(names.FEED).after.remote(update.seen)
                await sink.write(b"".join(event(*one) for one in update.events) or STILL_HERE)
            await sink.finish()
        finally:
            self._watchers -= 1
