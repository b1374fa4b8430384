"""Where requests go when several nodes could serve them: whole fleets of real actors in virtual time."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from herd.protocols.messages import Usage
from herd.protocols.usage import UsageReader
from herd.runtime.testing import virtual_time
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.faults import Lie
from herd.types import Tokens
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, begun, chat, lines, scenario, served_by


@virtual_time
async def test_a_node_busy_with_another_model_is_not_taken_for_idle() -> None:
    """Failure 3: load seen per node and model only, so a node busy with another model looks idle."""
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA, QWEN], resident=[LLAMA, QWEN])
        busy = [home.send(CHAT, chat(QWEN, tokens=400))]
        await begun(busy[0].sink)
        where = served_by(await home.ask(CHAT, chat(tokens=5)))
        await busy[0].task
        assert {where, served_by(busy[0].sink)} == {"a", "b"}


@virtual_time
async def test_two_equal_nodes_share_evenly_over_a_thousand_requests() -> None:
    """Failure 4: ties always going to the first node."""
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA])
        served: Counter[str | None] = Counter()
        for number in range(1000):
            served[served_by(await home.ask(CHAT, chat(tokens=1 + number % 3, stream=False)))] += 1
        assert min(served["a"], served["b"]) >= 450


@virtual_time
async def test_equal_nodes_that_were_measured_a_little_differently_share_evenly_at_load_too() -> None:
    async with scenario() as home:
        for name in ("a", "b", "c"):
            await home.node(name, [LLAMA], resident=[LLAMA], parallel=2)
        sent = []
        for number in range(150):
            sent.append(home.send(CHAT, chat(tokens=20 + number % 40)))
            await asyncio.sleep(0.05)
        await asyncio.gather(*(one.task for one in sent))
        served = Counter(served_by(one.sink) for one in sent)
        assert min(served.values()) >= 40


@virtual_time
async def test_a_deep_queue_on_a_hot_node_spills_to_a_cold_one() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        cold = await home.node("cold", [LLAMA])
        sent = [home.send(CHAT, chat(tokens=300)) for _ in range(12)]
        await asyncio.gather(*(one.task for one in sent))
        served = Counter(served_by(one.sink) for one in sent)
        assert served["hot"] > served["cold"] > 0
        assert cold.ollama.loads[LLAMA] == 1


@virtual_time
async def test_one_request_does_not_leave_a_hot_node_for_a_cold_one() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        cold = await home.node("cold", [LLAMA])
        sent = [home.send(CHAT, chat(tokens=5)) for _ in range(2)]
        await asyncio.gather(*(one.task for one in sent))
        assert [served_by(one.sink) for one in sent] == ["hot", "hot"]
        assert cold.ollama.loads[LLAMA] == 0


@virtual_time
async def test_big_models_go_to_big_machines_and_small_ones_to_small_ones_while_those_work() -> None:
    async with scenario() as home:
        both = [LLAMA, "qwen3:30b"]
        await home.node("studio", both, resident=both, profile=PROFILES["mac-studio"])
        await home.node("pro", both, resident=both, profile=PROFILES["mac-mini-pro"])
        assert served_by(await home.ask(CHAT, chat(tokens=2))) == "studio"  # idle: as good for a small one as any
        big, small = home.send(CHAT, chat("qwen3:30b", tokens=300)), home.send(CHAT, chat(tokens=2))
        await asyncio.gather(big.task, small.task)
        assert (served_by(big.sink), served_by(small.sink)) == ("studio", "pro")


@virtual_time
async def test_a_conversation_stays_where_its_prefix_is_unless_that_node_is_busy() -> None:
    async with scenario() as home:
        for name in ("a", "b", "c"):
            await home.node(name, [LLAMA], resident=[LLAMA])
        opening = [{"role": "user", "content": "tell me a story"}]
        first = served_by(await home.ask(CHAT, chat(messages=opening)))
        turns = [*opening, {"role": "assistant", "content": "once"}, {"role": "user", "content": "go on"}]
        for _ in range(3):
            assert served_by(await home.ask(CHAT, chat(messages=turns))) == first
        named = (("X-Herd-Session", "mine"),)
        second = served_by(await home.ask(CHAT, chat(text="one"), named))
        assert second != first
        assert served_by(await home.ask(CHAT, chat(text="two"), named)) == second
        busy = [home.send(CHAT, chat(messages=turns, tokens=300)) for _ in range(2)]
        await asyncio.gather(*(one.task for one in busy))
        assert served_by(busy[0].sink) == first
        assert served_by(busy[1].sink) != first


@virtual_time
async def test_what_was_learned_of_a_slow_machine_counts_in_the_next_decision() -> None:
    async with scenario() as home:
        await home.node("fast", [LLAMA], resident=[LLAMA], profile=PROFILES["mac-studio"])
        await home.node("slow", [LLAMA], resident=[LLAMA], profile=PROFILES["mini-pc"])
        sent = [home.send(CHAT, chat(tokens=100)) for _ in range(60)]
        await asyncio.gather(*(one.task for one in sent))
        served = Counter(served_by(one.sink) for one in sent)
        assert served["fast"] > 2 * served["slow"] > 0


@virtual_time
async def test_what_ran_beside_others_teaches_how_fast_it_would_have_been_alone() -> None:
    async with scenario() as home:
        await home.node("alone", [LLAMA], resident=[LLAMA])
        await home.node("shared", [QWEN], resident=[QWEN], parallel=4)
        learner = home.router.parts.learner
        sent = [home.send(CHAT, chat(QWEN, tokens=200)) for _ in range(4)]
        await asyncio.gather(*(one.task for one in sent))
        (lesson,) = await learner.lessons.remote()
        last = next(one.sink for one in reversed(sent))
        whole = lines(last)[-1]
        crowded = whole["eval_count"] / (whole["eval_duration"] / 1e9)
        assert lesson.learned.decode.alone > 1.1 * crowded


@virtual_time
async def test_an_answer_that_did_not_come_whole_teaches_nothing() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        learner = home.router.parts.learner
        left = home.send(CHAT, chat(tokens=400))
        await begun(left.sink, pieces=20)
        left.task.cancel()
        await asyncio.sleep(1.0)
        for lie in (Lie.SHORT, Lie.ERROR):
            a.ollama.lie_next(lie)
            await asyncio.gather(home.send(CHAT, chat(tokens=100)).task, return_exceptions=True)
        a.ollama.die_mid_stream(50)
        await asyncio.gather(home.send(CHAT, chat(tokens=100)).task, return_exceptions=True)
        assert await learner.lessons.remote() == ()
        await home.ask(CHAT, chat(tokens=100))
        (lesson,) = await learner.lessons.remote()
        assert lesson.learned.decode.alone > 0
        assert lesson.learned.first_token is not None


@virtual_time
async def test_what_a_server_had_in_its_cache_does_not_teach_how_fast_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    right = UsageReader.usage

    def nearly_all_cached(self: UsageReader) -> Usage:
        usage = right(self)
        return replace(usage, cached=Tokens(usage.prompt - 1))

    monkeypatch.setattr(UsageReader, "usage", nearly_all_cached)
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        await home.ask(CHAT, chat(tokens=100, text="word " * 200))
        (lesson,) = await home.router.parts.learner.lessons.remote()
        assert lesson.learned.decode.alone > 0
        assert lesson.learned.prefill.alone == 0
