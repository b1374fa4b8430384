"""The published runs that the profiles were taken from come out of their formulas again."""

import pytest

from herd.simulation.catalog import CATALOG, GB, SimulatedModel
from herd.simulation.profiles import BATCH_COST, LOAD_FLOOR, PROFILES
from herd.types import Bytes, Tokens

LLAMA = CATALOG["llama3.2:3b"]


def seven_billion(size: float) -> SimulatedModel:
    return SimulatedModel("7b", Bytes(int(size)), "7B", "Q4_0", "llama", Tokens(4096), (), Bytes(0))


@pytest.mark.parametrize(
    ("profile", "size", "tokens_in", "tokens_out"),
    [("mac-studio", 3.8 * GB, 1238, 94), ("gaming-pc", 6.6 * GB, 4668, 93), ("macbook-air", 3.8 * GB, 180, 22)],
)
def test_speeds_of_a_published_run(profile: str, size: float, tokens_in: int, tokens_out: int) -> None:
    machine, model = PROFILES[profile], seven_billion(size)
    assert 1 / machine.decode_step_s(model) == pytest.approx(tokens_out, rel=0.05)
    assert 512 / machine.prefill_s(model, Tokens(512)) == pytest.approx(tokens_in, rel=0.05)


def test_a_load_reads_the_file_from_disk() -> None:
    machine = PROFILES["mini-pc"]
    assert machine.load_s(LLAMA) == pytest.approx(LOAD_FLOOR + LLAMA.size / (2 * GB))


def test_a_batch_is_slower_for_each_and_faster_for_all() -> None:
    machine = PROFILES["mini-pc"]
    alone, together = machine.decode_step_s(LLAMA), machine.decode_step_s(LLAMA, batch=4)
    assert together == pytest.approx(alone * (1 + 3 * BATCH_COST))
    assert together / 4 < alone


def test_two_models_share_the_bandwidth() -> None:
    machine = PROFILES["mini-pc"]
    assert machine.decode_step_s(LLAMA, models=2) == pytest.approx(2 * machine.decode_step_s(LLAMA))


def test_a_mixture_of_experts_reads_only_its_active_weights() -> None:
    machine = PROFILES["mac-studio"]
    mixture = CATALOG["qwen3:30b"]
    assert machine.decode_step_s(mixture) < machine.decode_step_s(CATALOG["gemma3:4b"])
    assert machine.load_s(mixture) > machine.load_s(CATALOG["gemma3:4b"])


def test_a_faster_machine_does_everything_in_less_time() -> None:
    machine = PROFILES["mini-pc"]
    fast = machine.faster(20)
    assert fast.load_s(LLAMA) == pytest.approx(machine.load_s(LLAMA) / 20)
    assert fast.decode_step_s(LLAMA) == pytest.approx(machine.decode_step_s(LLAMA) / 20)
    assert fast.prefill_s(LLAMA, Tokens(100)) == pytest.approx(machine.prefill_s(LLAMA, Tokens(100)) / 20)


@pytest.mark.parametrize(
    ("profile", "context"), [("mac-studio", 262_144), ("gaming-pc", 32_768), ("macbook-air", 4096), ("mini-pc", 4096)]
)
def test_the_default_context_follows_the_video_memory(profile: str, context: int) -> None:
    assert PROFILES[profile].default_context == context
