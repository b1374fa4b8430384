"""What a slot still holds of a prompt is not read again: see `bench` for the machine."""

import asyncio

import pytest

from herd.runtime.testing import virtual_time
from herd.simulation.ollama.prefix_cache import _common
from tests.simulation.ollama.bench import (
    TOKEN_S,
    A,
    Bench,
)

TALK = "<user>" + "tell me of the sea. " * 40  # 806 letters, some 200 tokens


@virtual_time
async def test_the_second_turn_of_a_conversation_skips_what_the_first_one_read() -> None:
    bench = Bench()
    first = await bench.ask(prompt=201, text=TALK)
    second = await bench.ask(prompt=261, text=TALK + "<assistant>It is wet.<user>" + "go on. " * 30)
    assert first.cached == 0
    assert second.cached == len(TALK) // 4
    assert second.read - second.granted == pytest.approx((261 - second.cached) * TOKEN_S)


@virtual_time
async def test_the_last_token_of_a_prompt_is_always_read() -> None:
    bench = Bench()
    await bench.ask(prompt=150, text=TALK)
    again = await bench.ask(prompt=150, text=TALK)
    assert again.cached == 149
    assert again.read - again.granted == pytest.approx(TOKEN_S)


@virtual_time
async def test_a_prompt_of_another_text_is_read_whole() -> None:
    bench = Bench()
    await bench.ask(prompt=201, text=TALK)
    other = await bench.ask(prompt=201, text="X" + TALK)
    assert other.cached == 0
    assert other.read - other.granted == pytest.approx(201 * TOKEN_S)


@virtual_time
async def test_the_slot_with_the_longest_common_beginning_is_taken() -> None:
    bench = Bench(parallel=3)
    texts = [TALK[:200], TALK[:600], "Y" + TALK]
    await asyncio.gather(*[bench.ask(prompt=200, text=text) for text in texts])
    assert (await bench.ask(prompt=200, text=TALK)).cached == 600 // 4
    assert (await bench.ask(prompt=200, text=TALK)).cached == 199  # it is the whole talk now
    assert (await bench.ask(prompt=200, text="Y" + TALK)).cached == 199  # and the others are as they were


@virtual_time
async def test_a_text_that_no_slot_knows_takes_the_one_that_was_unused_for_longest() -> None:
    bench = Bench(parallel=2)
    await bench.warm(A)
    for text in ("one" * 100, "two" * 100):
        await bench.ask(prompt=100, text=text)
    await bench.ask(prompt=100, text="one" * 100)  # so "two" is the older one
    await bench.ask(prompt=100, text="six" * 100)
    assert (await bench.ask(prompt=100, text="one" * 100)).cached == 75


@virtual_time
async def test_a_slot_that_is_in_use_is_nobody_elses() -> None:
    bench = Bench(parallel=2)
    await bench.ask(prompt=200, text=TALK)
    first, second = await asyncio.gather(*[bench.ask(prompt=200, text=TALK, tokens=50) for _ in range(2)])
    assert (first.cached, second.cached) == (199, 0)


@virtual_time
async def test_who_only_loads_takes_no_slots_prompt() -> None:
    bench = Bench()
    await bench.ask(prompt=201, text=TALK)
    async with bench.engine.slot(bench.job(load_only=True), TALK):
        assert (await bench.ask(prompt=201, text=TALK)).cached == 200


@virtual_time
async def test_an_unload_empties_the_slots() -> None:
    bench = Bench()
    await bench.ask(prompt=200, text=TALK)
    bench.engine.unload(A.name)
    assert bench.loaded == []
    assert (await bench.ask(prompt=200, text=TALK)).cached == 0


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [("", "", 0), ("a", "", 0), ("a", "b", 0), ("same", "same", 4), ("same", "sane", 2), ("same", "same again", 4)],
)
def test_the_common_beginning_of_two_texts(one: str, other: str, common: int) -> None:
    assert _common(one, other) == _common(other, one) == common
