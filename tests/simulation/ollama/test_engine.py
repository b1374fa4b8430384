"""What a simulated machine takes for what it is asked, on a machine of round figures: see `bench`."""

import asyncio
import math

import pytest

from herd.runtime.testing import virtual_time
from herd.simulation.http import call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.pace import CHUNK
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.asks.ask import OllamaError
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, GiB, Tokens
from tests.simulation.ollama.bench import (
    LOAD_S,
    PAIR_S,
    STALLED_S,
    STEP_S,
    TOKEN_S,
    A,
    B,
    Bench,
    C,
    at,
    now,
    since,
    timers,
    turns,
)

# --- How long things take ---------------------------------------------------------------------------------------------


@virtual_time
async def test_a_request_alone_takes_its_load_its_prompt_and_its_tokens() -> None:
    told = await Bench().ask(prompt=100, tokens=3)
    assert told.granted == pytest.approx(LOAD_S)
    assert told.load_s == pytest.approx(LOAD_S)
    assert told.read == pytest.approx(LOAD_S + 100 * TOKEN_S)
    assert told.tokens == pytest.approx([told.read + STEP_S, told.read + 2 * STEP_S, told.read + 3 * STEP_S])


@virtual_time
async def test_a_prefill_stalls_those_that_decode_beside_it_and_then_they_make_a_batch() -> None:
    bench = Bench(parallel=2)
    await bench.warm(A)
    began = now()
    first = bench.start(prompt=20, tokens=20)
    await at(began + 20 * TOKEN_S + 10 * STEP_S)  # it has made ten
    second = bench.start(prompt=200, tokens=5)
    told, other = await first, await second

    prefill_s = 200 * STALLED_S / CHUNK
    assert other.read - other.granted == pytest.approx(prefill_s)
    assert other.tokens[-1] - other.read == pytest.approx(5 * PAIR_S)
    made_meanwhile = prefill_s / STALLED_S + 5
    assert told.tokens[-1] == pytest.approx(other.tokens[-1] + (10 - made_meanwhile) * STEP_S)


@virtual_time
async def test_two_that_prefill_share_the_rate_and_then_the_longer_one_has_all_of_it() -> None:
    bench = Bench(parallel=2)
    await bench.warm(A)
    began = now()
    short, long = bench.start(prompt=100, tokens=1), bench.start(prompt=300, tokens=1)
    await at(began + 200 * TOKEN_S - 0.001)
    short.cancel()  # so that it makes no token beside the longer one's prompt
    assert (await long).read - began == pytest.approx(400 * TOKEN_S)


@virtual_time
async def test_a_second_model_takes_half_of_the_machine_for_as_long_as_it_runs() -> None:
    bench = Bench()
    await bench.warm(A, B)
    began = now()
    first = bench.start(A, prompt=20, tokens=20)
    await at(began + 20 * TOKEN_S + 10 * STEP_S)
    other = await bench.ask(B, prompt=20, tokens=2)
    told = await first
    assert other.read - other.granted == pytest.approx(2 * 20 * TOKEN_S)
    assert other.tokens[-1] - other.read == pytest.approx(2 * 2 * STEP_S)
    made_meanwhile = (other.tokens[-1] - other.granted) / (2 * STEP_S)
    assert told.tokens[-1] - other.tokens[-1] == pytest.approx((10 - made_meanwhile) * STEP_S)


@virtual_time
async def test_tokens_that_are_taken_together_take_as_long_as_one_by_one() -> None:
    bench = Bench()
    one_by_one = await bench.ask(tokens=30)
    together = await bench.ask(tokens=30, at_once=10)
    assert together.tokens[-1] - together.read == pytest.approx(one_by_one.tokens[-1] - one_by_one.read)


@virtual_time
async def test_a_thousand_tokens_do_not_drift() -> None:
    told = await Bench().ask(tokens=1000)
    assert since(told.read, told.tokens) == pytest.approx([STEP_S * (number + 1) for number in range(1000)], abs=1e-5)


@virtual_time
async def test_a_load_does_not_slow_down_what_runs() -> None:
    bench = Bench()
    await bench.warm(A)
    loading = bench.start(B)
    told = await bench.ask(A, tokens=20)
    assert told.tokens[-1] - told.read == pytest.approx(20 * STEP_S)
    assert (await loading).load_s == pytest.approx(LOAD_S)


@virtual_time
async def test_who_comes_in_the_middle_of_a_load_waited_for_the_rest_of_it() -> None:
    bench = Bench(parallel=2)
    first = bench.start()
    await at(1.0)
    second = await bench.ask()
    assert second.load_s == pytest.approx(LOAD_S - 1.0)
    assert (await first).load_s == pytest.approx(LOAD_S)
    assert (await bench.ask()).load_s == 0.0


# --- A reader that is late --------------------------------------------------------------------------------------------


@virtual_time
async def test_a_reader_that_is_a_little_late_does_not_hold_the_model_up() -> None:
    told = await Bench().ask(tokens=35, pauses=[0.95 if number % 10 == 0 else 0.0 for number in range(30)])
    assert told.tokens[-1] - told.read == pytest.approx(35 * STEP_S)
    assert told.tokens[1] == told.tokens[9] == pytest.approx(told.tokens[0] + 0.95)  # what was made meanwhile


@virtual_time
async def test_a_reader_that_is_very_late_finds_what_a_second_made() -> None:
    told = await Bench().ask(tokens=30, pauses=[100.0])
    assert told.tokens[10] == pytest.approx(told.tokens[0] + 100.0)
    assert told.tokens[11] == pytest.approx(told.tokens[10] + STEP_S)
    assert told.tokens[-1] == pytest.approx(told.tokens[0] + 100.0 + 19 * STEP_S)


@virtual_time
async def test_what_was_made_ahead_of_a_late_reader_stays_made_when_the_machine_slows_down() -> None:
    bench = Bench()
    late = bench.start(tokens=30, pauses=[100.0])
    await at(50.0)
    bench.engine.set_power(0.1, 1.0)
    told = await late
    assert told.tokens[10] == pytest.approx(told.tokens[0] + 100.0)
    assert told.tokens[11] == pytest.approx(told.tokens[10] + 10 * STEP_S)


@virtual_time
async def test_a_reader_that_is_late_holds_up_nobody_beside_it() -> None:
    bench = Bench(parallel=2)
    await bench.warm(A)
    late, other = bench.start(tokens=2, pauses=[100.0]), bench.start(tokens=5, at_once=5)
    told = await other
    assert told.tokens == [pytest.approx(told.read + 5 * PAIR_S)]
    await late


@virtual_time
async def test_who_begins_to_decode_late_changes_nothing_of_what_was_made_before() -> None:
    bench = Bench(parallel=2)
    await bench.warm(A)
    async with bench.engine.slot(bench.job()) as first, bench.engine.slot(bench.job()) as second:
        await first.prefill(Tokens(20))
        first.start_decoding(0.0)
        answer = asyncio.create_task(first.make(4))
        await turns()
        began = now()
        await second.prefill(Tokens(20))
        await at(began + STALLED_S)  # one token is made beside a prompt that seems to go on
        second.start_decoding(0.0)
        await answer
        assert now() - began == pytest.approx(STALLED_S + 3 * PAIR_S)


# --- Power ------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_at_half_speed_everything_takes_twice_as_long() -> None:
    bench = Bench()
    bench.engine.set_power(0.5, 0.5)
    told = await bench.ask(prompt=100, tokens=5)
    assert told.granted == pytest.approx(2 * LOAD_S)
    assert told.read - told.granted == pytest.approx(2 * 100 * TOKEN_S)
    assert told.tokens[-1] - told.read == pytest.approx(2 * 5 * STEP_S)


@virtual_time
async def test_a_change_of_speed_counts_from_its_moment_on() -> None:
    bench = Bench()
    told = bench.start(prompt=20, tokens=20)
    await at(LOAD_S + 20 * TOKEN_S + 5 * STEP_S)
    bench.engine.set_power(0.25, 1.0)
    await at(now() + 4 * 5 * STEP_S)
    bench.engine.set_power(1.0, 1.0)
    asked = await told
    assert asked.tokens[-1] - asked.read == pytest.approx((5 + 4 * 5 + 10) * STEP_S)


@pytest.mark.parametrize("moment", [1.0, LOAD_S + 0.05, LOAD_S + 20 * TOKEN_S + 0.25], ids=["load", "prompt", "answer"])
@virtual_time
async def test_without_power_everything_stands_still_and_goes_on_later(moment: float) -> None:
    bench = Bench()
    told, waiting = bench.start(prompt=20, tokens=5), bench.start(prompt=20, tokens=5)
    await at(moment)
    bench.engine.set_power(0.0, 0.0)
    await asyncio.sleep(5000.0)
    assert not told.done()
    bench.engine.set_power(1.0, 1.0)
    alone_s = 20 * TOKEN_S + 5 * STEP_S
    assert (await told).tokens[-1] == pytest.approx(5000.0 + LOAD_S + alone_s)
    assert (await waiting).tokens[-1] == pytest.approx(5000.0 + LOAD_S + 2 * alone_s)


@virtual_time
async def test_a_machine_without_power_has_no_timer_for_what_it_does() -> None:
    bench = Bench()
    told = bench.start()
    await at(1.0)
    bench.engine.set_power(0.0, 0.0)
    assert timers() == 0
    bench.engine.set_power(1.0, 1.0)
    await told


@virtual_time
async def test_the_seconds_of_loads_are_counted_and_those_that_it_stood_still_are_not() -> None:
    bench = Bench()
    first = bench.start(A)
    await at(1.0)
    assert bench.engine.loading_s == pytest.approx(1.0)  # also in the middle of one
    bench.engine.set_power(0.0, 0.0)
    await asyncio.sleep(1000.0)
    bench.engine.set_power(0.5, 0.5)
    await first
    assert bench.engine.loading_s == pytest.approx(1.0 + 2 * (LOAD_S - 1.0))
    bench.engine.set_power(1.0, 1.0)
    await bench.ask(A)
    await bench.ask(B)
    assert bench.engine.loading_s == pytest.approx(1.0 + 2 * (LOAD_S - 1.0) + LOAD_S)
    assert bench.engine.loads == {"a": 1, "b": 1}


@virtual_time
async def test_a_load_that_is_given_up_counts_for_as_long_as_it_lasted() -> None:
    bench = Bench()
    client = bench.start(A)
    await at(1.0)
    client.cancel()
    await turns()
    assert bench.engine.loading_s == pytest.approx(1.0)
    assert not bench.engine.at_work
    assert bench.loaded == []
    await asyncio.sleep(10.0)
    assert bench.engine.loading_s == pytest.approx(1.0)


# --- Memory -----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_less_memory_refuses_what_no_longer_fits_and_leaves_what_is_there() -> None:
    bench = Bench()
    await bench.warm(A)
    bench.engine.set_memory(Bytes(3 * GiB))
    with pytest.raises(OllamaError, match="model requires more system memory") as refused:
        await bench.ask(B)
    assert refused.value.status == 500
    assert (await bench.ask(A, tokens=2)).load_s == 0.0
    assert bench.loaded == ["a"]


@virtual_time
async def test_less_memory_refuses_who_waits_at_that_moment() -> None:
    bench = Bench(max_loaded=1)
    await bench.warm(A)
    running = bench.start(A, tokens=50)
    await asyncio.sleep(1.0)
    waiting = bench.start(B)
    await turns()
    assert bench.engine.waiting == 1
    bench.engine.set_memory(Bytes(3 * GiB))
    with pytest.raises(OllamaError, match="model requires more system memory"):
        await waiting
    assert not running.done()
    await running


@virtual_time
async def test_less_memory_makes_room_by_eviction_and_more_does_without() -> None:
    bench = Bench()
    await bench.warm(A, B)
    bench.engine.set_memory(Bytes(12 * GiB))
    await bench.warm(C)
    assert len(bench.loaded) == 2
    bench.engine.set_memory(Bytes(48 * GiB))
    await bench.warm(A, B, C)
    assert sorted(bench.loaded) == ["a", "b", "c"]


# --- Keep-alive -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_an_idle_model_goes_by_itself_and_those_who_watch_are_told() -> None:
    bench = Bench(keep_alive_s=60.0)
    told = await bench.ask()
    assert bench.loaded == ["a"]
    await asyncio.sleep(59.9)
    assert bench.loaded == ["a"]
    await asyncio.sleep(0.2)
    assert bench.loaded == []
    assert bench.changes[-1] == pytest.approx(told.tokens[-1] + 60.0)
    assert timers() == 0


@virtual_time
async def test_each_model_has_a_time_of_its_own_and_use_begins_it_anew() -> None:
    bench = Bench(keep_alive_s=math.inf)
    await bench.ask(A, keep_alive=100.0)
    other = await bench.ask(B, keep_alive=200.0)
    await bench.ask(C)
    await at(90.0)
    again = await bench.ask(A)
    for until, loaded in (
        (again.tokens[-1] + 99.9, ["a", "b", "c"]),
        (again.tokens[-1] + 100.1, ["b", "c"]),
        (other.tokens[-1] + 199.9, ["b", "c"]),
        (other.tokens[-1] + 200.1, ["c"]),
        (1e6, ["c"]),
    ):
        await at(until)
        assert bench.loaded == loaded
    assert timers() == 0


@virtual_time
async def test_one_timer_waits_for_the_model_that_goes_next() -> None:
    bench = Bench()
    for keep_alive in (50.0, 40.0, 60.0):
        await bench.warm(A, keep_alive=keep_alive)
        await bench.warm(B, keep_alive=keep_alive + 1.0)
    assert timers() == 1


@virtual_time
async def test_a_timer_that_goes_off_early_is_set_again() -> None:
    bench = Bench()
    await bench.warm(A, keep_alive=10.0)
    timer = bench.engine._expiry
    assert timer is not None
    timer.cancel()
    bench.engine._expire()
    assert bench.loaded == ["a"]
    await asyncio.sleep(10.1)
    assert bench.loaded == []


@virtual_time
async def test_a_machine_that_loads_is_at_work() -> None:
    bench = Bench()
    holder = asyncio.create_task(bench.warm(A))
    await at(1.0)
    assert bench.engine.at_work
    assert bench.engine.running == 0
    await holder
    assert not bench.engine.at_work


@virtual_time
async def test_a_busy_model_does_not_go() -> None:
    bench = Bench()
    told = await bench.ask(tokens=100, keep_alive=1.0)
    assert told.tokens[-1] - told.read == pytest.approx(100 * STEP_S)
    assert bench.loaded == ["a"]


# --- Options of a runner ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "loads"),
    [
        ({}, 1),
        ({"temperature": 0.1, "num_predict": 3}, 1),
        ({"num_batch": 512}, 1),
        ({"num_batch": 256}, 2),
        ({"num_gpu": 10}, 2),
        ({"num_ctx": 2048}, 2),
    ],
)
@virtual_time
async def test_options_of_the_runner_reload_it_when_they_differ_and_others_do_not(
    options: dict[str, object], loads: int
) -> None:
    fake = FakeOllama(PROFILES["mini-pc"], [CATALOG["llama3.2:3b"]])
    asked = {"model": "llama3.2:3b", "prompt": "hello", "stream": False, "options": {"num_predict": 2}}
    await call(fake.handle, "POST", "/api/generate", asked)
    for _ in range(2):  # who asks for the same again finds it
        await call(fake.handle, "POST", "/api/generate", {**asked, "options": {"num_predict": 2, **options}})
        assert fake.loads == {"llama3.2:3b": loads}


@pytest.mark.parametrize("options", [{}, {"num_gpu": -1}, {"num_gpu": -5}])
@virtual_time
async def test_who_leaves_the_layers_on_the_gpu_to_ollama_takes_what_the_runner_has(options: dict[str, int]) -> None:
    fake = FakeOllama(PROFILES["mini-pc"], [CATALOG["llama3.2:3b"]])
    asked = {"model": "llama3.2:3b", "prompt": "hello", "stream": False}
    for one, loads in (({"num_gpu": 10}, 1), (options, 1), ({"num_gpu": 10}, 1), ({"num_gpu": 0}, 2)):
        await call(fake.handle, "POST", "/api/generate", {**asked, "options": {"num_predict": 2, **one}})
        assert fake.loads == {"llama3.2:3b": loads}
