"""A router's events for as long as somebody wants them: a stream that breaks off is opened again."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from herd.errors import HerdError
from herd.protocols.live import Topic

Stream = AsyncGenerator[tuple[Topic, Any]]

# The first attempt hardly waits, for most routers that go are being restarted; the last pause is one that nobody who
# looks at the screen takes for broken, and that a router which comes up does not notice.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 3.0


@dataclass(frozen=True, slots=True)
class Opened:
    """There is a stream; its first document follows."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A document of a topic."""

    topic: str
    document: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no stream any more; it is tried again and again. `why` is a sentence."""

    why: str


Events = AsyncGenerator[Opened | Heard | Lost]


async def followed(watch: Callable[[], Stream], url: str) -> Events:
    """What streams of events tell, one after the other, without an end.

    Args:
        watch: opens a stream.
        url: of the router.

    Raises:
        HerdError: the first stream did not come about.
    """
    ever, pause = False, FIRST_PAUSE_S
    while True:
        opened = False
        why = f"{url} ended the stream: it stops, or is started anew"
        try:
            async with aclosing(watch()) as stream:
                async for topic, document in stream:
                    if not opened:
                        ever = opened = True
                        pause = FIRST_PAUSE_S
                        yield Opened()
                    yield Heard(topic, document)
        except HerdError as error:
            if not ever:
                raise
            why = str(error)
        if not ever:
            raise HerdError(why)
        yield Lost(why)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
