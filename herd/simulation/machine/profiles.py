"""Kinds of machines as people have them at home, with where their figures come from.

What the figures mean, and what follows from them, is in `pace`.
"""

from herd.simulation.machine.catalog import GB
from herd.simulation.machine.pace import MachineProfile
from herd.types import Bytes, GiB

# Bandwidths: the makers' figures. `decode_efficiency` and `prefill_batch` come from published llama.cpp runs: tokens/s
# times the file's bytes over the bandwidth, and prompt tokens/s over decoded tokens/s. Disk rates and what the system
# leaves to the models are assumptions of the usual order: the first of each kind of machine says why.
#
# The sources, as the comments below name them:
# - 4167: llama.cpp discussion 4167, Apple's chips, 7B Q4_0 (3.8 GB), prompts of 512 tokens.
# - 15013: llama.cpp discussion 15013, NVIDIA's cards, 7B Q4_0 (3.8 GB), prompts of 512 tokens.
# - XiongjieDai/GPU-Benchmarks-on-LLM-Inference, May 2024, 8B Q4_K_M (4.9 GB), prompts and answers of 512 tokens.
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
        MachineProfile(
            # 4167, M1 with 8 GPU cores: 118 tokens/s in, 14 out.
            name="macbook-air-m1",
            chip="Apple M1",
            memory=Bytes(8 * GiB),
            model_memory=Bytes(int(5.3 * GiB)),
            gpu=True,
            bandwidth=68 * GB,
            decode_efficiency=0.78,
            prefill_batch=8.4,
            disk_rate=int(1.5 * GB),
        ),
        MachineProfile(
            # 4167, M1 Pro with 16 GPU cores: 266 tokens/s in, 36.4 out.
            name="macbook-pro-m1",
            chip="Apple M1 Pro",
            memory=Bytes(16 * GiB),
            model_memory=Bytes(int(10.6 * GiB)),
            gpu=True,
            bandwidth=200 * GB,
            decode_efficiency=0.69,
            prefill_batch=7.3,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # 4167, M3 Max with 40 GPU cores: 760 tokens/s in, 66.3 out.
            name="macbook-pro-m3",
            chip="Apple M3 Max",
            memory=Bytes(64 * GiB),
            model_memory=Bytes(48 * GiB),
            gpu=True,
            bandwidth=400 * GB,
            decode_efficiency=0.63,
            prefill_batch=11.5,
            disk_rate=4 * GB,
        ),
        MachineProfile(
            # 4167, M4 with 10 GPU cores: 221 tokens/s in, 24.1 out.
            name="mac-mini",
            chip="Apple M4",
            memory=Bytes(16 * GiB),
            model_memory=Bytes(int(10.6 * GiB)),
            gpu=True,
            bandwidth=120 * GB,
            decode_efficiency=0.765,
            prefill_batch=9.2,
            disk_rate=2 * GB,
        ),
        MachineProfile(
            # 4167, M4 Pro with 20 GPU cores: 440 tokens/s in, 50.7 out.
            name="mac-mini-pro",
            chip="Apple M4 Pro",
            memory=Bytes(48 * GiB),
            model_memory=Bytes(36 * GiB),
            gpu=True,
            bandwidth=273 * GB,
            decode_efficiency=0.705,
            prefill_batch=8.7,
            disk_rate=4 * GB,
        ),
        MachineProfile(
            # 4167, M4 Max with 40 GPU cores: 886 tokens/s in, 83.1 out.
            name="mac-studio-m4",
            chip="Apple M4 Max",
            memory=Bytes(64 * GiB),
            model_memory=Bytes(48 * GiB),
            gpu=True,
            bandwidth=546 * GB,
            decode_efficiency=0.58,
            prefill_batch=10.7,
            disk_rate=5 * GB,
        ),
        MachineProfile(
            # 4167, M3 Ultra with 80 GPU cores: 1471 tokens/s in, 92.1 out.
            name="mac-studio-m3",
            chip="Apple M3 Ultra",
            memory=Bytes(256 * GiB),
            model_memory=Bytes(192 * GiB),
            gpu=True,
            bandwidth=819 * GB,
            decode_efficiency=0.43,
            prefill_batch=16.0,
            disk_rate=5 * GB,
        ),
        MachineProfile(
            # 15013, RTX 3060 with 12 GB: 2138 tokens/s in, 75.6 out.
            name="pc-3060",
            chip="NVIDIA GeForce RTX 3060",
            memory=Bytes(32 * GiB),
            model_memory=Bytes(11 * GiB),
            gpu=True,
            bandwidth=360 * GB,
            decode_efficiency=0.8,
            prefill_batch=28.3,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # XiongjieDai, RTX 3070 with 8 GB: 2403 tokens/s in, 72.8 out.
            name="pc-3070",
            chip="NVIDIA GeForce RTX 3070",
            memory=Bytes(32 * GiB),
            model_memory=Bytes(7 * GiB),
            gpu=True,
            bandwidth=448 * GB,
            decode_efficiency=0.8,
            prefill_batch=33.0,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # XiongjieDai, RTX 3080 with 10 GB: 3729 tokens/s in, 109.6 out.
            name="pc-3080",
            chip="NVIDIA GeForce RTX 3080",
            memory=Bytes(32 * GiB),
            model_memory=Bytes(9 * GiB),
            gpu=True,
            bandwidth=760 * GB,
            decode_efficiency=0.71,
            prefill_batch=34.0,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # XiongjieDai, RTX 3090 with 24 GB: 4030 tokens/s in, 115.4 out.
            name="pc-3090",
            chip="NVIDIA GeForce RTX 3090",
            memory=Bytes(64 * GiB),
            model_memory=Bytes(23 * GiB),
            gpu=True,
            bandwidth=936 * GB,
            decode_efficiency=0.605,
            prefill_batch=34.9,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # XiongjieDai, RTX 4080 with 16 GB: 5390 tokens/s in, 108.2 out.
            name="pc-4080",
            chip="NVIDIA GeForce RTX 4080",
            memory=Bytes(32 * GiB),
            model_memory=Bytes(15 * GiB),
            gpu=True,
            bandwidth=716 * GB,
            decode_efficiency=0.74,
            prefill_batch=49.8,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # XiongjieDai, RTX 4090 with 24 GB: 7139 tokens/s in, 130.6 out. The gaming-pc's card, measured on Linux.
            name="rtx-4090",
            chip="NVIDIA GeForce RTX 4090",
            memory=Bytes(64 * GiB),
            model_memory=Bytes(23 * GiB),
            gpu=True,
            bandwidth=1008 * GB,
            decode_efficiency=0.637,
            prefill_batch=54.7,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # 15013, RTX 5090 with 32 GB: 14970 tokens/s in, 300.4 out.
            name="pc-5090",
            chip="NVIDIA GeForce RTX 5090",
            memory=Bytes(64 * GiB),
            model_memory=Bytes(31 * GiB),
            gpu=True,
            bandwidth=1792 * GB,
            decode_efficiency=0.64,
            prefill_batch=49.8,
            disk_rate=3 * GB,
        ),
        MachineProfile(
            # 15013, A100 with 80 GB: 5286 tokens/s in, 200.9 out. No desktop runs on the card.
            name="workstation",
            chip="NVIDIA A100",
            memory=Bytes(128 * GiB),
            model_memory=Bytes(79 * GiB),
            gpu=True,
            bandwidth=2039 * GB,
            decode_efficiency=0.375,
            prefill_batch=26.3,
            disk_rate=5 * GB,
        ),
        MachineProfile(
            # getumbrel/llama-gpt pull request 87, Ryzen 7 5700G, DDR4-3800 (61 GB/s), 7B Q4_0 (3.8 GB): 11.5 tokens/s
            # out. Here with the usual DDR4-3200. `prefill_batch` as the mini-pc's: an assumption.
            name="office-pc",
            chip="8-core processor, dual-channel DDR4-3200",
            memory=Bytes(16 * GiB),
            model_memory=Bytes(13 * GiB),
            gpu=False,
            bandwidth=51 * GB,
            decode_efficiency=0.72,
            prefill_batch=3.5,
            disk_rate=int(0.5 * GB),  # a SATA SSD
        ),
        MachineProfile(
            # geerlingguy/ai-benchmarks issue 7, Raspberry Pi 5 with 16 GB, llama3.2:3b (2.0 GB): 4.88 tokens/s out.
            # Its LPDDR4X-4267 is 32 bits wide. `prefill_batch` as the mini-pc's: an assumption.
            name="raspberry-pi",
            chip="Raspberry Pi 5",
            memory=Bytes(16 * GiB),
            model_memory=Bytes(13 * GiB),
            gpu=False,
            bandwidth=17 * GB,
            decode_efficiency=0.58,
            prefill_batch=3.5,
            disk_rate=int(0.8 * GB),  # an SSD at the one lane of PCIe 3
        ),
    )
}
