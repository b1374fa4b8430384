"""Models a simulated server may have: what their files weigh, and what they cost to hold and to run."""

import hashlib
from dataclasses import dataclass

from herd.types import Bytes, Capability, KiB, Tokens

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

# Sizes and quantizations in the neighbourhood of what ollama.com lists; layers and heads as published for each family,
# with every layer counted as one of full attention.
CATALOG: dict[str, SimulatedModel] = {
    model.name: model
    for model in (
        SimulatedModel(
            "llama3.2:3b", Bytes(2_019_393_189), "3.2B", "Q4_K_M", "llama", Tokens(131_072), _CHAT, Bytes(112 * KiB)
        ),
        SimulatedModel(
            "qwen3:8b",
            Bytes(5_225_388_164),
            "8.2B",
            "Q4_K_M",
            "qwen3",
            Tokens(40_960),
            (*_CHAT, Capability.THINKING),
            Bytes(144 * KiB),
        ),
        SimulatedModel(
            "qwen3:30b",
            Bytes(int(18.6 * GB)),
            "30.5B",
            "Q4_K_M",
            "qwen3moe",
            Tokens(262_144),
            (*_CHAT, Capability.THINKING),
            Bytes(96 * KiB),
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
            Bytes(320 * KiB),
        ),
        SimulatedModel(
            "gemma3:4b",
            Bytes(3_338_801_804),
            "4.3B",
            "Q4_K_M",
            "gemma3",
            Tokens(131_072),
            (Capability.COMPLETION, Capability.VISION),
            Bytes(136 * KiB),
        ),
        SimulatedModel(
            "nomic-embed-text:latest",
            Bytes(274_302_450),
            "137M",
            "F16",
            "nomic-bert",
            Tokens(2_048),
            (Capability.EMBEDDING,),
            Bytes(36 * KiB),
        ),
    )
}
