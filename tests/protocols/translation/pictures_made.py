"""Pictures for tests: real ones, of a few bytes."""

import struct
import zlib

# One grey pixel each, as their encoders write it.
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(20) + b"\xff\xd9"
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(24)


def png(width: int = 1, height: int = 1, *, noise: bytes = b"") -> bytes:
    """A picture of one colour; `noise` makes it longer, in a chunk that nobody has to look at."""
    rows = (b"\x00" + b"\x80" * width) * height

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    more = chunk(b"nOPe", noise) if noise else b""
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
