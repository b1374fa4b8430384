"""Kinds of machines as people have them at home, with where their figures come from.

What the figures mean, and what follows from them, is in `pace`.
"""

from herd.simulation.catalog import GB
from herd.simulation.pace import MachineProfile
from herd.types import Bytes, GiB

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
