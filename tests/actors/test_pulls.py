"""The table of pulls under way, and the board of one, without a node."""

import asyncio
import json

import pytest

from herd.actors.delivery import WholeAnswer
from herd.actors.pulls import MAX_PULLS, Board, Fetch, PullKey, Pulls
from herd.errors import HerdError, RequestError
from herd.runtime.testing import virtual_time
from herd.simulation.http import RecordingSink
from herd.types import BackendId, NodeId, NodeName

NDJSON = (("Content-Type", "application/x-ndjson"),)
SUCCESS = b'{"status":"success"}\n'
NAME = NodeName("a")


def key(number: int = 0) -> PullKey:
    return PullKey(NodeId("a"), BackendId("ollama"), f"m{number}:latest")


def fetching(*pieces: bytes, trouble: Exception | None = None) -> Fetch:
    """A node that says this, one piece a second."""

    async def fetch(board: Board) -> None:
        for piece in pieces:
            await asyncio.sleep(1)
            if not board.started:
                await board.start(200, NDJSON)
            await board.write(piece)
        if trouble is not None:
            raise trouble

    return fetch


async def followed(pulls: Pulls, fetch: Fetch, *, stream: bool = True) -> RecordingSink:
    sink = RecordingSink()
    async with pulls.followed(key(), NAME, fetch) as board:
        await board.follow(sink, (("X-Herd-Node", "a"),), stream=stream)
    return sink


@virtual_time
async def test_a_pull_that_is_over_is_in_the_table_no_more() -> None:
    pulls = Pulls()
    sink = await followed(pulls, fetching(b'{"status":"pulling manifest"}\n', SUCCESS))
    assert (sink.status, sink.header("X-Herd-Node"), sink.pieces[-1]) == (200, "a", SUCCESS)
    assert pulls.under_way("m0:latest") is None


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("trouble", [HerdError("the line broke"), ValueError("a fault of our own")])
@virtual_time
async def test_a_pull_that_breaks_says_so_in_its_last_line(trouble: Exception, stream: bool) -> None:
    sink = await followed(Pulls(), fetching(b'{"status":"x"}\n{"stat', trouble=trouble), stream=stream)
    words = "the line broke" if isinstance(trouble, HerdError) else "the router failed on this request"
    assert json.loads(sink.pieces[-1]) == {"error": words}
    assert (sink.status, len(sink.pieces)) == ((200, 2) if stream else (500, 1))


@virtual_time
async def test_what_breaks_after_success_is_a_success() -> None:
    after = fetching(SUCCESS, b'{"error":"late"}\n', trouble=HerdError("late"))
    assert (await followed(Pulls(), after)).pieces == [SUCCESS]


@virtual_time
async def test_without_an_answer_each_who_follows_is_told_why() -> None:
    pulls, trouble = Pulls(), RequestError("a did not answer", status=502)
    told = await asyncio.gather(
        *(followed(pulls, fetching(trouble=trouble), stream=stream) for stream in (True, False)), return_exceptions=True
    )
    assert [(str(error), getattr(error, "status", 0)) for error in told] == [("a did not answer", 502)] * 2


@pytest.mark.parametrize("stream", [True, False])
@virtual_time
async def test_what_is_no_progress_is_handed_on_as_it_is(stream: bool) -> None:
    async def refuses(board: Board) -> WholeAnswer | None:
        return WholeAnswer(404, (("Content-Type", "text/plain"),), b"no such page")

    async def says(board: Board) -> WholeAnswer | None:
        await board.start(400, (("Content-Type", "application/json"),))
        await board.write(b'{"error":')
        await board.write(b'"no"}')
        return None

    for fetch, status, body in ((refuses, 404, b"no such page"), (says, 400, b'{"error":"no"}')):
        sink = await followed(Pulls(), fetch, stream=stream)
        assert (sink.status, sink.body, sink.finished) == (status, body, True)


@virtual_time
async def test_there_are_only_so_many_pulls_at_once() -> None:
    pulls, forever = Pulls(), fetching(*[b"{}\n"] * 10)

    async def follow(number: int) -> None:
        async with pulls.followed(key(number), NAME, forever) as board:
            await board.ended()

    tasks = [asyncio.create_task(follow(number)) for number in range(MAX_PULLS)]
    await asyncio.sleep(0)
    with pytest.raises(RequestError, match="64 models are being fetched already"):
        await follow(MAX_PULLS)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    tasks.append(asyncio.create_task(follow(MAX_PULLS)))
    await asyncio.gather(*tasks[1:])
