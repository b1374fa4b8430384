"""Models a simulated server may have: what their files weigh, and what they cost to hold and to run."""

import hashlib
from dataclasses import dataclass

from herd.types import Bytes, Capability, Tokens

# A model file lists its size in decimal units on ollama.com ("2.0GB"); the library keeps bytes.
GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One model. Shapes are those of Ollama's `/api/tags` and `/api/show`."""

    name: str  # with its tag, in lower case
    size: Bytes  # of its weights, on disk and in memory
    parameter_size: str
    quantization: str
    family: str  # general.architecture
    context: Tokens  # what it was trained for: no runner gets more
    capabilities: tuple[Capability, ...]
    kv_per_token: Bytes  # 2 (key, value) x layers x KV heads x head size x 2 bytes
    layers: int = 1  # whose keys and values grow with the context
    kv_heads: int = 1
    experts: tuple[int, int] = (0, 0)  # how many a mixture has, and how many a token goes through
    active_share: float = 1.0  # of its weights that one token reads: below 1 for a mixture of experts

    @property
    def digest(self) -> str:
        """64 hex digits without the prefix `sha256:`, as Ollama lists it; made from the name."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def bytes_per_token(self) -> float:
        """What one decoded token reads from memory."""
        return self.size * self.active_share

    def resident(self, num_ctx: Tokens, slots: int) -> Bytes:
        """What a runner takes: the weights, and `num_ctx` tokens of keys and values for every slot."""
        return Bytes(self.size + slots * num_ctx * self.kv_per_token)


_CHAT = (Capability.COMPLETION, Capability.TOOLS)
_THINKING = (*_CHAT, Capability.THINKING)
_CODE = (*_CHAT, Capability.INSERT)
_VISION = (Capability.COMPLETION, Capability.VISION)
_EMBEDDING = (Capability.EMBEDDING,)


def _attention(layers: int, heads: int, head_size: int) -> tuple[Bytes, int, int]:
    """What one token takes: a key and a value of 2 bytes a number, in each layer for each KV head; and those two."""
    return Bytes(2 * layers * heads * head_size * 2), layers, heads


# Sizes and quantizations in the neighbourhood of what ollama.com lists; layers and heads as published for each family,
# with every layer counted as one of full attention, but where a comment says otherwise.
CATALOG: dict[str, SimulatedModel] = {
    model.name: model
    for model in (
        SimulatedModel(
            "llama3.2:3b",
            Bytes(2_019_393_189),
            "3.2B",
            "Q4_K_M",
            "llama",
            Tokens(131_072),
            _CHAT,
            *_attention(28, 8, 128),
        ),
        SimulatedModel(
            "qwen3:8b",
            Bytes(5_225_388_164),
            "8.2B",
            "Q4_K_M",
            "qwen3",
            Tokens(40_960),
            _THINKING,
            *_attention(36, 8, 128),
        ),
        SimulatedModel(
            "qwen3:30b",
            Bytes(int(18.6 * GB)),
            "30.5B",
            "Q4_K_M",
            "qwen3moe",
            Tokens(262_144),
            _THINKING,
            *_attention(48, 4, 128),
            experts=(128, 8),
            active_share=0.11,  # 3.3 of 30.5 billion parameters
        ),
        SimulatedModel(
            "llama3.3:70b",
            Bytes(42_520_413_916),
            "70.6B",
            "Q4_K_M",
            "llama",
            Tokens(131_072),
            _CHAT,
            *_attention(80, 8, 128),
        ),
        SimulatedModel(
            "gemma3:4b",
            Bytes(3_338_801_804),
            "4.3B",
            "Q4_K_M",
            "gemma3",
            Tokens(131_072),
            _VISION,
            *_attention(34, 4, 256),
        ),
        SimulatedModel(
            "nomic-embed-text:latest",
            Bytes(274_302_450),
            "137M",
            "F16",
            "nomic-bert",
            Tokens(2_048),
            _EMBEDDING,
            *_attention(12, 12, 64),
        ),
        SimulatedModel(
            "llama3.2:1b",
            Bytes(1_321_098_329),
            "1.2B",
            "Q8_0",
            "llama",
            Tokens(131_072),
            _CHAT,
            *_attention(16, 8, 64),
        ),
        SimulatedModel(
            "qwen3:1.7b",
            Bytes(1_359_293_444),
            "2.0B",
            "Q4_K_M",
            "qwen3",
            Tokens(40_960),
            _THINKING,
            *_attention(28, 8, 128),
        ),
        SimulatedModel(
            "gemma3:1b",
            Bytes(815_319_791),
            "999.89M",
            "Q4_K_M",
            "gemma3",
            Tokens(32_768),
            (Capability.COMPLETION,),
            *_attention(4, 1, 256),  # of 26 layers; the others look at a window of 512 tokens
        ),
        SimulatedModel(
            "qwen3:4b",
            Bytes(2_497_293_931),
            "4.0B",
            "Q4_K_M",
            "qwen3",
            Tokens(262_144),
            _THINKING,
            *_attention(36, 8, 128),
        ),
        SimulatedModel(
            "phi4-mini:3.8b",
            Bytes(2_491_876_774),
            "3.8B",
            "Q4_K_M",
            "phi3",
            Tokens(131_072),
            _CHAT,
            *_attention(32, 8, 128),
        ),
        SimulatedModel(
            "qwen2.5-coder:1.5b",
            Bytes(986_062_089),
            "1.5B",
            "Q4_K_M",
            "qwen2",
            Tokens(32_768),
            _CODE,
            *_attention(28, 2, 128),
        ),
        SimulatedModel(
            "qwen2.5-coder:7b",
            Bytes(4_683_087_561),
            "7.6B",
            "Q4_K_M",
            "qwen2",
            Tokens(32_768),
            _CODE,
            *_attention(28, 4, 128),
        ),
        SimulatedModel(
            "qwen2.5vl:7b",
            Bytes(5_969_245_856),
            "8.3B",
            "Q4_K_M",
            "qwen25vl",
            Tokens(128_000),
            _VISION,
            *_attention(28, 4, 128),
        ),
        SimulatedModel(
            "mistral:7b",
            Bytes(4_372_824_384),
            "7.2B",
            "Q4_K_M",
            "llama",
            Tokens(32_768),
            _CHAT,
            *_attention(32, 8, 128),
        ),
        SimulatedModel(
            "llama3.1:8b",
            Bytes(4_920_753_328),
            "8.0B",
            "Q4_K_M",
            "llama",
            Tokens(131_072),
            _CHAT,
            *_attention(32, 8, 128),
        ),
        SimulatedModel(
            "deepseek-r1:8b",
            Bytes(5_225_376_047),
            "8.2B",
            "Q4_K_M",
            "qwen3",
            Tokens(131_072),
            _THINKING,
            *_attention(36, 8, 128),
        ),
        SimulatedModel(
            "granite3.3:8b",
            Bytes(4_942_891_236),
            "8.2B",
            "Q4_K_M",
            "granite",
            Tokens(131_072),
            _CHAT,
            *_attention(40, 8, 128),
        ),
        SimulatedModel(
            "llama3.2-vision:11b",
            Bytes(7_816_589_186),
            "10.7B",
            "Q4_K_M",
            "mllama",
            Tokens(131_072),
            _VISION,
            *_attention(40, 8, 128),
        ),
        SimulatedModel(
            "gemma3:12b",
            Bytes(8_149_190_253),
            "12.2B",
            "Q4_K_M",
            "gemma3",
            Tokens(131_072),
            _VISION,
            *_attention(8, 8, 256),  # of 48 layers; the others look at a window of 1024 tokens
        ),
        SimulatedModel(
            "qwen3:14b",
            Bytes(9_276_198_565),
            "14.8B",
            "Q4_K_M",
            "qwen3",
            Tokens(40_960),
            _THINKING,
            *_attention(40, 8, 128),
        ),
        SimulatedModel(
            "phi4:14b",
            Bytes(9_053_116_391),
            "14.7B",
            "Q4_K_M",
            "phi3",
            Tokens(16_384),
            (Capability.COMPLETION,),
            *_attention(40, 10, 128),
        ),
        SimulatedModel(
            "gpt-oss:20b",
            Bytes(13_793_441_244),
            "20.9B",
            "MXFP4",
            "gptoss",
            Tokens(131_072),
            _THINKING,
            *_attention(12, 8, 64),  # of 24 layers; the others look at a window of 128 tokens
            experts=(32, 4),
            active_share=0.27,  # attention and output are kept in 16 bits: 3.7 of 13.8 GB
        ),
        SimulatedModel(
            "mistral-small3.2:24b",
            Bytes(15_177_384_862),
            "24.0B",
            "Q4_K_M",
            "mistral3",
            Tokens(131_072),
            (*_CHAT, Capability.VISION),
            *_attention(40, 8, 128),
        ),
        SimulatedModel(
            "devstral:24b",
            Bytes(14_333_928_010),
            "23.6B",
            "Q4_K_M",
            "llama",
            Tokens(131_072),
            _CHAT,
            *_attention(40, 8, 128),
        ),
        SimulatedModel(
            "gemma3:27b",
            Bytes(17_396_936_941),
            "27.4B",
            "Q4_K_M",
            "gemma3",
            Tokens(131_072),
            _VISION,
            *_attention(10, 16, 128),  # of 62 layers; the others look at a window of 1024 tokens
        ),
        SimulatedModel(
            "qwen3-coder:30b",
            Bytes(18_556_701_140),
            "30.5B",
            "Q4_K_M",
            "qwen3moe",
            Tokens(262_144),
            _CHAT,
            *_attention(48, 4, 128),
            experts=(128, 8),
            active_share=0.11,  # 3.3 of 30.5 billion parameters
        ),
        SimulatedModel(
            "qwen3:32b",
            Bytes(20_201_253_588),
            "32.8B",
            "Q4_K_M",
            "qwen3",
            Tokens(40_960),
            _THINKING,
            *_attention(64, 8, 128),
        ),
        SimulatedModel(
            "mixtral:8x7b",
            Bytes(26_442_481_545),
            "46.7B",
            "Q4_0",
            "llama",
            Tokens(32_768),
            _CHAT,
            *_attention(32, 8, 128),
            experts=(8, 2),
            active_share=0.28,  # 12.9 of 46.7 billion parameters
        ),
        SimulatedModel(
            "gpt-oss:120b",
            Bytes(65_290_180_284),
            "116.8B",
            "MXFP4",
            "gptoss",
            Tokens(131_072),
            _THINKING,
            *_attention(18, 8, 64),  # of 36 layers; the others look at a window of 128 tokens
            experts=(128, 4),
            active_share=0.076,  # attention and output are kept in 16 bits: 5.0 of 65 GB
        ),
        SimulatedModel(
            "mxbai-embed-large:latest",
            Bytes(669_615_493),
            "334M",
            "F16",
            "bert",
            Tokens(512),
            _EMBEDDING,
            *_attention(24, 16, 64),
        ),
        SimulatedModel(
            "bge-m3:latest",
            Bytes(1_157_672_605),
            "566.70M",
            "F16",
            "bert",
            Tokens(8_192),
            _EMBEDDING,
            *_attention(24, 16, 64),
        ),
    )
}
