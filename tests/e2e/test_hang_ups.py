"""Clients that hang up at every stage of a request and in every way: the model server hears of it, nothing is lost.

A client that shuts its sending side and reads on (`printf ... | ncat`) counts as gone. RFC 9112, 9.5 would have it
answered; but no server can tell it from one that closed, and Go's server (so Ollama itself), nginx and hyper take it
for gone in the same way.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.e2e.hang_ups import (
    ALONE,
    BOTH,
    CLIENT_MARK,
    ENDLESS,
    LOST,
    NEVER_LOADED,
    NOTICED_S,
    Client,
    Point,
    SmallHouse,
    StagedServer,
    Way,
    client,
    request,
    small_house,
)
from tests.e2e.house import question
from tests.e2e.processes import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLLAMA, OPENAI = "/api/chat", "/v1/chat/completions"
DIALECTS = {"ollama": (OLLAMA, True), "ollama-whole": (OLLAMA, False), "openai": (OPENAI, True)}
BEFORE_ANSWER = (Point.BEFORE_HEAD, Point.BEFORE_BODY)  # of these a client sees nothing yet

ways = pytest.mark.parametrize("way", list(Way))
dialects = pytest.mark.parametrize(("path", "stream"), DIALECTS.values(), ids=DIALECTS)


@pytest_asyncio.fixture(name="small", scope="module", loop_scope="module")
async def house_of_this_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SmallHouse]:
    async with small_house(tmp_path_factory.mktemp("small")) as house:
        yield house


async def leaves(one: Client, way: Way, server: StagedServer) -> None:
    """The client hangs up, and its model server must hear of it."""
    cancelled = server.fake.cancelled
    loop = asyncio.get_running_loop()
    left = loop.time()
    one.hang_up(way)
    async with asyncio.timeout(NOTICED_S):
        await server.fake.until(lambda fake: fake.cancelled == cancelled + 1)
    sys.stdout.write(f"noticed after {(loop.time() - left) * 1000:.1f} ms\n")
    if way is Way.HALF:
        async with asyncio.timeout(NOTICED_S):
            assert not (await one.rest()).endswith(b"0\r\n\r\n"), "a broken answer ended cleanly"


@ways
@dialects
async def test_while_the_model_is_loaded(small: SmallHouse, path: str, stream: bool, way: Way) -> None:
    barn = small.staged["barn"]
    async with client(small) as one:
        await one.send(request(path, NEVER_LOADED, stream=stream))
        await barn.fake.until(lambda fake: fake.waiting == 1)
        await leaves(one, way, barn)
    assert barn.fake.waiting == 0
    await small.nothing_is_out()


@ways
@dialects
@pytest.mark.parametrize("point", BEFORE_ANSWER)
async def test_before_the_first_byte(small: SmallHouse, path: str, stream: bool, way: Way, point: Point) -> None:
    attic = small.staged["attic"]
    attic.hold(point)
    async with client(small) as one:
        await one.send(request(path, ALONE, stream=stream, tokens=2))
        await attic.reached.wait()
        await leaves(one, way, attic)
        assert one.heard == b""
    await small.nothing_is_out()


@ways
@pytest.mark.parametrize("path", [OLLAMA, OPENAI])
@pytest.mark.parametrize("flows", [True, False], ids=["tokens flow", "it stands still"])
async def test_mid_stream(small: SmallHouse, path: str, way: Way, flows: bool) -> None:
    attic = small.staged["attic"]
    if not flows:
        attic.hold(Point.MIDDLE)
    async with client(small) as one:
        await one.send(request(path, ALONE, stream=True))
        await one.hears(b"model", times=2)
        await leaves(one, way, attic)
    await small.nothing_is_out()


@ways
@pytest.mark.parametrize(("path", "last"), [(OLLAMA, b'"done":true'), (OPENAI, b"[DONE]")])
async def test_after_the_last_byte_and_before_the_end(small: SmallHouse, path: str, last: bytes, way: Way) -> None:
    attic = small.staged["attic"]
    attic.hold(Point.BEFORE_END)
    async with client(small) as one:
        await one.send(request(path, ALONE, stream=True, tokens=2))
        await one.hears(last)
        await leaves(one, way, attic)
    await small.nothing_is_out()


@ways
@dialects
async def test_in_the_queue_behind_another(small: SmallHouse, path: str, stream: bool, way: Way) -> None:
    """The model server never hears of it, and whoever stands behind moves up."""
    attic = small.staged["attic"]
    async with client(small) as first, client(small) as second, client(small) as third:
        await first.send(request(path, ALONE, stream=True))
        await first.hears(b"model")
        came = sum(attic.fake.requests[known] for known in (OLLAMA, OPENAI))
        await second.send(request(path, ALONE, stream=stream))
        await small.until_totals(waiting=1)
        await third.send(request(path, ALONE, stream=True, tokens=2))
        await small.until_totals(waiting=2)
        second.hang_up(way)
        await small.until_totals(waiting=1, running=1)
        await leaves(first, way, attic)
        await third.hears(b"0\r\n\r\n")
        assert sum(attic.fake.requests[known] for known in (OLLAMA, OPENAI)) == came + 1
    await small.nothing_is_out()


@ways
@dialects
async def test_while_no_node_can_serve(small: SmallHouse, path: str, stream: bool, way: Way) -> None:
    async with client(small) as one:
        await one.send(request(path, LOST, stream=stream))
        await small.until_totals(held=1)
        one.hang_up(way)
        await small.nothing_is_out()
        if way is Way.HALF:
            assert await one.rest() == b""


@ways
async def test_in_the_middle_of_its_own_request(small: SmallHouse, way: Way) -> None:
    whole = request(OLLAMA, ALONE)
    came = small.staged["attic"].fake.requests[OLLAMA]
    for cut in (1, whole.index(b"\r\n\r\n") + 4, len(whole) - 1):
        async with client(small) as one:
            await one.send(whole[:cut])
            one.hang_up(way)
            if way is Way.HALF:
                async with asyncio.timeout(NOTICED_S):
                    await one.rest()
    assert small.staged["attic"].fake.requests[OLLAMA] == came
    await small.nothing_is_out()


@ways
async def test_the_next_in_the_queue_is_served_when_the_running_one_hangs_up(small: SmallHouse, way: Way) -> None:
    attic = small.staged["attic"]
    async with AsyncExitStack() as stack:
        queue = [await stack.enter_async_context(client(small)) for _ in range(6)]
        for number, one in enumerate(queue):
            await one.send(request(OLLAMA, ALONE, tokens=ENDLESS if number < 5 else 3))
            await small.until_totals(running=1, waiting=number)
        for one in queue[:-1]:
            await one.hears(b"model")
            await leaves(one, way, attic)
        await queue[-1].hears(b"0\r\n\r\n")
    await small.nothing_is_out()


# --- Everybody at once ------------------------------------------------------------------------------------------------

LEAVE, STAY = 200, 20
COME_S = 1.0  # all come within so long: more at once than the two machines have slots for


async def comes_and_goes(small: SmallHouse, dice: random.Random) -> bool:
    """A client that hangs up: some time after it came, or once it has heard some of an answer without end.

    Returns: whether it was the latter; then a model server worked for it, however slow this machine is.
    """
    path, stream = dice.choice(list(DIALECTS.values()))
    come, stay = dice.uniform(0.0, COME_S), dice.choice((0.0, dice.uniform(0.0, 0.05), dice.uniform(0.0, COME_S)))
    patience, way, model = dice.randint(1, 60), dice.choice(list(Way)), dice.choice((ALONE, BOTH, BOTH))
    listens = dice.random() < 0.2
    if listens:
        stay, whole = PATIENCE_S, request(path, model, stream=True, tokens=ENDLESS)
    else:
        whole = request(path, model, stream=stream, tokens=dice.randint(1, 300))
    if not listens and dice.random() < 0.1:
        whole = whole[: dice.randrange(len(whole))]
    await asyncio.sleep(come)
    async with client(small) as one:
        await one.send(whole)
        try:
            async with asyncio.timeout(stay):
                await one.hears(b"model", times=patience)
        except (TimeoutError, EOFError):
            assert not listens  # the others had enough; or they had the whole answer and the router closed
        one.hang_up(way)
        if way is Way.HALF:
            await one.rest()
    return listens


async def stays(small: SmallHouse, mark: str, dice: random.Random) -> bytes:
    """A client that stays: the body that it got."""
    path, stream = dice.choice(list(DIALECTS.values()))
    body = question(dice.choice((ALONE, BOTH)), tokens=dice.randint(1, 60), stream=stream)
    await asyncio.sleep(dice.uniform(0.0, COME_S))
    async with small.post(path, json=body, headers={CLIENT_MARK: mark}) as answer:
        assert answer.status == 200, await answer.text()
        got: bytes = await answer.read()
        return got


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
async def test_two_hundred_come_and_go_and_those_that_stay_are_served(small: SmallHouse, seed: int) -> None:
    dice = random.Random(seed)
    marks = [f"{seed}-{number}" for number in range(STAY)]
    servers = small.staged["attic"], small.staged["cellar"]
    before = sum(server.fake.cancelled for server in servers)
    async with asyncio.TaskGroup() as group:
        leaving = [group.create_task(comes_and_goes(small, random.Random(dice.random()))) for _ in range(LEAVE)]
        staying = [group.create_task(stays(small, mark, random.Random(dice.random()))) for mark in marks]
    said = servers[0].said | servers[1].said
    for mark, task in zip(marks, staying, strict=True):
        assert task.result() == said[mark]
    await small.nothing_is_out()
    for server in servers:
        async with asyncio.timeout(NOTICED_S):
            await server.fake.until(lambda fake: fake.running == 0 and fake.waiting == 0)
    cancelled = sum(server.fake.cancelled for server in servers) - before
    sys.stdout.write(f"{cancelled} of {LEAVE} left while a model server worked for them\n")
    assert cancelled >= sum(task.result() for task in leaving) > LEAVE / 20, "a model server worked on for nobody"
