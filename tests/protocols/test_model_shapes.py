"""What a model takes per token, by the metadata of its file."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import ProtocolError
from herd.protocols.model_shapes import ModelShape, read_ollama_show
from herd.runtime.testing import run_virtual
from herd.simulation.http import call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, Tokens

# The example of https://docs.ollama.com/api-reference/show-model-details (gemma3:4b), without what is of no use here.
GEMMA3 = {
    "gemma3.attention.head_count": 8,
    "gemma3.attention.head_count_kv": 4,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.sliding_window": 1024,
    "gemma3.attention.value_length": 256,
    "gemma3.block_count": 34,
    "gemma3.context_length": 131072,
    "gemma3.embedding_length": 2560,
    "gemma3.vision.attention.head_count": 16,
    "gemma3.vision.block_count": 27,
    "gemma3.vision.embedding_length": 1152,
    "general.architecture": "gemma3",
    "general.parameter_count": 4299915632,
    "tokenizer.ggml.tokens": None,
}
# As llama3.2:3b, qwen3:30b-a3b and nomic-embed-text (which names neither KV heads nor the size of one) are described.
LLAMA = {
    "general.architecture": "llama",
    "llama.attention.head_count": 24,
    "llama.attention.head_count_kv": 8,
    "llama.attention.key_length": 128,
    "llama.attention.value_length": 128,
    "llama.block_count": 28,
    "llama.context_length": 131072,
    "llama.embedding_length": 3072,
}
QWEN3MOE = {
    "general.architecture": "qwen3moe",
    "qwen3moe.attention.head_count": 32,
    "qwen3moe.attention.head_count_kv": 4,
    "qwen3moe.attention.key_length": 128,
    "qwen3moe.attention.value_length": 128,
    "qwen3moe.block_count": 48,
    "qwen3moe.context_length": 40960,
    "qwen3moe.expert_count": 128,
    "qwen3moe.expert_used_count": 8,
}
NOMIC = {
    "general.architecture": "nomic-bert",
    "nomic-bert.attention.head_count": 12,
    "nomic-bert.block_count": 12,
    "nomic-bert.context_length": 2048,
    "nomic-bert.embedding_length": 768,
}


def shape(info: dict[str, Any], **changes: Any) -> ModelShape:
    """Of a file with this metadata; a change's key goes without the architecture and with _ for its dots."""
    architecture = info["general.architecture"]
    changed = {f"{architecture}.{key.replace('__', '.')}": value for key, value in changes.items()}
    return read_ollama_show({"model_info": {**info, **changed}})


def test_a_token_takes_a_key_and_a_value_in_every_layer_for_every_head_that_has_them() -> None:
    assert shape(LLAMA) == ModelShape(Bytes(2 * 28 * 8 * 128 * 2), Tokens(131072), 1.0)


def test_a_file_without_kv_heads_has_as_many_as_heads_and_divides_the_embedding_among_them() -> None:
    assert shape(NOMIC).kv_per_token == 2 * 12 * 12 * 64 * 2


def test_keys_and_values_may_differ_in_size() -> None:
    assert shape(LLAMA, attention__value_length=64).kv_per_token == 28 * 8 * (128 + 64) * 2


def test_kv_heads_may_differ_from_layer_to_layer() -> None:
    heads = [0, 0, 0, 8] * 7
    assert shape(LLAMA, attention__head_count_kv=heads).kv_per_token == 2 * 7 * 8 * 128 * 2


def test_layers_with_a_window_count_for_more_than_they_take_at_any_context_that_ollama_loads_by_itself() -> None:
    per_token = shape(GEMMA3).kv_per_token
    in_every_layer = 2 * 4 * 256 * 2
    assert per_token == (5 * 4 + 44) * 2 * 256 * 2  # three eighths of 29 layers' 116 heads, rounded up
    for context in (4096, 8192, 131072):
        truth = 5 * context * in_every_layer + 29 * min(context, 1024 + 512) * in_every_layer
        assert truth <= per_token * context


def test_a_file_may_say_itself_how_many_of_its_layers_have_a_window() -> None:
    plain = shape(LLAMA).kv_per_token
    assert shape(LLAMA, attention__sliding_window=512).kv_per_token == plain
    windows = shape(LLAMA, attention__sliding_window=512, attention__sliding_window_pattern=4)
    assert windows.kv_per_token == plain // 4 + plain * 3 // 4 // 4
    long = shape(LLAMA, attention__sliding_window=262144, attention__sliding_window_pattern=4)
    assert long.kv_per_token == plain


def test_a_mixture_of_experts_reads_those_in_use_and_a_little_for_all() -> None:
    assert shape(QWEN3MOE).active_share == pytest.approx(3.3 / 30.5, rel=0.02)
    assert shape(QWEN3MOE, expert_count=8, expert_used_count=2).active_share == pytest.approx(12.9 / 46.7, rel=0.05)
    assert shape(QWEN3MOE, expert_count=8, expert_used_count=8).active_share == 1.0
    assert shape(QWEN3MOE, expert_count=8, expert_used_count=9).active_share == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"block_count": None},
        {"block_count": 10**9},
        {"block_count": 28.0},
        {"attention__head_count_kv": None},  # a list that Ollama did not spell out
        {"attention__head_count_kv": [8] * 27},
        {"attention__head_count_kv": [8] * 27 + [-8]},
        {"attention__head_count_kv": [8] * 27 + ["8"]},
        {"attention__head_count_kv": -8},
        {"attention__key_length": 2**62, "attention__head_count_kv": 2**62},
        {"attention__key_length": None, "embedding_length": None},
        {"attention__key_length": None, "attention__head_count": 0},
    ],
)
def test_what_the_file_does_not_say_or_cannot_mean_is_unknown(changes: dict[str, Any]) -> None:
    assert shape(LLAMA, **changes) == ModelShape(Bytes(0), Tokens(131072), 1.0)


@pytest.mark.parametrize("answer", [{}, {"model_info": None}, {"model_info": {"general.architecture": 7}}])
def test_an_answer_without_metadata_says_nothing(answer: Any) -> None:
    assert read_ollama_show(answer) == ModelShape()


def test_an_answer_that_is_no_object_is_refused() -> None:
    with pytest.raises(ProtocolError, match="without the details of a model"):
        read_ollama_show([LLAMA])


_NUMBERS = st.integers(-(2**70), 2**70) | st.floats()
_VALUES = st.none() | st.booleans() | _NUMBERS | st.text(max_size=3) | st.lists(_NUMBERS | st.none(), max_size=30)


@given(st.dictionaries(st.sampled_from(sorted({*LLAMA, "llama.expert_count", "llama.expert_used_count"})), _VALUES))
@settings(max_examples=50, derandomize=True, database=None)
def test_whatever_a_file_says_the_shape_is_one_that_a_heartbeat_can_carry(changes: dict[str, Any]) -> None:
    found = read_ollama_show({"model_info": {**LLAMA, **changes}})
    assert 0 <= found.kv_per_token < 2**63
    assert 0 <= found.context_max < 2**63
    assert 0.0 < found.active_share <= 1.0


def test_the_fake_ollama_shows_what_its_models_take() -> None:
    async def story() -> None:
        fake = FakeOllama(PROFILES["mac-studio"], list(CATALOG.values()))
        for name, model in CATALOG.items():
            shown = read_ollama_show((await call(fake.handle, "POST", "/api/show", {"model": name})).json)
            assert (shown.kv_per_token, shown.context_max) == (model.kv_per_token, model.context), name
            # gpt-oss keeps its attention in 16 bits, which its metadata does not tell.
            assert shown.active_share == pytest.approx(model.active_share, abs=0.11), name

    run_virtual(story())
