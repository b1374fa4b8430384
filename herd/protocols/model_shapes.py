"""What a model takes per token, from what Ollama says of it at `POST /api/show`.

`model_info` in the answer holds the metadata of the model's file; the keys are those of the GGUF format
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), most of them behind the name of the architecture. Ollama
leaves the values of lists out (null), unless it is asked for megabytes of tokenizer with them.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

from herd.errors import ProtocolError
from herd.protocols.untrusted import MAX_INT, mapping, number, text, texts
from herd.types import Bytes, Tokens

BYTES_A_NUMBER = 2  # keys and values are kept in 16 bits unless the server is told otherwise

# Layers of a file; the largest models of today have under 200. A list per layer is no longer than that.
_MAX_LAYERS = 4096

# Attention, embeddings and the output are read for every token, whoever the experts are. Of qwen3-30b-a3b, with 8 of
# 128 experts in use, a token reads 3.3 of 30.5 billion parameters (0.108); of mixtral, with 2 of 8, 12.9 of 46.7
# (0.276). With 5 % for all else the two come to 0.109 and 0.288.
_SHARED_BY_EXPERTS = 0.05

# One layer of so many, the last of each, attends to the whole context and the others to a window, in architectures that
# are always built so (llama.cpp's set_swa_pattern for each); other files name the number. Where a file names a window
# only, every layer counts in full: in some architectures (phi3) the engines do not heed it.
_FULL_ATTENTION_EVERY = {"gemma2": 2, "gemma3": 6, "gptoss": 2, "gpt-oss": 2}
# A layer with a window holds that and a batch of the prompt (Ollama's default num_batch), whatever the context. Spread
# over the smallest context that Ollama loads by itself this is more than such layers take per token of any larger one.
_BATCH = 512
_SMALLEST_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What one model takes. Zero, and a share of 1, mean "the server does not say"."""

    kv_per_token: Bytes = Bytes(0)  # keys and values of one token of context
    context_max: Tokens = Tokens(0)
    active_share: float = 1.0  # of the weights, that one token reads
    capabilities: tuple[str, ...] = ()  # of `Capability`, or newer ones; the lists of older Ollamas have none


def read_ollama_show(answer: Any) -> ModelShape:
    """The shape of a model, from the answer of `POST /api/show`.

    What the file does not say, or says in another way than the format has it, is unknown; where it leaves a choice, the
    shape is the one that takes more.

    Raises:
        ProtocolError: the answer is not an object.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("Ollama answered without the details of a model")
    info = mapping(answer, "model_info")
    architecture = text(info, "general.architecture")
    own = {
        key.removeprefix(f"{architecture}."): value for key, value in info.items() if key.startswith(f"{architecture}.")
    }
    kv_per_token = _kv_per_token(architecture, own)
    return ModelShape(
        kv_per_token=Bytes(kv_per_token if kv_per_token <= MAX_INT else 0),
        context_max=Tokens(number(own, "context_length")),
        active_share=_active_share(number(own, "expert_used_count"), number(own, "expert_count")),
        capabilities=texts(answer, "capabilities"),
    )


def _kv_per_token(architecture: str, own: dict[str, Any]) -> int:
    heads = _kv_heads(own)
    query_heads = number(own, "attention.head_count")
    head_size = number(own, "embedding_length") // query_heads if query_heads else 0
    key = number(own, "attention.key_length") or head_size
    value = number(own, "attention.value_length") or head_size
    if not (key and value):
        return 0
    in_full = sum(heads)
    every = number(own, "attention.sliding_window_pattern") or _FULL_ATTENTION_EVERY.get(architecture)
    window = number(own, "attention.sliding_window")
    if every and window:
        full = sum(heads[every - 1 :: every])
        share = min(1.0, (window + _BATCH) / _SMALLEST_CONTEXT)
        in_full = full + ceil((in_full - full) * share)
    return in_full * (key + value) * BYTES_A_NUMBER


def _kv_heads(own: dict[str, Any]) -> list[int]:
    """Heads with keys and values, layer by layer; none when the file does not say."""
    layers = number(own, "block_count")
    if not 0 < layers <= _MAX_LAYERS:
        return []
    key = "attention.head_count_kv"
    if key not in own:  # then every head has its own
        return [number(own, "attention.head_count")] * layers
    listed = own[key]
    if not isinstance(listed, list):
        return [number(own, key)] * layers
    sound = len(listed) == layers and all(type(one) is int and 0 <= one <= MAX_INT for one in listed)
    return listed if sound else []


def _active_share(used: int, count: int) -> float:
    """The share of its weights that a mixture of `count` experts reads for a token."""
    if not 0 < used < count:
        return 1.0
    return _SHARED_BY_EXPERTS + (1 - _SHARED_BY_EXPERTS) * used / count
