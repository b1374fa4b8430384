"""Batches of texts for vectors: in parts over several nodes where that is faster, and one answer all the same."""

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from herd.actors import batching
from herd.actors.ports import Handler, Headers, HttpRequest, Sink
from herd.actors.sinks import PassingSink
from herd.names import Names
from herd.protocols.batches import MOST_VECTOR
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.invariants import Observer
from herd.simulation.fleet.house import House, SimulatedNode
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.profiles import PROFILES
from herd.types import NodeState
from tests.scenarios.helpers import assert_nothing_is_out, now, scenario, served_by, turns

MODEL = "nomic-embed-text:latest"
OTHER = "bge-m3:latest"
EMBED, OPENAI = "/api/embed", "/v1/embeddings"
LONG = "words that somebody will look for again one day " * 20


def batch(count: int = 40, model: str = MODEL, text: str = LONG, **fields: Any) -> dict[str, Any]:
    return {"model": model, "input": [f"{number} {text}" for number in range(count)], **fields}


async def has_loaded(home: House, node: SimulatedNode, model: str = MODEL) -> SimulatedNode:
    """The node, once the router knows that the model is in its memory to stay."""
    await call(node.ollama.handle, "POST", EMBED, {"model": model, "input": "x", "keep_alive": -1})
    await home.until(
        lambda fleet: any(
            status.id == node.id and any(one.name == model and one.resident for one in status.report.models)
            for status in fleet
        )
    )
    return node


async def loaded(home: House, name: str, **options: Any) -> SimulatedNode:
    return await has_loaded(home, await home.node(name, [MODEL], **options))


async def with_another_build(home: House, name: str) -> SimulatedNode:
    """A node where something else goes by the model's name."""
    node = await home.node(name, [OTHER])
    await call(node.ollama.handle, "POST", "/api/copy", {"source": OTHER, "destination": MODEL})
    return await has_loaded(home, node)


async def timed(home: House, path: str, body: dict[str, Any]) -> tuple[RecordingSink, float]:
    began = now()
    answer = await home.ask(path, body)
    return answer, now() - began


async def parts_run(home: House, count: int) -> None:
    """Wait until so many nodes work."""
    async with asyncio.timeout(60):
        while sum(node.ollama.running for node in home.nodes) < count:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.001)


def parts(answer: RecordingSink) -> str | None:
    return answer.header("X-Herd-Parts")


def beside_vectors(path: str, answer: RecordingSink) -> dict[str, Any]:
    """What an answer says that does not depend on how it came about."""
    times = {"total_duration", "load_duration"}
    return {key: value for key, value in answer.json.items() if key not in times}


@pytest.mark.parametrize(
    ("path", "more"),
    [(EMBED, {"truncate": True, "dimensions": 8}), (OPENAI, {}), (OPENAI, {"encoding_format": "base64"})],
)
def test_a_batch_over_two_nodes_takes_half_the_time_and_says_the_same(path: str, more: dict[str, Any]) -> None:
    async def story() -> None:
        async with scenario() as home:
            await loaded(home, "a")
            one, alone = await timed(home, path, batch(**more))
            await loaded(home, "b")
            two, together = await timed(home, path, batch(**more))

        assert served_by(one) == "a"
        assert parts(one) is None
        assert together < 0.6 * alone
        assert (served_by(two), parts(two), two.header("X-Herd-Attempts")) in (("a, b", "2", "2"), ("b, a", "2", "2"))
        assert beside_vectors(path, two) == beside_vectors(path, one)
        assert two.header("Content-Length") == str(len(two.body))

    run_virtual(story(), serialize_messages=True)


@virtual_time
async def test_a_batch_that_is_small_or_short_goes_to_one_node() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await loaded(home, name)
        for body in (batch(6), batch(40, text=""), batch(1), {"model": MODEL, "input": LONG * 20}):
            assert served_by(await home.ask(EMBED, body)) in {"a", "b"}
        legacy = await home.ask("/api/embeddings", {"model": MODEL, "prompt": LONG * 20})
        assert served_by(legacy) in {"a", "b"}


@virtual_time
async def test_a_node_that_is_busy_has_a_smaller_part() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await loaded(home, name)
        busy = home.send(EMBED, {"model": MODEL, "input": LONG * 40})
        await parts_run(home, 1)
        answer = await home.ask(EMBED, batch(80))
        await busy.task
        found = await shares(home, answer)
    [other] = set(found) - {str(served_by(busy.sink))}
    assert found[str(served_by(busy.sink))] < found[other]


async def shares(home: House, answer: RecordingSink) -> dict[str, int]:
    """How many inputs each node was meant for."""
    story = (await home.ask(f"/herd/v1/requests/{answer.header('X-Request-Id')}", method="GET")).json
    return {part["node"]: part["inputs"] for part in story["events"][0]["parts"]}


@virtual_time
async def test_a_machine_that_is_slower_than_it_looks_has_a_smaller_part_next_time() -> None:
    async with scenario() as home:
        studio = PROFILES["mac-studio"]
        await loaded(home, "a", profile=studio)
        await loaded(home, "b", profile=replace(studio, prefill_batch=studio.prefill_batch / 3))
        first, second = await timed(home, EMBED, batch(160)), await timed(home, EMBED, batch(160))
        assert await shares(home, first[0]) == {"a": 80, "b": 80}
        assert 35 <= (await shares(home, second[0]))["b"] <= 45
        assert second[1] < 0.6 * first[1]


@virtual_time
async def test_two_builds_are_never_in_one_answer() -> None:
    async with scenario() as home:
        a = await loaded(home, "a")
        c = await with_another_build(home, "c")
        assert served_by(await home.ask(EMBED, batch())) in {"a", "c"}
        b = await loaded(home, "b")
        for _ in range(2):
            assert set(str(served_by(await home.ask(EMBED, batch()))).split(", ")) == {"a", "b"}
        # All nodes with the build are lost in the middle: the batch begins again in one piece, at the other one.
        sent = home.send(EMBED, batch(160))
        await parts_run(home, 2)
        for node in (a, b):
            home.links.cut(node.id)
        await sent.task
        assert served_by(sent.sink) == "c"
        assert parts(sent.sink) is None
        story = (await home.ask(f"/herd/v1/requests/{sent.sink.header('X-Request-Id')}", method="GET")).json
        assert [event["kind"] for event in story["events"]][:2] == ["split", "unsplit"]
        assert (story["node"], story["outcome"]) == ("c", "served")
        direct = (await call(c.ollama.handle, "POST", EMBED, batch(160))).json
        assert direct["embeddings"] == sent.sink.json["embeddings"]


@virtual_time
async def test_a_part_whose_node_dies_is_served_by_another_with_the_same_build() -> None:
    async with scenario() as home:
        a, _ = await loaded(home, "a"), await loaded(home, "b")
        expected = await home.ask(EMBED, batch(200))
        sent = home.send(EMBED, batch(200))
        await parts_run(home, 2)
        home.links.cut(a.id)
        await sent.task
        assert str(served_by(sent.sink)).split(", ").count("b") >= 1
        assert (parts(sent.sink), sent.sink.header("X-Herd-Attempts")) == ("2", "3")
        assert sent.sink.json["embeddings"] == expected.json["embeddings"]
        await home.until_node("a", NodeState.READY)


@virtual_time
async def test_what_a_server_refuses_is_refused_as_if_it_had_been_asked_alone() -> None:
    async with scenario() as home:
        await loaded(home, "a")
        body = batch(20, text=LONG * 20, truncate=False)
        alone = await home.ask(EMBED, body)
        await loaded(home, "b")
        split = await home.ask(EMBED, body)
        assert (alone.status, alone.body) == (split.status, split.body)
        assert split.status == 400
        wrong = await home.ask(EMBED, {**body, "options": {"num_ctx": "many"}})
        assert wrong.status == 500
        assert (await home.ask(OPENAI, batch(40, encoding_format="hex"))).status == 400


@virtual_time
async def test_lists_of_tokens_stay_whole() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await loaded(home, name)
        answer = await home.ask(OPENAI, {"model": MODEL, "input": [[1, 2, 3] * 100] * 40})
        assert (answer.status, parts(answer)) == (400, None)
        assert answer.json["error"]["message"] == "invalid input type"


@virtual_time
async def test_an_alias_is_set_right_in_every_part() -> None:
    async with scenario(names=Names({"text-embedding-3-small": MODEL})) as home:
        for name in ("a", "b"):
            await loaded(home, name)
        answer = await home.ask(OPENAI, batch(model="text-embedding-3-small"))
        assert (parts(answer), answer.header("X-Herd-Edited")) == ("2", "model")
        plain = await home.ask(OPENAI, batch())
        assert answer.json["data"] == plain.json["data"]


@virtual_time
async def test_a_request_is_told_and_listed_once_and_each_part_has_its_story() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await loaded(home, name)
        answer = await home.ask(EMBED, batch())
        [line] = (await home.ask("/herd/v1/requests", method="GET")).json["requests"]
        story = (await home.ask(f"/herd/v1/requests/{line['id']}", method="GET")).json
        own = [(await home.ask(f"/herd/v1/requests/{line['id']}/{n}", method="GET")).json for n in (1, 2)]
    assert line["id"] == answer.header("X-Request-Id")
    assert (line["node"], line["outcome"], line["attempts"]) == (answer.header("X-Herd-Node"), "served", 2)
    assert line["prompt"] == answer.json["prompt_eval_count"] == sum(part["prompt"] for part in own)
    assert [event["kind"] for event in story["events"]] == ["split", "part", "part", "first-byte", "ended"]
    assert [part["id"] for part in story["events"][0]["parts"]] == [f"{line['id']}/1", f"{line['id']}/2"]
    assert sum(part["inputs"] for part in story["events"][0]["parts"]) == 40
    assert ", ".join(part["node"] for part in own) == line["node"]
    kinds = [event["kind"] for event in own[0]["events"]]
    assert kinds == ["placed", "queued", "granted", "opened", "first-byte", "served", "ended"]


@virtual_time
async def test_a_client_that_hangs_up_takes_all_parts_with_it() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await loaded(home, name)
        sent = home.send(EMBED, batch(2000))
        await parts_run(home, 2)
        await sent.hang_up()
        await assert_nothing_is_out(home)
        assert [node.ollama.cancelled for node in home.nodes] == [1, 1]
        [line] = (await home.ask("/herd/v1/requests", method="GET")).json["requests"]
        assert line["outcome"] == "cancelled"


@pytest.mark.parametrize("after", range(14))
def test_a_hang_up_about_when_the_parts_fail_is_one(after: int) -> None:
    """Both links break, and within the turns in which the batch begins again in one piece the client leaves."""

    async def story() -> None:
        async with scenario() as home:
            a, b = await loaded(home, "a"), await loaded(home, "b")
            sent = home.send(EMBED, batch(16))
            await parts_run(home, 2)
            for node in (a, b):
                home.links.cut(node.id)
            await turns(after)
            await sent.hang_up()
            assert sent.task.cancelled()
            assert not sent.sink.started

    run_virtual(story())


async def storm(seed: int) -> None:
    """Clients come and go at any turn, while links break."""
    dice = random.Random(seed)
    async with scenario(seed=seed, hold_timeout=600.0) as home:
        for name in ("a", "b", "c"):
            await loaded(home, name, parallel=dice.randint(1, 2))
        expected = (await home.ask(EMBED, batch(48))).json["embeddings"]

        async def comes(leaves: bool) -> None:
            await asyncio.sleep(dice.uniform(0.0, 6.0))
            sent = home.send(EMBED, batch(48))
            if not leaves:
                await sent.task
                assert served_by(sent.sink)
                assert sent.sink.json["embeddings"] == expected
            elif dice.random() < 0.6:
                await turns(dice.randint(0, 60))
                await sent.hang_up()
            else:
                await asyncio.sleep(dice.uniform(0.0, 1.0))
                await sent.hang_up()

        async def trouble() -> None:
            for _ in range(4):
                await asyncio.sleep(dice.uniform(0.2, 2.0))
                home.links.cut(dice.choice(home.nodes).id)

        observer = Observer()
        watch = asyncio.create_task(observer.watch(home))
        async with asyncio.TaskGroup() as group:
            group.create_task(trouble())
            for number in range(40):
                group.create_task(comes(number % 4 != 0))
        watch.cancel()
        await observer.look(home)
        await observer.check_nothing_is_out(home)
        assert observer.violations == []


@pytest.mark.parametrize("seed", range(2))
def test_a_storm_of_hang_ups_gives_everything_back(seed: int) -> None:
    run_virtual(storm(seed))


def test_the_same_seed_splits_the_same() -> None:
    async def story() -> list[str]:
        async with scenario() as home:
            for name in ("a", "b", "c"):
                await loaded(home, name)
            answers = await asyncio.gather(*(home.ask(EMBED, batch(40 + n)) for n in range(6)))
            return [json.dumps(answer.headers) for answer in answers]

    assert run_virtual(story()) == run_virtual(story())


class Lying:
    """Stands before a model server, and spoils the next answers with vectors."""

    def __init__(self, lies: list[str]) -> None:
        self.lies = lies

    def around(self, handler: Handler) -> Handler:
        async def handle(request: HttpRequest, sink: Sink) -> None:
            embeds = request.path in {EMBED, OPENAI} and self.lies
            await handler(request, _Spoiled(sink, self.lies.pop(0)) if embeds else sink)

        return handle


class _Spoiled(PassingSink):
    def __init__(self, sink: Sink, lie: str) -> None:
        super().__init__(sink)
        self._lie = lie

    async def start(self, status: int, headers: Headers) -> None:
        more = (("Content-Encoding", "br"),) if self._lie == "compressed" else ()
        kept = tuple(pair for pair in headers if pair[0].lower() != "content-length")
        await super().start(status, (*kept, *more))

    async def write(self, data: bytes) -> None:
        if self._lie == "one more":
            data = data.replace(b'"embeddings":[[', b'"embeddings":[[1],[')
        await super().write(data if self._lie != "breaks off" else data[: len(data) * 9 // 10])

    async def finish(self) -> None:
        if self._lie == "breaks off":  # after more than is held for another attempt
            self.abort()
        else:
            await super().finish()


@pytest.mark.parametrize("lie", ["one more", "compressed", "breaks off"])
def test_parts_that_do_not_make_one_answer_are_dropped_for_the_whole(lie: str) -> None:
    async def story() -> None:
        liar = Lying([])
        async with scenario() as home:
            for name in ("a", "b"):
                await loaded(home, name, around=liar.around)
            expected = await home.ask(EMBED, batch(160))
            liar.lies.append(lie)
            answer = await home.ask(EMBED, batch(160))
            assert (parts(answer), served_by(answer)) in ((None, "a"), (None, "b"))
            assert answer.json["embeddings"] == expected.json["embeddings"]
            [line, _] = (await home.ask("/herd/v1/requests", method="GET")).json["requests"]
            assert (line["node"], line["outcome"], line["attempts"]) == (served_by(answer), "served", 1)

    run_virtual(story())


def test_a_batch_for_whose_vectors_there_is_no_room_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "ROOM", 39 * MOST_VECTOR)

    async def story() -> None:
        async with scenario() as home:
            for name in ("a", "b"):
                await loaded(home, name)
            assert parts(await home.ask(EMBED, batch(40))) is None
            assert parts(await home.ask(EMBED, batch(39))) == "2"
            first, second = home.send(EMBED, batch(39)), home.send(EMBED, batch(39))
            await asyncio.gather(first.task, second.task)
            assert [parts(one.sink) for one in (first, second)] == ["2", None]
            assert parts(await home.ask(EMBED, batch(39))) == "2", "the room is free again"

    run_virtual(story())


@virtual_time
async def test_a_model_server_that_cannot_serve_now_costs_its_part_another_attempt() -> None:
    async with scenario() as home:
        a, _ = await loaded(home, "a"), await loaded(home, "b")
        a.ollama.fail_next(503, "busy")
        answer = await home.ask(EMBED, batch())
        assert (parts(answer), served_by(answer), answer.header("X-Herd-Attempts")) == ("2", "b, b", "3")
        a.ollama.fail_next(400, "no")
        answer = await home.ask(EMBED, batch())
        assert (answer.status, answer.json, parts(answer)) == (400, {"error": "no"}, None)
