import re

import pytest

from herd.simulation.machine.catalog import CATALOG, GB, SimulatedModel
from herd.types import Capability, KiB, Tokens

MODELS = pytest.mark.parametrize("model", CATALOG.values(), ids=CATALOG)


def test_the_oldest_models_come_first() -> None:
    oldest = ["llama3.2:3b", "qwen3:8b", "qwen3:30b", "llama3.3:70b", "gemma3:4b", "nomic-embed-text:latest"]
    assert list(CATALOG)[:6] == oldest
    assert len(CATALOG) >= 24


@MODELS
def test_a_model_is_known_by_its_whole_name(model: SimulatedModel) -> None:
    assert CATALOG[model.name] is model
    assert re.fullmatch(r"[a-z0-9.-]+:[a-z0-9.]+", model.name)


def test_digests_tell_models_apart() -> None:
    digests = [model.digest for model in CATALOG.values()]
    assert len(dict.fromkeys(digests)) == len(CATALOG)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


@MODELS
def test_a_file_weighs_what_its_parameters_do(model: SimulatedModel) -> None:
    """Between 4 and 17 bits for each; embeddings and small models are kept at more bits than the rest."""
    number, unit = re.fullmatch(r"([\d.]+)([MB])", model.parameter_size).groups()  # type: ignore[union-attr]
    parameters = float(number) * (1e6 if unit == "M" else 1e9)
    assert 4 <= 8 * model.size / parameters <= 17


@MODELS
def test_a_token_reads_weights_that_there_are(model: SimulatedModel) -> None:
    assert 0 < model.active_share <= 1
    assert model.bytes_per_token == model.size * model.active_share


@MODELS
def test_a_model_either_speaks_or_embeds(model: SimulatedModel) -> None:
    if Capability.EMBEDDING in model.capabilities:
        assert model.capabilities == (Capability.EMBEDDING,)
    else:
        assert model.capabilities[0] is Capability.COMPLETION
    assert len(dict.fromkeys(model.capabilities)) == len(model.capabilities)


@pytest.mark.parametrize("capability", [one for one in Capability if one not in {Capability.IMAGE, Capability.AUDIO}])
def test_somebody_can_do_it(capability: Capability) -> None:
    assert any(capability in model.capabilities for model in CATALOG.values())


@pytest.mark.parametrize(
    ("name", "kib"),
    [
        ("llama3.2:1b", 32),  # 16 layers, 8 heads of 64
        ("llama3.1:8b", 128),  # 32 layers, 8 heads of 128
        ("llama3.3:70b", 320),  # 80 layers, 8 heads of 128
        ("qwen2.5-coder:7b", 56),  # 28 layers, 4 heads of 128
        ("phi4:14b", 200),  # 40 layers, 10 heads of 128
        ("gpt-oss:20b", 24),  # 12 layers of full attention, 8 heads of 64
        ("nomic-embed-text:latest", 36),  # 12 layers, 12 heads of 64
    ],
)
def test_a_token_takes_what_the_published_shape_says(name: str, kib: int) -> None:
    assert CATALOG[name].kv_per_token == kib * KiB


def test_a_runner_takes_its_weights_and_a_context_for_every_slot() -> None:
    model = CATALOG["llama3.1:8b"]
    assert model.resident(Tokens(8192), 2) == model.size + 2 * 8192 * model.kv_per_token


def test_sizes_go_from_a_phone_s_to_a_workstation_s() -> None:
    sizes = [model.size for model in CATALOG.values()]
    assert min(sizes) < 0.5 * GB
    assert max(sizes) > 60 * GB
