"""The agent's end of a link in memory. Does what `herd/net/link_client.py` does, and when it does it."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator

from herd.actors.command_ends import UnderWay
from herd.actors.log_context import logged_for
from herd.actors.ports import Obey, Relay
from herd.errors import JoinRefused, LinkClosed
from herd.protocols.messages import Failure, Goodbye, Head, Report, RequestHead, Result, Usage, Welcome
from herd.protocols.session import (
    BodyReceived,
    CommandReceived,
    DataReceived,
    DrainReceived,
    GoodbyeReceived,
    HeadReceived,
    ReportReceived,
    ResultReceived,
    StreamCancelled,
    StreamEnded,
    StreamOpened,
    StreamReset,
    Welcomed,
)
from herd.simulation.fleet.line import CLOSED, Closed, Room, Said, Taken, Wire
from herd.types import Seconds, StreamId

logger = logging.getLogger(__name__)

SILENCE_S = 15.0  # an agent gives its router up after this: three heartbeats without a pong


class AgentStream:
    """The agent's end of one stream; implements the port `Serving`."""

    def __init__(self, end: "AgentEnd", stream: StreamId, head: RequestHead) -> None:
        self._end = end
        self._stream = stream
        self._body: deque[BodyReceived] = deque()  # bounded by the router's Room
        self._waiter: asyncio.Future[None] | None = None
        self.head = head
        self.room = Room()
        self.over = False  # ended, reset or cancelled: nothing more may be sent

    def push(self, event: BodyReceived) -> None:
        """Request bytes."""
        self._body.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def body(self) -> AsyncIterator[bytes]:
        last = self.head.size == 0
        while not last:
            while not self._body:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            event = self._body.popleft()
            last = event.last
            if event.data:
                yield event.data
                self._end.say(Taken(self._stream, len(event.data)))

    async def send_head(self, head: Head) -> None:
        """Raises LinkClosed, as `send` and `end` do."""
        self._check()
        self._end.say(HeadReceived(self._stream, head))

    async def send(self, data: bytes) -> None:
        self._check()
        if data:
            self._end.say(DataReceived(self._stream, data))
            await self.room.fill(len(data))

    def end(self, usage: Usage) -> None:
        self._check()
        self.over = True
        self._end.say(StreamEnded(self._stream, usage))

    def reset(self, failure: Failure) -> None:
        if not self.over and not self._end.lost:
            self.over = True
            self._end.say(StreamReset(self._stream, failure))

    def _check(self) -> None:
        if self.over or self._end.lost:
            raise LinkClosed("nobody waits for this answer any more")


class AgentEnd:
    """The agent's end of its link; implements the port `AgentLink`.

    Args:
        wire: to the router.
        relay: called in a task for each stream.
        obey: called in a task for each command.
    """

    def __init__(self, wire: Wire, relay: Relay, obey: Obey) -> None:
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self._commands = UnderWay(obey, self._answer)
        self._heard = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._streams: dict[StreamId, AgentStream] = {}
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self.tasks: dict[StreamId, asyncio.Task[None]] = {}
        self.joined: asyncio.Future[Welcome] = self._loop.create_future()
        self.wire = wire
        self.lost = ""  # why; the link is gone, or about to go

    @property
    def welcome(self) -> Welcome:
        return self.joined.result()

    @property
    def peer(self) -> str:
        return "in memory"

    def say(self, said: Said) -> None:
        """Tell the router, as long as there is a link."""
        if not self.lost:
            self.wire.say(said)

    def report(self, report: Report) -> None:
        self.say(ReportReceived(report))

    def drain(self) -> None:
        self.say(DrainReceived())

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._closed)

    async def close(self, goodbye: Goodbye, grace: Seconds) -> None:
        if self.tasks:
            await asyncio.wait(tuple(self.tasks.values()), timeout=grace)
        self.hang_up(goodbye.text or goodbye.code, goodbye)
        await self.wait_closed()

    def hang_up(self, why: str, goodbye: Goodbye | None = None) -> None:
        """Say goodbye, if there is anything to say, and close. Idempotent."""
        if self.lost:
            return
        if goodbye is not None:
            self.say(GoodbyeReceived(goodbye))
        self.say(Closed())
        self.lost = why
        self._loop.call_soon(self.end, why)

    def end(self, why: str) -> None:
        """The link is gone: cancel every relay and every command. Idempotent."""
        self.lost = self.lost or why
        if self._closed.done():
            return
        self._closed.set_result(self.lost)
        if self._watch is not None:
            self._watch.cancel()
        if not self.joined.done():
            self.joined.set_exception(LinkClosed(self.lost))
        self._commands.end()
        for stream in tuple(self.tasks):
            self._give_up(stream)

    def _answer(self, result: Result) -> None:
        self.say(ResultReceived(result))

    # --- what the router says -----------------------------------------------------------------------------------------

    def hear(self, said: Said) -> None:
        """Once the link is given up nobody listens."""
        if self.lost:
            return
        self._heard = self._loop.time()
        match said:
            case BodyReceived():
                if said.stream in self._streams:
                    self._streams[said.stream].push(said)
            case Taken():
                if said.stream in self._streams:
                    self._streams[said.stream].room.taken(said.size)
            case StreamOpened():
                self._open(said.stream, said.head)
            case StreamCancelled():
                self._give_up(said.stream)
            case CommandReceived():
                self._commands.begin(said.command)
            case Welcomed():
                self._welcomed(said.welcome)
            case GoodbyeReceived():
                self._refused(said.goodbye)
            case Closed():
                self.hang_up(CLOSED)

    def _welcomed(self, welcome: Welcome) -> None:
        if not self.joined.done():
            self.joined.set_result(welcome)
            self._look()

    def _refused(self, goodbye: Goodbye) -> None:
        text = goodbye.text or goodbye.code
        if not self.joined.done():
            self.joined.set_exception(JoinRefused(text, goodbye.code))
        self.hang_up(text)

    def _open(self, stream: StreamId, head: RequestHead) -> None:
        serving = self._streams[stream] = AgentStream(self, stream, head)
        task = self.tasks[stream] = asyncio.create_task(self._serve(serving), name=f"relay {head.request_id}")
        task.add_done_callback(lambda _: self._forget(stream))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Give up a router that has been silent for too long; else look again when that could be."""
        until = self._heard + SILENCE_S
        if self._loop.time() >= until:
            self.hang_up(f"the router has been silent for {SILENCE_S:.0f} s")
        else:
            self._watch = self._loop.call_at(until, self._look)

    async def _serve(self, serving: AgentStream) -> None:
        with logged_for(serving.head.request_id):
            await self._relayed(serving)

    async def _relayed(self, serving: AgentStream) -> None:
        try:
            await self._relay(serving)
        except LinkClosed:
            logger.debug("request %s lost its reader", serving.head.request_id)
        except Exception:
            logger.exception("request %s failed in the agent", serving.head.request_id)
            serving.reset(Failure("internal", "the agent failed; its log says why"))
        finally:
            serving.reset(Failure("internal", "the agent gave the request up"))

    def _give_up(self, stream: StreamId) -> None:
        serving = self._streams.get(stream)
        if serving is not None:
            serving.over = True
            serving.room.free()
            self.tasks[stream].cancel()

    def _forget(self, stream: StreamId) -> None:
        self._streams.pop(stream, None)
        self.tasks.pop(stream, None)
