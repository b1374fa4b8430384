"""Clients of an engine that hang up, at every moment there is: the slot comes back, and nobody else notices."""

import asyncio
import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.ollama.asks.ask import OllamaError
from herd.types import Bytes, GiB
from tests.simulation.ollama.bench import LOAD_S, PAIR_S, STEP_S, TOKEN_S, A, B, Bench, C, Told, at, now, timers, turns

READ_S = 20 * TOKEN_S  # a prompt of `Bench.ask`


async def hang_up(client: "asyncio.Task[Told]") -> None:
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client


# --- Without a slot ---------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_client_that_waits_for_a_slot_leaves_at_once() -> None:
    bench = Bench()
    await bench.warm(A)
    running, waiting, last = (bench.start(tokens=10) for _ in range(3))
    await turns()
    await hang_up(waiting)
    assert (bench.engine.running, bench.engine.waiting) == (1, 1)
    told = await running
    assert told.tokens[-1] - told.granted == pytest.approx(READ_S + 10 * STEP_S)
    assert (await last).granted == pytest.approx(told.tokens[-1])


@virtual_time
async def test_a_client_that_waits_for_another_load_leaves_at_once_and_its_own_never_begins() -> None:
    bench = Bench()
    first, second = bench.start(A), bench.start(B)
    await at(1.0)
    await hang_up(second)
    assert bench.engine.waiting == 1
    await first
    assert bench.engine.loads == {"a": 1}
    assert bench.loaded == ["a"]


@virtual_time
async def test_a_load_that_nobody_waits_for_is_given_up_and_the_next_one_begins() -> None:
    bench = Bench()
    first, second = bench.start(A), bench.start(B)
    await at(1.0)
    await hang_up(first)
    assert bench.loaded == ["b"]
    assert (await second).granted == pytest.approx(1.0 + LOAD_S)


@virtual_time
async def test_a_load_that_somebody_else_waits_for_too_goes_on() -> None:
    bench = Bench()
    first, second = bench.start(A), bench.start(A)
    await at(1.0)
    await hang_up(first)
    assert (await second).granted == pytest.approx(LOAD_S)


@virtual_time
async def test_a_client_that_leaves_in_the_turn_of_its_grant_gives_the_slot_to_the_next() -> None:
    bench = Bench()
    await bench.warm(A)
    began = now()
    holder = bench.engine.slot(bench.job())
    await holder.__aenter__()
    granted, last = bench.start(), bench.start()
    await turns()
    await holder.__aexit__(None, None, None)  # now the slot is the second one's, which does not know it yet
    assert bench.engine.running == 1
    await hang_up(granted)
    assert (await last).granted == began
    await bench.settled()


@virtual_time
async def test_a_client_that_leaves_in_the_turn_of_its_refusal_is_no_trouble() -> None:
    bench = Bench(max_loaded=1)
    await bench.warm(A)
    running, waiting = bench.start(A, tokens=10), bench.start(B)
    await turns()
    bench.engine.set_memory(Bytes(1 * GiB))
    await hang_up(waiting)
    await running
    assert (bench.engine.running, bench.engine.waiting) == (0, 0)


# --- With a slot ------------------------------------------------------------------------------------------------------


@virtual_time
async def test_who_leaves_in_the_prompt_gives_the_slot_back_at_its_end() -> None:
    bench = Bench()
    await bench.warm(A)
    began = now()
    reading, waiting = bench.start(prompt=200), bench.start()
    await asyncio.sleep(0.3)
    await hang_up(reading)
    assert bench.engine.running == 1
    assert (await waiting).granted == pytest.approx(began + 200 * TOKEN_S)


@virtual_time
async def test_the_slot_holds_the_prompt_of_who_left_while_it_was_read() -> None:
    bench = Bench()
    await bench.ask(prompt=101, text="before " * 50)
    reading = bench.start(prompt=201, text="one two " * 100)
    await asyncio.sleep(0.3)
    await hang_up(reading)
    assert (await bench.ask(prompt=201, text="one two " * 100)).cached == 200
    assert (await bench.ask(prompt=101, text="before " * 50)).cached == 0


@pytest.mark.parametrize("at_once", [1, 5, 20])
@virtual_time
async def test_who_leaves_in_the_answer_gives_the_slot_back_at_the_next_token(at_once: int) -> None:
    bench = Bench()
    await bench.warm(A)
    began = now()
    answered, waiting = bench.start(tokens=40, at_once=at_once), bench.start()
    await at(began + READ_S + 12.5 * STEP_S)
    await hang_up(answered)
    assert bench.engine.running == 1
    assert (await waiting).granted == pytest.approx(began + READ_S + 13 * STEP_S)


@virtual_time
async def test_who_leaves_while_it_does_not_read_gives_the_slot_back_at_once() -> None:
    bench = Bench()
    await bench.warm(A)
    began = now()
    late, waiting = bench.start(tokens=5, pauses=[100.0]), bench.start()
    await at(began + 50.0)
    await hang_up(late)
    assert (await waiting).granted == pytest.approx(began + 50.0)


@virtual_time
async def test_who_shares_a_batch_with_one_that_leaves_is_faster_from_the_next_token_on() -> None:
    bench = Bench(parallel=2)
    await bench.warm(A)
    one, other = bench.start(tokens=10), bench.start(tokens=10)
    await asyncio.sleep(2 * READ_S + 3.5 * PAIR_S)
    await hang_up(one)
    told = await other
    assert told.tokens[-1] - told.read == pytest.approx(4 * PAIR_S + 6 * STEP_S)


@virtual_time
async def test_who_leaves_a_machine_without_power_gives_the_slot_back_when_it_has_some_again() -> None:
    bench = Bench()
    await bench.warm(A)
    began = now()
    answered, waiting = bench.start(tokens=40), bench.start()
    await at(began + READ_S + 2.5 * STEP_S)
    bench.engine.set_power(0.0, 0.0)
    await hang_up(answered)
    await asyncio.sleep(100.0)
    assert bench.engine.running == 1
    bench.engine.set_power(1.0, 1.0)
    assert (await waiting).granted == pytest.approx(began + 100.0 + READ_S + 3 * STEP_S)


MOMENTS = {
    "the end of the prompt": LOAD_S + READ_S,
    "the first token": LOAD_S + READ_S + STEP_S,
    "a later token": LOAD_S + READ_S + 5 * STEP_S,
    "the last token": LOAD_S + READ_S + 10 * STEP_S,
    "the end of the load": LOAD_S,
}


@pytest.mark.parametrize("early", [1e-10, 0.0, -1e-10], ids=["just before", "at", "just after"])
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@virtual_time
async def test_who_leaves_in_the_moment_in_which_something_is_done_gives_the_slot_back(
    moment: float, early: float
) -> None:
    bench = Bench()
    leaving = bench.start(tokens=10)
    asyncio.get_running_loop().call_at(moment - early, leaving.cancel)
    await asyncio.wait([leaving])
    await bench.settled(within=2.0)
    assert (await bench.ask()).tokens


@virtual_time
async def test_who_leaves_a_hair_before_the_last_token_that_it_wanted_does_not_make_one_more() -> None:
    bench = Bench()
    await bench.warm(A)
    began = now()
    leaving, waiting = bench.start(tokens=1), bench.start()
    asyncio.get_running_loop().call_at(began + READ_S + STEP_S - 1e-8, leaving.cancel)
    assert (await waiting).granted == pytest.approx(began + READ_S + STEP_S)
    assert leaving.cancelled()


@virtual_time
async def test_who_left_before_a_grant_is_forgotten() -> None:
    bench = Bench()
    await bench.warm(A)
    running, waiting = bench.start(), bench.start()
    await turns()
    await hang_up(waiting)
    await running
    assert bench.engine._grants == {}


# --- Any of it, at any time -------------------------------------------------------------------------------------------

GRID = st.integers(0, 40).map(lambda number: number * 0.25)  # so coarse that much happens at once
ANY = st.floats(0.0, 12.0, allow_nan=False)
TIMES = GRID | ANY


@dataclass(frozen=True)
class Plan:
    """One client."""

    at: float
    model: int
    prompt: int
    tokens: int
    at_once: int
    stays: float  # seconds, then it hangs up
    pause: float  # after each of its first tokens


PLANS = st.builds(
    Plan,
    at=TIMES,
    model=st.integers(0, 2),
    prompt=st.sampled_from([1, 20, 100, 400]),
    tokens=st.sampled_from([0, 1, 5, 10]),
    at_once=st.sampled_from([1, 5]),
    stays=st.just(math.inf) | TIMES,
    pause=st.sampled_from([0.0, 0.0, 0.1, 3.0]),
)
POWERS = st.tuples(TIMES, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
MEMORIES = st.tuples(TIMES, st.sampled_from([4, 6, 12, 48]))


async def client(bench: Bench, plan: Plan) -> Told | None:
    """What a client was told; None when it left or was refused."""
    await asyncio.sleep(plan.at)
    asked = bench.start(
        (A, B, C)[plan.model],
        prompt=plan.prompt,
        tokens=plan.tokens,
        at_once=plan.at_once,
        pauses=[plan.pause, plan.pause],
        text=f"{plan.model} talks of the sea" * plan.prompt,
    )
    if plan.stays < math.inf:
        asyncio.get_running_loop().call_later(plan.stays, asked.cancel)
    await asyncio.wait([asked])
    if asked.cancelled() or isinstance(asked.exception(), OllamaError):
        return None
    return asked.result()


async def scenario(
    plans: list[Plan], powers: list[tuple[float, float, float]], memories: list[tuple[float, int]], parallel: int
) -> None:
    bench = Bench(parallel=parallel, max_loaded=2, keep_alive_s=20.0)
    loop, engine = asyncio.get_running_loop(), bench.engine
    for when, compute, disk in powers:
        loop.call_at(when, engine.set_power, compute, disk)
    for when, memory in memories:
        loop.call_at(when, engine.set_memory, Bytes(memory * GiB))
    loop.call_at(13.0, engine.set_power, 1.0, 1.0)
    loop.call_at(13.0, engine.set_memory, Bytes(48 * GiB))
    told = await asyncio.gather(*[client(bench, plan) for plan in plans])
    await asyncio.sleep(max(0.0, 13.5 - now()))  # after the last change of power
    await bench.settled(within=500.0)
    assert (engine.running, engine.waiting, engine.at_work) == (0, 0, False)
    check_times(plans, told)
    loaded = engine.loading_s
    after = await bench.ask(A, prompt=100, tokens=5)  # the machine is as good as new
    assert after.tokens[-1] - after.read == pytest.approx(5 * STEP_S)
    await asyncio.sleep(20.1)
    assert bench.loaded == []
    assert timers() == 0
    assert engine.loading_s == pytest.approx(loaded + after.load_s)


def check_times(plans: list[Plan], told: list[Told | None]) -> None:
    """Nobody is quicker than alone, and who stays has all that was asked for."""
    for plan, one in zip(plans, told, strict=True):
        if one is None:
            continue
        assert one.read - one.granted >= (plan.prompt - one.cached) * TOKEN_S - 1e-5
        assert len(one.tokens) == math.ceil(plan.tokens / plan.at_once)
        for number, time in enumerate(one.tokens, 1):
            assert time - one.read >= number * plan.at_once * STEP_S - 1e-5


@settings(max_examples=200, deadline=None)
@given(
    st.lists(PLANS, min_size=1, max_size=8),
    st.lists(POWERS, max_size=3),
    st.lists(MEMORIES, max_size=2),
    st.integers(1, 3),
)
@example([Plan(0.0, 0, 400, 5, 1, LOAD_S + 400 * TOKEN_S, 0.0)], [], [], 1)
def test_whatever_happens_the_machine_is_free_in_the_end(
    plans: list[Plan], powers: list[tuple[float, float, float]], memories: list[tuple[float, int]], parallel: int
) -> None:
    run_virtual(scenario(plans, powers, memories, parallel))


# --- Work conservation ------------------------------------------------------------------------------------------------


async def busy_time(asked: list[tuple[int, int]], cuts: list[float], parallel: int) -> tuple[float, float]:
    """Seconds in which some model computed, and seconds of computing that was asked for, of one model of one slot."""
    bench = Bench(parallel=parallel)
    await bench.warm(A)
    began = now()
    loop = asyncio.get_running_loop()
    clock = began
    for number, cut in enumerate(sorted(cuts)):
        loop.call_at(began + cut, bench.engine.set_power, 0.5 if number % 2 == 0 else 1.0, 1.0)
    await asyncio.gather(*[bench.ask(prompt=prompt, tokens=tokens) for prompt, tokens in asked])
    half = sum(
        max(0.0, min(until, now() - began) - since)
        for since, until in zip(sorted(cuts)[::2], [*sorted(cuts)[1::2], math.inf], strict=False)
    )
    return now() - clock - half / 2, sum(prompt * TOKEN_S + tokens * STEP_S for prompt, tokens in asked)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 20)), min_size=1, max_size=6),
    st.lists(st.floats(0.1, 20.0), max_size=4, unique=True),
)
def test_on_one_slot_the_work_takes_the_sum_of_its_times_whatever_the_power(
    asked: list[tuple[int, int]], cuts: list[float]
) -> None:
    took, wanted = run_virtual(busy_time(asked, cuts, 1))
    assert took == pytest.approx(wanted, abs=1e-4)
