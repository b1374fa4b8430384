"""How fast the memory of known chips is: what decoding lives on."""

from herd.policy.values import MemoryKind

GB = 1e9

# Peak bandwidths in GB/s, by the words of the chip's name. Makers' figures; of chips that were sold in several widths
# the narrowest, since the name does not tell.
_CHIPS = {
    "m1": 68,
    "m1 pro": 200,
    "m1 max": 400,
    "m1 ultra": 800,
    "m2": 100,
    "m2 pro": 200,
    "m2 max": 400,
    "m2 ultra": 800,
    "m3": 100,
    "m3 pro": 150,
    "m3 max": 300,
    "m3 ultra": 819,
    "m4": 120,
    "m4 pro": 273,
    "m4 max": 410,
    "m5": 153,
    "m5 pro": 307,
    "m5 max": 460,
    "rtx 5090": 1792,
    "rtx 5080": 960,
    "rtx 5070 ti": 896,
    "rtx 5070": 672,
    "rtx 5060 ti": 448,
    "rtx 5060": 448,
    "rtx 4090": 1008,
    "rtx 4080 super": 736,
    "rtx 4080": 717,
    "rtx 4070 ti super": 672,
    "rtx 4070 ti": 504,
    "rtx 4070 super": 504,
    "rtx 4070": 504,
    "rtx 4060 ti": 288,
    "rtx 4060": 272,
    "rtx 3090 ti": 1008,
    "rtx 3090": 936,
    "rtx 3080 ti": 912,
    "rtx 3080": 760,
    "rtx 3070 ti": 608,
    "rtx 3070": 448,
    "rtx 3060 ti": 448,
    "rtx 3060": 360,
    "rtx 3050": 224,
    "rtx 2080 ti": 616,
    "rtx 2080": 448,
    "rtx 2070": 448,
    "rtx a6000": 768,
    "l40s": 864,
    "l40": 864,
    "l4": 300,
    "a100": 2039,
    "h100": 3350,
    "h200": 4800,
    "gb10": 273,
    "rx 9070 xt": 640,
    "rx 9070": 640,
    "rx 9060 xt": 320,
    "rx 7900 xtx": 960,
    "rx 7900 xt": 800,
    "rx 7800 xt": 624,
    "rx 7700 xt": 432,
    "rx 7600": 288,
    "rx 6950 xt": 576,
    "rx 6900 xt": 512,
    "rx 6800 xt": 512,
    "rx 6800": 512,
    "rx 6700 xt": 384,
    "arc a770": 560,
    "arc a750": 512,
    "arc b580": 456,
    "arc b570": 380,
    "ryzen ai max": 256,
}

_LONGEST = max(len(name.split()) for name in _CHIPS)

# Of a chip that is not listed: two channels of DDR4-3200; what small Apple machines have; a card of the middle.
_UNKNOWN = {MemoryKind.RAM: 51, MemoryKind.UNIFIED: 100, MemoryKind.VIDEO: 400}


def bandwidth(chip: str, kind: MemoryKind) -> float:
    """Bytes a second of the memory that models run in, by the chip's name as its system tells it."""
    words = chip.lower().replace("-", " ").replace("+", "").replace("(tm)", "").replace("(r)", "").split()
    for length in range(min(_LONGEST, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            found = _CHIPS.get(" ".join(words[start : start + length]))
            if found is not None:
                return found * GB
    return _UNKNOWN[kind] * GB
