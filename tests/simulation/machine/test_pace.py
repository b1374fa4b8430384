"""How long a machine takes. The figures here are round; those of real machines are in test_profiles.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.simulation.machine.catalog import GB, SimulatedModel
from herd.simulation.machine.pace import BATCH_COST, CHUNK, LOAD_FLOOR, MachineProfile, Running, rates
from herd.types import Bytes, GiB, KiB, Tokens
from tests.simulation.round_machine import MACHINE

STEP_S = 0.1  # one read of the weights of `MODEL`


def model(name: str = "a", *, size: float = 5 * GB, kv: int = 0, active_share: float = 1.0) -> SimulatedModel:
    return SimulatedModel(
        name, Bytes(int(size)), "9B", "Q4_K_M", "llama", Tokens(8192), (), Bytes(kv), active_share=active_share
    )


MODEL, OTHER = model(), model("b")
DECODING, PREFILLING = Running(MODEL, prefilling=False), Running(MODEL, prefilling=True)
OTHER_DECODING = Running(OTHER, prefilling=False)


def test_a_load_reads_the_file_from_disk() -> None:
    assert MACHINE.load_s(MODEL) == pytest.approx(LOAD_FLOOR + 2.5)


def test_a_token_reads_the_weights_once() -> None:
    assert MACHINE.decode_step_s(MODEL) == pytest.approx(STEP_S)


def test_a_batch_is_slower_for_each_and_faster_for_all() -> None:
    together = MACHINE.decode_step_s(MODEL, batch=4)
    assert together == pytest.approx(STEP_S * (1 + 3 * BATCH_COST))
    assert together / 4 < STEP_S


def test_a_long_conversation_is_read_with_every_token() -> None:
    remembers = model(kv=128 * KiB)
    tokens = 5 * GB / (128 * KiB)  # as heavy as the weights
    assert MACHINE.decode_step_s(remembers, context=tokens) == pytest.approx(2 * STEP_S)


def test_a_mixture_of_experts_reads_only_its_active_weights() -> None:
    mixture = model(size=50 * GB, active_share=0.1)
    assert MACHINE.decode_step_s(mixture) == pytest.approx(STEP_S)
    assert MACHINE.load_s(mixture) == pytest.approx(LOAD_FLOOR + 25)


def test_a_prompt_is_read_many_tokens_at_a_time() -> None:
    assert MACHINE.prefill_s(MODEL, 20) == pytest.approx(STEP_S)


def test_a_faster_machine_does_everything_in_less_time() -> None:
    fast = MACHINE.faster(20)
    assert fast.load_s(MODEL) == pytest.approx(MACHINE.load_s(MODEL) / 20)
    assert fast.decode_step_s(MODEL) == pytest.approx(STEP_S / 20)
    assert fast.prefill_s(MODEL, 100) == pytest.approx(MACHINE.prefill_s(MODEL, 100) / 20)
    assert fast.faster(2).decode_step_s(MODEL) == pytest.approx(STEP_S / 40)


@pytest.mark.parametrize(
    ("gpu", "model_memory", "context"),
    [
        (True, 96, 262_144),
        (True, 47, 262_144),
        (True, 46, 32_768),
        (True, 23, 32_768),
        (True, 22, 4096),
        (False, 96, 4096),
    ],
)
def test_the_default_context_follows_the_video_memory(gpu: bool, model_memory: int, context: int) -> None:
    machine = MachineProfile("m", "c", Bytes(128 * GiB), Bytes(model_memory * GiB), gpu, GB, 1.0, 2.0, GB)
    assert machine.default_context == context


def test_nobody_runs() -> None:
    assert rates(MACHINE, []) == []


def test_one_request_has_the_machine_to_itself() -> None:
    assert rates(MACHINE, [DECODING]) == pytest.approx([10])
    assert rates(MACHINE, [PREFILLING]) == pytest.approx([200])


def test_requests_of_one_runner_decode_in_one_batch() -> None:
    assert rates(MACHINE, [DECODING] * 3) == pytest.approx([10 / (1 + 2 * BATCH_COST)] * 3)


def test_a_batch_reads_the_keys_and_values_of_all_in_it() -> None:
    remembers = model(kv=128 * KiB)
    tokens = 5 * GB / (128 * KiB)  # as heavy as the weights
    long, short = (Running(remembers, prefilling=False, context=context) for context in (tokens, 0))
    assert rates(MACHINE, [long, short]) == pytest.approx([10 / (2 + BATCH_COST)] * 2)


def test_prefills_of_one_runner_share_its_rate() -> None:
    assert rates(MACHINE, [PREFILLING] * 4) == pytest.approx([50] * 4)


def test_a_prefill_stalls_those_that_decode_beside_it() -> None:
    chunk_s = CHUNK / 200
    decoding, prefilling = rates(MACHINE, [DECODING, PREFILLING])
    assert decoding == pytest.approx(1 / (chunk_s + STEP_S))
    assert prefilling == pytest.approx(CHUNK / (chunk_s + STEP_S))
    assert decoding < rates(MACHINE, [DECODING])[0] / 20


def test_models_that_run_at_once_share_the_machine_evenly() -> None:
    assert rates(MACHINE, [DECODING, OTHER_DECODING]) == pytest.approx([5, 5])
    batch = 10 / (1 + BATCH_COST)
    assert rates(MACHINE, [DECODING, OTHER_DECODING, DECODING]) == pytest.approx([batch / 2, 5, batch / 2])


def test_a_prefill_of_another_model_costs_no_more_than_half() -> None:
    assert rates(MACHINE, [Running(OTHER, prefilling=True), DECODING]) == pytest.approx([100, 5])


@given(st.lists(st.sampled_from([DECODING, PREFILLING, OTHER_DECODING, Running(OTHER, prefilling=True)])))
def test_company_makes_nobody_faster(running: list[Running]) -> None:
    found = rates(MACHINE, running)
    assert len(found) == len(running)
    assert all(0 < rate <= rates(MACHINE, [one])[0] for one, rate in zip(running, found, strict=True))


@given(st.lists(st.sampled_from([DECODING, PREFILLING, OTHER_DECODING]), min_size=1), st.floats(0.1, 100))
def test_rates_follow_the_speed_of_the_machine(running: list[Running], factor: float) -> None:
    expected = [rate * factor for rate in rates(MACHINE, running)]
    assert rates(MACHINE.faster(factor), running) == pytest.approx(expected)
