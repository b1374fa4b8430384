"""What a simulated image model paints: real PNGs of the size that was asked for, stripes in two colours."""

import hashlib
import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Of zlib's levels that which packs nothing: pictures of real models are no stripes, and some hundred kilobytes long.
_LOOSE = 0
# One bit a pixel, and a palette (PNG specification, 11.2.1).
_DEPTH, _PALETTE = 1, 3


def png(width: int, height: int, seed: bytes) -> bytes:
    """A picture; what it shows follows from `seed`."""
    drawn = hashlib.sha256(seed).digest()
    stripes = drawn[:26] * (width // 208 + 1)
    row = b"\x00" + stripes[: (width + 7) // 8]  # each begins with its filter: none
    packed = zlib.compressobj(_LOOSE)
    body = b"".join([packed.compress(row) for _ in range(height)]) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, _DEPTH, _PALETTE, 0, 0, 0)
    chunks = (b"IHDR", header), (b"PLTE", drawn[26:]), (b"IDAT", body), (b"IEND", b"")
    return _SIGNATURE + b"".join([_chunk(kind, data) for kind, data in chunks])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
