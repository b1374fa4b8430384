"""Machines, and how long a model takes on them.

The formulas (all times in seconds):

- load: the file's bytes at the rate of the disk, and `LOAD_FLOOR`;
- decode: every token reads the active weights once, so one step of a model takes `bytes per token / (bandwidth x
  decode_efficiency)`. The requests that a runner serves at once share that read: a batch of n takes `1 + BATCH_COST x
  (n - 1)` times as long and gives n tokens. Models that run at the same moment share the bandwidth evenly;
- prefill: one read of the weights serves `prefill_batch` prompt tokens. It is bound by arithmetic, so all the
  requests that a machine runs at once share it evenly.

What is left out: decoding slows as a context fills, and a prefill in progress slows the decoding beside it only by its
share as a request.
"""

from dataclasses import dataclass, replace
from typing import Self

from herd.simulation.catalog import GB, SimulatedModel
from herd.types import Bytes, GiB, Seconds, Tokens

# A new runner starts a process and sets up its device before it reads a byte: an assumption, to be fitted.
LOAD_FLOOR = 0.5

# How much longer a decode step takes for each further request in the batch: an assumption, to be fitted.
BATCH_COST = 0.1

# Ollama's default context by its video memory; without any it is the smallest.
_DEFAULT_CONTEXTS = ((47 * GiB, Tokens(262_144)), (23 * GiB, Tokens(32_768)), (0, Tokens(4_096)))


@dataclass(frozen=True, slots=True)
class MachineProfile:
    """One kind of machine."""

    name: str
    chip: str
    memory: Bytes  # of the whole machine
    model_memory: Bytes  # what runners may take of the memory that the model is run in
    gpu: bool  # runners live in what Ollama counts as VRAM (Apple's unified memory too)
    bandwidth: float  # bytes/s of the memory that the model is run in
    decode_efficiency: float  # share of the bandwidth that decoding reaches
    prefill_batch: float  # prompt tokens for one read of the weights
    disk_rate: float  # bytes/s, sequential reads
    speed: float = 1.0  # everything above takes this many times less time

    def faster(self, factor: float) -> Self:
        """The same machine, `factor` times as quick at everything; keep-alives last as long as before."""
        return replace(self, speed=self.speed * factor)

    @property
    def default_context(self) -> Tokens:
        """The context of a runner when the request names none; the model's own limit applies too."""
        video_memory = self.model_memory if self.gpu else 0
        return next(context for least, context in _DEFAULT_CONTEXTS if video_memory >= least)

    def load_s(self, model: SimulatedModel) -> Seconds:
        return Seconds((LOAD_FLOOR + model.size / self.disk_rate) / self.speed)

    def decode_step_s(self, model: SimulatedModel, *, batch: int = 1, models: int = 1) -> Seconds:
        """One token for each of `batch` requests of `model`, while `models` models run on the machine."""
        alone = model.bytes_per_token / (self.bandwidth * self.decode_efficiency)
        return Seconds(alone * (1 + BATCH_COST * (batch - 1)) * models / self.speed)

    def prefill_s(self, model: SimulatedModel, prompt: Tokens, *, requests: int = 1) -> Seconds:
        """The whole prompt, while `requests` requests of any model run on the machine."""
        return Seconds(prompt * self.decode_step_s(model) / self.prefill_batch * requests)


# Bandwidths: the makers' figures. `decode_efficiency` and `prefill_batch` come from published llama.cpp runs: tokens/s
# times the file's bytes over the bandwidth, and prompt tokens/s over decoded tokens/s. Disk rates and what the system
# leaves to the models are assumptions of the usual order.
PROFILES: dict[str, MachineProfile] = {
    profile.name: profile
    for profile in (
        MachineProfile(
            # llama.cpp discussion 4167, M2 Ultra with 76 GPU cores, 7B Q4_0 (3.8 GB): 1238 tokens/s in, 94 out.
            name="mac-studio",
            chip="Apple M2 Ultra",
            memory=Bytes(128 * GiB),
            model_memory=Bytes(96 * GiB),  # macOS lets the GPU wire three quarters
            gpu=True,
            bandwidth=800 * GB,
            decode_efficiency=0.45,
            prefill_batch=13.0,
            disk_rate=5 * GB,
        ),
        MachineProfile(
            # dmatora/LLM-inference-speed-benchmarks issue 10, RTX 4090, 8B Q6_K (6.6 GB): 4668 tokens/s in, 93 out.
            name="gaming-pc",
            chip="NVIDIA GeForce RTX 4090",
            memory=Bytes(64 * GiB),
            model_memory=Bytes(23 * GiB),  # of 24: the desktop and the driver hold the rest
            gpu=True,
            bandwidth=1008 * GB,
            decode_efficiency=0.6,
            prefill_batch=50.0,
            disk_rate=3 * GB,  # a PCIe 4 SSD, with the copy to the card
        ),
        MachineProfile(
            # llama.cpp issue 34, an i5-6500 (20 GB/s) without a GPU, 7B Q4 (about 4.2 GB): 72 ms a token in, 254 out.
            name="mini-pc",
            chip="8-core processor, dual-channel DDR5-5600",
            memory=Bytes(32 * GiB),
            model_memory=Bytes(28 * GiB),  # a lean system beside it
            gpu=False,
            bandwidth=90 * GB,
            decode_efficiency=0.8,
            prefill_batch=3.5,
            disk_rate=2 * GB,
        ),
        MachineProfile(
            # llama.cpp discussion 4167, M2 with 10 GPU cores, 7B Q4_0 (3.8 GB): 180 tokens/s in, 22 out.
            name="macbook-air",
            chip="Apple M2",
            memory=Bytes(16 * GiB),
            model_memory=Bytes(int(10.6 * GiB)),  # macOS lets the GPU wire two thirds of a small machine
            gpu=True,
            bandwidth=100 * GB,
            decode_efficiency=0.83,
            prefill_batch=8.0,
            disk_rate=int(1.5 * GB),
        ),
    )
}
