"""What is known of work that is not counted in tokens before any of it was seen: pictures and speech.

A model has a rate for each unit in which it is asked for work: one that chats and also hears has two.
"""

from herd.policy.values import Hardware, MemoryKind, ModelView
from herd.types import Bytes, Tokens, Unit

# Kilopixel-steps a second for each byte/s of memory bandwidth and each prompt token that a machine reads for one that
# it writes: a step goes over all pixels at once, as a prompt is read. FLUX.1 schnell at 1024 x 1024 in 4 steps takes
# some 18 s on an M3 Ultra (819 GB/s, factor 10) by its users' word; with the same constant an RTX 4090 takes 3 s, which
# is about what is published of it. A model's bytes say little of its work, for fewer bits make it no quicker.
_PIXEL_STEPS = 4194 / 18 / (819e9 * 10.0)
# Frames of 10 ms a second for each token a second that a chat model of the same size would write. Whisper large-v3 (3
# GB) runs at some 10 times real time on an M2 Max, where such a model writes 77 tokens/s. The same constant makes tiny
# (75 MB) run at 50 times real time on two cores; 18 to 40 times was measured.
_AUDIO_FRAMES = 13.0
# Whisper large-v3 at 16 bits, the largest that is usual: for servers that do not say how large theirs is.
USUAL_SPEECH_MODEL = Bytes(3 * 10**9)

# What is asked for, until it is known what people ask a model for. Chats are answered by some hundred tokens; a
# megapixel in ten steps is between the distilled models (4 to 9) and the others (20 to 50); a minute of speech is a
# voice message. All of the usual order.
USUAL = {Unit.TOKEN: Tokens(256), Unit.PIXEL_STEP: Tokens(10_000), Unit.AUDIO_FRAME: Tokens(6_000)}
# Less says more about the request's overheads than about the machine: a picture of 512 x 512 in one step, five seconds.
# Whisper computes a window of 30 s, however short the recording: a word takes it as long as half a minute.
LEAST = {Unit.TOKEN: 8, Unit.PIXEL_STEP: 250, Unit.AUDIO_FRAME: 500}

# Prompt tokens for each decoded one: about 3.5 without a GPU, 10 on Apple's, 50 on cards of their own (published runs
# of llama.cpp, discussions 4167 and 15013).
PREFILL_FACTOR = {MemoryKind.RAM: 3.5, MemoryKind.UNIFIED: 10.0, MemoryKind.VIDEO: 50.0}


def likely_pixel_steps(hardware: Hardware, bandwidth: float) -> float:
    """Kilopixel-steps a second that the hardware makes likely; `bandwidth` in bytes/s, assumed where unknown."""
    return bandwidth * PREFILL_FACTOR[hardware.kind] * _PIXEL_STEPS


def likely_audio_frames(decode: float) -> float:
    """Frames a second that the hardware makes likely where a chat model of the size would write `decode` tokens/s."""
    return decode * _AUDIO_FRAMES


def size_for(unit: Unit, model: ModelView, usual: Bytes) -> Bytes:
    """Bytes that one pass over the model reads; `usual` for a chat model whose server does not say."""
    return model.size or model.size_resident or (USUAL_SPEECH_MODEL if unit is Unit.AUDIO_FRAME else usual)
