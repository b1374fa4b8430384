"""Models for images and speech that a simulated server may have, beside those of the catalogue for text.

They are in a catalogue of their own because fleets are drawn from the other.
"""

from herd.simulation.machine.catalog import GB, SimulatedModel
from herd.types import Bytes, Capability, Tokens

# What ollama.com lists, in its neighbourhood. A model for images has no keys and values that stay.
MEDIA: dict[str, SimulatedModel] = {
    model.name: model
    for model in (
        SimulatedModel(
            "x/z-image-turbo:latest",
            Bytes(int(12.7 * GB)),
            "10.3B",
            "FP8",
            "z-image",
            Tokens(4_096),
            (Capability.IMAGE,),
            Bytes(0),
        ),
        SimulatedModel(
            "x/flux2-klein:4b",
            Bytes(int(5.7 * GB)),
            "7.9B",
            "FP4",
            "flux2",
            Tokens(4_096),
            (Capability.IMAGE, Capability.VISION),
            Bytes(0),
        ),
        SimulatedModel(
            "gemma4:e2b",
            Bytes(int(7.2 * GB)),
            "5.1B",
            "Q4_K_M",
            "gemma4",
            Tokens(131_072),
            (Capability.COMPLETION, Capability.TOOLS, Capability.VISION, Capability.AUDIO),
            Bytes(2 * 30 * 1 * 256 * 2),
            layers=30,
            kv_heads=1,
        ),
    )
}
