"""Clients that listen to streamed answers, and know how each of them ended."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

import aiohttp

from herd.simulation.watch import Watch
from tests.e2e.house import House, question
from tests.e2e.processes import PATIENCE_S
from tests.e2e.reciters import Reciter

OLLAMA, OPENAI = "/api/chat", "/v1/chat/completions"

_MARKS = {OLLAMA: b"\n", OPENAI: b"\n\n"}  # what stands between two events
_numbers = itertools.count(1)

# What ends a stream that says nothing is the 30 s of a silent link or of a process that leaves, at the latest; the rest
# is for a machine that is busy elsewhere.
END_WITHIN_S = 90.0
# Streams that are held for a test may be open for as long as it likes.
_NO_LIMIT = aiohttp.ClientTimeout(total=None)


class Ending(Enum):
    """What the client saw last. A clean end with neither terminator nor error is none of these: it is a fault."""

    WHOLE = "terminator"
    ERROR = "error event"
    CUT = "broken connection"


class Listener:
    """One streamed answer, from its request to its end.

    Attributes:
        id: its X-Request-Id.
        said: the body so far.
        over: nothing more comes.
    """

    def __init__(self, house: House, model: str, path: str, tokens: int) -> None:
        number = next(_numbers)
        self.id = f"listener-{number}"
        self.said = bytearray()
        self._path = path
        self.over = False
        self._broken = False
        self._watch = Watch()
        self._asked = question(model, tokens=tokens, stream=True, seed=number)
        self._listening = asyncio.create_task(self._listen(house))

    async def heard(self, events: int) -> None:
        """Wait until so many events have come."""
        async with asyncio.timeout(PATIENCE_S):
            await self._watch.until(lambda: self.over or self.said.count(_MARKS[self._path]) >= events)
        assert not self.over, f"{self.id} ended after {bytes(self.said[-200:])!r}"

    async def ended(self) -> Ending:
        """Wait for the end; how it was."""
        async with asyncio.timeout(END_WITHIN_S):
            await asyncio.shield(self._listening)
        if self._broken:
            return Ending.CUT
        last = self._events()[-1]
        if last == b"data: [DONE]":
            return Ending.WHOLE
        value = json.loads(last.removeprefix(b"data: "))
        if "error" in value:
            return Ending.ERROR
        assert value.get("done") is True, f"{self.id} ended cleanly after {last!r}"
        return Ending.WHOLE

    @property
    def answer(self) -> bytes:
        """What the node said: the body without the error event that the router may have put at its end."""
        if self._broken:
            return bytes(self.said)
        *events, last = self._events()
        mark = _MARKS[self._path]
        return bytes(self.said) if b'"error"' not in last else b"".join(event + mark for event in events)

    @property
    def error(self) -> str:
        """The words of the error event at the end."""
        value = json.loads(self._events()[-1].removeprefix(b"data: "))["error"]
        if self._path == OPENAI:
            assert set(value) == {"message", "type", "param", "code"}
            return str(value["message"])
        assert isinstance(value, str)
        return value

    async def close(self) -> None:
        """Hang up, unless it is over."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    def _events(self) -> list[bytes]:
        mark = _MARKS[self._path]
        body = bytes(self.said)
        assert body.endswith(mark), f"{self.id} ended cleanly inside an event: {body[-200:]!r}"
        return body.split(mark)[:-1]

    async def _listen(self, house: House) -> None:
        headers = {"X-Request-Id": self.id}
        try:
            async with house.post(self._path, json=self._asked, headers=headers, timeout=_NO_LIMIT) as answer:
                assert answer.status == 200, await answer.text()
                async for piece in answer.content.iter_any():
                    self.said += piece
                    self._watch.changed()
        except aiohttp.ClientError:
            self._broken = True
        finally:
            self.over = True
            self._watch.changed()


@asynccontextmanager
async def listening(house: House, model: str, count: int, *, tokens: int) -> AsyncIterator[list[Listener]]:
    """So many streams of one model at once, Ollama's and OpenAI's in turn, all of them begun."""
    async with AsyncExitStack() as stack:
        paths = itertools.islice(itertools.cycle((OLLAMA, OPENAI)), count)
        listeners = [Listener(house, model, path, tokens) for path in paths]
        for listener in listeners:
            stack.push_async_callback(listener.close)
        await asyncio.gather(*(listener.heard(1) for listener in listeners))
        yield listeners


async def all_whole(listeners: Iterable[Listener], server: Reciter) -> None:
    """Wait for the ends: each answer is whole, and is what the model server said, byte for byte."""
    for listener in listeners:
        assert await listener.ended() is Ending.WHOLE
        assert listener.said == server.told[listener.id]


async def all_broken_off(listeners: Sequence[Listener], server: Reciter, why: str) -> None:
    """Wait for the ends: no answer ends cleanly, and what came of each is what the model server said.

    Most stand between two events, and say why they broke. Frames are as long as the credit of a stream lets them be, so
    one may end inside an event; then nothing can be put after it, and the connection is cut.
    """
    endings = [await listener.ended() for listener in listeners]
    assert set(endings) <= {Ending.ERROR, Ending.CUT}
    assert Ending.ERROR in endings
    for listener, ending in zip(listeners, endings, strict=True):
        if ending is Ending.ERROR:
            assert why in listener.error
        assert server.told[listener.id].startswith(listener.answer)
