"""How long a machine takes for loads, prompts and tokens, alone and side by side.

The formulas (all times in seconds):

- load: the file's bytes at the rate of the disk, and a floor;
- decode: every step of a runner reads the active weights once, and the keys and values of each request in it. For a
  batch of n it takes `(weights x (1 + batch_cost x (n - 1)) + keys and values) / (bandwidth x decode_efficiency)`, and
  gives each of the n one token;
- prefill: the time of one read of the weights serves `prefill_batch` prompt tokens. Requests of one runner that prefill
  at once share that rate evenly. While they do, each step of the runner carries a chunk of `CHUNK` prompt tokens, so
  those that decode beside them get one token a chunk;
- models that run at the same moment share the machine evenly.

What is left out: the part of a prefill that grows with the square of its length; and that a runner reads what fits one
step in order, so that of two short prompts that meet the first is not held up by the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from herd.simulation.machine.catalog import SimulatedModel
from herd.types import Bytes, GiB, Seconds, Tokens

# A new runner starts a process and sets up its device before it reads a byte: an assumption, of the usual order.
LOAD_FLOOR = 0.5

# How much longer a decode step takes for each further request in the batch. `benchmarks/fidelity.py` fits it; this is
# an assumption for machines that nobody has measured.
BATCH_COST = 0.1

# Prompt tokens in one step of a runner: Ollama's default num_batch.
CHUNK = 512

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
    prefill_batch: float  # prompt tokens in the time of one read of the weights
    disk_rate: float  # bytes/s, sequential reads
    load_floor: float = LOAD_FLOOR
    batch_cost: float = BATCH_COST
    speed: float = 1.0  # everything above takes this many times less time

    def faster(self, factor: float) -> Self:
        """The same machine, `factor` times as quick at everything; keep-alives last as long as before."""
        return replace(self, speed=self.speed * factor)

    @property
    def own_video_memory(self) -> bool:
        """Its GPU has a memory of its own; Apple's share the machine's."""
        return self.gpu and not self.chip.startswith("Apple")

    @property
    def default_context(self) -> Tokens:
        """The context of a runner when the request names none; the model's own limit applies too."""
        video_memory = self.model_memory if self.gpu else 0
        return next(context for least, context in _DEFAULT_CONTEXTS if video_memory >= least)

    def load_s(self, model: SimulatedModel) -> Seconds:
        return Seconds((self.load_floor + model.size / self.disk_rate) / self.speed)

    def decode_step_s(self, model: SimulatedModel, *, batch: int = 1, context: float = 0.0) -> Seconds:
        """One token for each of `batch` requests, which together hold `context` tokens of keys and values."""
        weights = model.bytes_per_token * (1 + self.batch_cost * (batch - 1))
        read = weights + model.kv_per_token * context
        return Seconds(read / (self.bandwidth * self.decode_efficiency) / self.speed)

    def prefill_s(self, model: SimulatedModel, prompt: float) -> Seconds:
        """So many prompt tokens, alone on the machine."""
        return Seconds(prompt * self.decode_step_s(model) / self.prefill_batch)


@dataclass(frozen=True, slots=True)
class Running:
    """One request that a machine computes for."""

    model: SimulatedModel
    prefilling: bool  # it reads its prompt; else it makes tokens
    context: float = 0.0  # tokens of keys and values that a decode step reads for it


def rates(machine: MachineProfile, running: Sequence[Running]) -> list[float]:
    """Tokens a second for each of these requests, in order: of the prompt while it prefills, else of its answer."""
    models = list(dict.fromkeys(one.model.name for one in running))
    return [
        _rate(machine, one, [other for other in running if other.model is one.model]) / len(models) for one in running
    ]


def _rate(machine: MachineProfile, one: Running, batch: Sequence[Running]) -> float:
    """As if no other model ran. `batch` holds all requests of its runner, itself included."""
    decoding = [other for other in batch if not other.prefilling]
    prefilling = len(batch) - len(decoding)
    context = sum([other.context for other in decoding])
    step = machine.decode_step_s(one.model, batch=len(decoding), context=context) if decoding else 0.0
    if prefilling:
        step += machine.prefill_s(one.model, CHUNK)
    return (CHUNK / prefilling if one.prefilling else 1.0) / step
