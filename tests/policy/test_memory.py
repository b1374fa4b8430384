"""What fits where."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.loads import NO_LOAD, ModelLoad, NodeLoad, Reservation
from herd.policy.memory import CEILINGS, Residency, budget, ceiling, default_context, need, roomier
from herd.policy.values import Hardware, Memory, MemoryKind, Reason
from herd.types import Bytes, GiB, Seconds, Tokens, Workload
from tests.policy.views import card, model, node

MIB = 2**20


def unified(total: float, free: float, *, machine: float) -> dict[str, Any]:
    """The fields of a node whose GPU shares the machine's memory."""
    memory = Memory(Bytes(int(total * GiB)), Bytes(int(free * GiB)), Bytes(int(machine * GiB)))
    return {"memory": memory, "hardware": Hardware(MemoryKind.UNIFIED, 400e9)}


def reserved(gib: float) -> Reservation:
    return Reservation(Bytes(int(gib * GiB)), Tokens(0), Seconds(0), Seconds(300))


@pytest.mark.parametrize(
    ("total", "context"), [(0, 0), (8, 4096), (22, 4096), (24, 32_768), (46, 32_768), (48, 262_144)]
)
def test_without_a_word_of_its_own_ollama_chooses_a_context_by_its_video_memory(total: int, context: int) -> None:
    assert default_context(node("a", **card(total, total))) == context


def test_a_declared_context_counts_and_without_a_gpu_it_is_the_smallest() -> None:
    ram = Memory(Bytes(64 * GiB), Bytes(60 * GiB), Bytes(64 * GiB))

    assert default_context(node("a", context=Tokens(16_384), **card(48, 48))) == 16_384
    assert default_context(node("a", memory=ram)) == 4096


def test_a_model_needs_its_weights_and_keys_and_values_for_every_slot() -> None:
    view = model(gib=4, kv_per_token=Bytes(MIB // 8), slots=2)

    assert need(view, Tokens(4096), None) == 4 * GiB + 2 * 4096 * MIB // 8


def test_what_was_seen_anywhere_counts_instead_of_a_sum_corrected_for_the_context_and_the_slots() -> None:
    view = model(gib=4, kv_per_token=Bytes(MIB // 8))
    once = Residency(Bytes(6 * GiB), Tokens(4096), 1)  # and 1.5 GiB beside weights and cache

    assert need(view, Tokens(4096), once) == 6 * GiB
    assert need(view, Tokens(8192), once) == 6 * GiB + 4096 * MIB // 8
    assert need(replace(view, slots=3), Tokens(4096), once) == 6 * GiB + 2 * 4096 * MIB // 8


def test_a_server_with_more_slots_than_could_be_read_does_not_make_a_small_context_large() -> None:
    view = model(gib=2, kv_per_token=Bytes(MIB // 8))
    three = Residency(Bytes(2 * GiB + 3 * 131_072 * MIB // 8), Tokens(131_072), 1)

    assert need(view, Tokens(131_072), three) == three.size
    assert need(view, Tokens(4096), three) == 2 * GiB + 3 * 4096 * MIB // 8


@pytest.mark.parametrize("kv", [0, MIB], ids=["of a size nobody knows", "in fewer bits than its file says"])
def test_a_cache_that_is_not_as_expected_is_taken_to_be_what_was_seen_beyond_the_weights(kv: int) -> None:
    view = model(gib=4, kv_per_token=Bytes(kv))
    large = Residency(Bytes(6 * GiB), Tokens(8192), 2)

    assert need(replace(view, slots=2), Tokens(8192), large) == 6 * GiB
    assert need(view, Tokens(4096), large) == 4.5 * GiB


def test_a_model_that_does_not_say_how_large_it_is_needs_nobody_knows_what() -> None:
    assert need(model(kv_per_token=Bytes(MIB)), Tokens(4096), None) == 0


def test_the_owners_ceiling_is_a_share_of_the_memory_that_the_owner_lives_in() -> None:
    assert ceiling(node("mac", **unified(48, 48, machine=64))) == int(64 * GiB * CEILINGS[Workload.IDLE])
    assert ceiling(node("pc", **card(24, 24))) == 0


@pytest.mark.parametrize(
    ("workload", "share"),
    [(Workload.IDLE, 0.9), (Workload.LIGHT, 0.8), (Workload.MODERATE, 0.5), (Workload.HEAVY, 0.25)],
)
def test_the_more_the_owner_does_the_less_is_left_to_models(workload: Workload, share: float) -> None:
    mac = node("mac", model("m", gib=10), workload=workload, **unified(48, 48, machine=64))

    assert ceiling(mac) == int(64 * GiB * share)
    assert budget("m", Bytes(0), mac).room("m", NO_LOAD).later == min(48 * GiB, int(64 * GiB * share))


def test_a_machine_without_an_owner_has_no_ceiling_nor_has_one_whose_models_live_on_a_card() -> None:
    assert ceiling(node("mac", workload=None, **unified(48, 48, machine=64))) == 0
    assert ceiling(node("pc", workload=Workload.HEAVY, **card(24, 24))) == 0


def test_a_machine_that_is_short_of_memory_has_none_for_a_load_whatever_is_measured() -> None:
    short = (Reason("memory-pressure", "is short of memory"),)
    mac = node("mac", model("m", gib=4, resident=True), reasons=short, **unified(48, 40, machine=64))

    assert budget("m", Bytes(GiB), mac).room("m", NO_LOAD) == (0, 0)  # not even for a larger context of `m`


def test_more_room_is_what_gets_free_what_the_owner_leaves_and_the_end_of_pressure() -> None:
    before = node("mac", workload=Workload.HEAVY, **unified(48, 40, machine=64))
    short = replace(before, reasons=(Reason("memory-pressure", "is short of memory"),))
    freed = replace(before.memory, free=Bytes(41 * GiB))

    assert not roomier(before, before)
    assert not roomier(before, replace(before, memory=replace(freed, free=Bytes(1))))
    assert roomier(before, replace(before, memory=freed))
    assert roomier(before, replace(before, workload=Workload.MODERATE))
    assert roomier(before, replace(before, workload=None))
    assert not roomier(replace(before, workload=None), before)
    assert roomier(short, before)
    assert not roomier(before, replace(short, memory=freed))


def test_models_may_take_no_more_than_the_ceiling_together() -> None:
    taken = model("other", gib=20, resident=True)
    mac = node("mac", model("m", gib=10), taken, **unified(32, 12, machine=32))

    there = budget("m", Bytes(10 * GiB), mac).room("m", NodeLoad(1, 1, {"other": ModelLoad(1)}))
    assert there.now == int(32 * GiB * CEILINGS[Workload.IDLE]) - 20 * GiB
    assert there.later == int(32 * GiB * CEILINGS[Workload.IDLE])


def test_a_model_that_is_loaded_anew_gives_back_what_it_has_even_in_use() -> None:
    pc = node("pc", model("m", gib=10, resident=True), **card(24, 14))

    assert budget("m", Bytes(20 * GiB), pc).room("m", NodeLoad(1, 1, {"m": ModelLoad(1)})).now == 24 * GiB


def test_reservations_of_others_are_not_free_and_ones_own_is() -> None:
    pc = node("pc", model("m", gib=10), **card(24, 24))
    held = NodeLoad(2, 1, {}, {"m": reserved(10), "n": reserved(8)}, 18 * GiB)

    assert budget("m", Bytes(10 * GiB), pc).room("m", held).now == 16 * GiB


SIZES = st.integers(0, 40)


@given(st.lists(st.tuples(SIZES, st.booleans()), max_size=4), SIZES, SIZES)
def test_there_is_never_more_room_now_than_later_nor_than_the_machine_has(
    others: list[tuple[int, bool]], free: int, kept: int
) -> None:
    models = [model(f"m{number}", gib=size, resident=True) for number, (size, _) in enumerate(others)]
    total = free + sum(size for size, _ in others)
    busy = {f"m{number}": ModelLoad(1) for number, (_, used) in enumerate(others) if used}
    held = NodeLoad(len(busy), 1, busy, {"n": reserved(kept)} if kept else {}, kept * GiB)
    pc = node("pc", model("m"), *models, **card(total, free))

    there = budget("m", Bytes(0), pc).room("m", held)
    assert there.now <= there.later <= (total - kept) * GiB
    assert budget("m", Bytes(0), pc).room("m", NO_LOAD).now == total * GiB
