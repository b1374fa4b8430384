"""The published runs that the profiles were taken from come out of their figures again."""

from dataclasses import replace

import pytest

from herd.simulation.machine.catalog import CATALOG, GB, SimulatedModel
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, Tokens

Q4_7B, Q4_8B, Q6_8B = 3.82 * GB, 4.92 * GB, 6.6 * GB  # llama 7B Q4_0, 8B Q4_K_M, 8B Q6_K


def of_size(size: float) -> SimulatedModel:
    return SimulatedModel("llama", Bytes(int(size)), "7B", "Q4_0", "llama", Tokens(4096), (), Bytes(0))


@pytest.mark.parametrize(
    ("profile", "size", "tokens_in", "tokens_out"),
    [
        ("mac-studio", Q4_7B, 1238, 94.3),
        ("gaming-pc", Q6_8B, 4668, 93),
        ("macbook-air", Q4_7B, 180, 21.9),
        ("macbook-air-m1", Q4_7B, 118, 14.2),
        ("macbook-pro-m1", Q4_7B, 266, 36.4),
        ("macbook-pro-m3", Q4_7B, 760, 66.3),
        ("mac-mini", Q4_7B, 221, 24.1),
        ("mac-mini-pro", Q4_7B, 440, 50.7),
        ("mac-studio-m4", Q4_7B, 886, 83.1),
        ("mac-studio-m3", Q4_7B, 1471, 92.1),
        ("pc-3060", Q4_7B, 2138, 75.6),
        ("pc-3070", Q4_8B, 2403, 72.8),
        ("pc-3080", Q4_8B, 3729, 109.6),
        ("pc-3090", Q4_8B, 4030, 115.4),
        ("pc-4080", Q4_8B, 5390, 108.2),
        ("rtx-4090", Q4_8B, 7139, 130.6),
        ("pc-5090", Q4_7B, 14_970, 300.4),
        ("workstation", Q4_7B, 5286, 200.9),
    ],
)
def test_speeds_of_a_published_run(profile: str, size: float, tokens_in: float, tokens_out: float) -> None:
    machine, model = PROFILES[profile], of_size(size)
    assert 1 / machine.decode_step_s(model) == pytest.approx(tokens_out, rel=0.05)
    assert 512 / machine.prefill_s(model, 512) == pytest.approx(tokens_in, rel=0.05)


@pytest.mark.parametrize(
    ("profile", "bandwidth", "model", "tokens_out"),
    [
        ("mini-pc", 20 * GB, of_size(4.2 * GB), 1 / 0.254),  # the published run was on slower memory
        ("office-pc", 61 * GB, of_size(Q4_7B), 11.5),  # and this one on faster
        ("raspberry-pi", 17 * GB, CATALOG["llama3.2:3b"], 4.88),
    ],
)
def test_tokens_of_a_published_run_on_a_processor(
    profile: str, bandwidth: float, model: SimulatedModel, tokens_out: float
) -> None:
    machine = replace(PROFILES[profile], bandwidth=bandwidth)
    assert 1 / machine.decode_step_s(model) == pytest.approx(tokens_out, rel=0.05)


def test_profiles_are_known_by_their_names() -> None:
    assert list(PROFILES)[:4] == ["mac-studio", "gaming-pc", "mini-pc", "macbook-air"]
    assert all(name == machine.name for name, machine in PROFILES.items())


@pytest.mark.parametrize("machine", PROFILES.values(), ids=PROFILES)
def test_a_profile_is_a_machine_that_can_be(machine: MachineProfile) -> None:
    assert 0 < machine.decode_efficiency <= 1
    assert machine.prefill_batch > 1
    assert machine.disk_rate < machine.bandwidth
    assert 0 < machine.model_memory < machine.memory
    assert machine.model_memory >= CATALOG["llama3.2:3b"].resident(Tokens(4096), 1)
