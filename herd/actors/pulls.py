"""The pulls under way: whoever wants a model that is being fetched already follows the same pull.

A pull goes on for as long as somebody follows it, whoever began it. Its bytes go onto a board, and never wait for
anybody: who follows reads there how far it is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from herd.actors.delivery import HOLD_LIMIT, WholeAnswer
from herd.actors.ports import Headers, Sink
from herd.errors import HerdError, RequestError
from herd.protocols.answers import StreamFormat, error_event, stream_format
from herd.protocols.headers import value_of
from herd.protocols.progress import Progress
from herd.runtime import ActorUnavailableError
from herd.types import BackendId, Dialect, NodeId, NodeName

logger = logging.getLogger(__name__)

# More than a house fetches at once, by far; each is a stream, and what is said of some hundred parts.
MAX_PULLS = 64
RETRY_AFTER_S = 60  # when there are as many: a pull takes minutes

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class PullKey:
    """Two who want the same of this follow one pull."""

    node: NodeId
    backend: BackendId
    model: str  # canonical name
    extras: bytes = b""


class Board:
    """How far a pull is; implements the port `Sink` for the bytes of its node.

    Args:
        name: of the node.
    """

    def __init__(self, name: NodeName) -> None:
        self.name = name
        self.over = False
        self.headers: Headers = ()
        self.progress = Progress()
        self._status = 0
        self._streams = False
        self._whole = b""
        self._trouble: HerdError | None = None
        self._news = asyncio.Event()

    # --- for the node -------------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self._status != 0

    async def start(self, status: int, headers: Headers) -> None:
        self._status, self.headers = status, headers
        form = stream_format(Dialect.OLLAMA, value_of(headers, "content-type"))
        self._streams = status == 200 and form is StreamFormat.NDJSON
        self._tell()

    async def write(self, data: bytes) -> None:
        if not self._streams:
            if len(self._whole) < HOLD_LIMIT:
                self._whole += data
        elif not self.progress.succeeded and self.progress.feed(data):  # what follows on success changes nothing of it
            self._tell()

    async def finish(self) -> None:
        """The pull itself ends it."""

    def abort(self) -> None:
        """The pull itself says why."""

    def end(self, trouble: HerdError | None = None, answer: WholeAnswer | None = None) -> None:
        """Nothing more comes: because of a trouble, or because the node said this instead."""
        if answer is not None:
            self._status, self.headers, self._whole = answer.status, answer.headers, answer.body
        self.progress.end()
        self._trouble = trouble
        if trouble is not None and self._streams and not (self.progress.error or self.progress.succeeded):
            self.progress.say(error_event(StreamFormat.NDJSON, trouble))
        self.over = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # --- for those who follow -----------------------------------------------------------------------------------------

    async def ended(self) -> None:
        """Wait for the end. Raises HerdError when there is no answer."""
        while not self.over:
            await self._news.wait()
        self._check()

    async def follow(self, sink: Sink, shown: Headers, *, stream: bool) -> None:
        """Tell a client how far it is until it is over, or its end alone.

        Args:
            sink: the client's answer; however slow it is, nobody else waits for it.
            shown: headers of Herd's own.
            stream: False for the end alone.

        Raises:
            HerdError: there is no answer.
        """
        while not self.started and not self.over:
            await self._news.wait()
        if not stream or not self._streams:
            await self.ended()
            await self._last(shown).send(sink)
            return
        await sink.start(200, (*self.headers, *shown))
        told = 0
        while True:
            lines, told = self.progress.since(told)
            for line in lines:
                await sink.write(line)
            if not lines:
                if self.over:
                    break
                await self._news.wait()
        await sink.finish()

    def _check(self) -> None:
        if self._trouble is not None and not self._streams:
            raise RequestError(str(self._trouble), status=self._trouble.status)

    def _last(self, shown: Headers) -> WholeAnswer:
        """The end, as one document, for which Ollama has a status even if it is an error that came late."""
        if not self._streams:
            return WholeAnswer(self._status, (*self.headers, *shown), self._whole)
        body = self.progress.last.rstrip(b"\n")
        headers = (("Content-Type", JSON), ("Content-Length", str(len(body))), *shown)
        return WholeAnswer(500 if self.progress.error else 200, headers, body)


@dataclass(slots=True, eq=False)
class _Pull:
    board: Board
    task: "asyncio.Task[None]"
    followers: int = 0


Fetch = Callable[[Board], Awaitable[WholeAnswer | None]]


class Pulls:
    """Owns the table of pulls under way."""

    def __init__(self) -> None:
        self._pulls: dict[PullKey, _Pull] = {}

    def under_way(self, model: str, extras: bytes = b"") -> PullKey | None:
        """A pull of a model (by canonical name), to any node."""
        return next((key for key in self._pulls if (key.model, key.extras) == (model, extras)), None)

    @asynccontextmanager
    async def followed(self, key: PullKey, name: NodeName, fetch: Fetch) -> AsyncIterator[Board]:
        """Follow a pull within the block; the last one to leave it ends it.

        Args:
            key: which.
            name: of the node.
            fetch: puts onto the board what the node says, to the end; called unless the pull is under way. It returns
                what the node said instead, if it did.

        Raises:
            RequestError: 503, there are too many.
        """
        pull = self._pulls.get(key)
        if pull is None:
            if len(self._pulls) >= MAX_PULLS:
                retry = (("Retry-After", str(RETRY_AFTER_S)),)
                text = f"{MAX_PULLS} models are being fetched already: please wait for one"
                raise RequestError(text, status=503, headers=retry)
            board = Board(name)
            pull = _Pull(board, asyncio.create_task(self._run(board, fetch), name=f"pull of {key.model} to {name}"))
            self._pulls[key] = pull
            pull.task.add_done_callback(lambda _: self._drop(key, pull))
        pull.followers += 1
        try:
            yield pull.board
        finally:
            pull.followers -= 1
            if not pull.followers:
                self._drop(key, pull)  # nobody is to follow what is about to end
                pull.task.cancel()

    def _drop(self, key: PullKey, pull: _Pull) -> None:
        if self._pulls.get(key) is pull:
            del self._pulls[key]

    @staticmethod
    async def _run(board: Board, fetch: Fetch) -> None:
        trouble: HerdError | None = None
        answer: WholeAnswer | None = None
        try:
            answer = await fetch(board)
        except HerdError as error:
            trouble = error
        except ActorUnavailableError as error:
            trouble = RequestError(str(error), status=503)
        except Exception:
            logger.exception("a pull to %s failed in the router", board.name)
            trouble = HerdError("the router failed on this request")
        board.end(trouble, answer)
