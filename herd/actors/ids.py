"""Where ids come from: one seeded source, so that a simulated run can be repeated to the letter."""

import itertools
import random
import re

from herd.types import RequestId, StreamId, TicketId

# What a client may choose as its X-Request-Id: it ends up in logs, headers and file names.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class Ids:
    """Request, ticket and stream ids of one router.

    Args:
        seed: of the request ids; a production router takes it from the system's entropy.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - ids are names here, not secrets
        self._tickets = itertools.count(1)
        self._streams = itertools.count(1)

    def request(self, wanted: str = "") -> RequestId:
        """The client's own id when it is fit for headers and logs, else a new one."""
        if wanted and _ACCEPTABLE.fullmatch(wanted):
            return RequestId(wanted)
        return RequestId(f"req_{self._random.getrandbits(96):024x}")

    def trace(self) -> int:
        """A new trace id of 128 bits, never 0."""
        return self._random.getrandbits(128) or 1

    def span(self) -> int:
        """A new span id, with room below 64 bits for those that are counted on from it."""
        return self._random.getrandbits(63) or 1

    def ticket(self) -> TicketId:
        """A new ticket, unique for the life of the router."""
        return TicketId(f"t{next(self._tickets)}")

    def stream(self) -> StreamId:
        """A new stream, unique for the life of the router."""
        return StreamId(next(self._streams))
