"""Request bodies in Zstandard, as Codex sends them: undone piece by piece, within bounds, by the standard library's own
module or its backport.
"""

import asyncio
import sys

from herd.actors.ports import Body
from herd.errors import BodyTooLarge, RequestError
from herd.net.bodies import Collector, Room
from herd.types import KiB, MiB

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# What a decoder keeps of what came before: RFC 9659 allows no more in HTTP than these 8 MiB (2 to this power).
_WINDOW_LOG = 23
# Decoders at work at once: 64 MiB of windows. A MiB takes about a millisecond, so that nobody waits long for a turn.
MOST_DECODERS = 8
# What Ollama takes without its compression. Longer bodies are images, which hardly shrink, and texts, which shrink to a
# tenth or a twentieth; a bomb of 10 KB then brings no more than these 20 MiB onto the disk.
ALWAYS_TAKEN = 20 * MiB
MOST_TIMES = 100
_READ = 64 * KiB
# Of a bomb each byte becomes thousands: so much comes out before the limit is looked at again.
_STEP = 256 * KiB


class Inflater:
    """Decompresses the bodies of one listener.

    Args:
        room: the memory that bodies share.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._turns = asyncio.Semaphore(MOST_DECODERS)

    async def inflate(self, body: Body, limit: int) -> Body:
        """What `body`, which is closed, is without its compression.

        Raises:
            RequestError: 400, it is not one whole frame of Zstandard; 507, the disk has no room for it.
            BodyTooLarge: what comes out is longer than `limit`, or too many times as long as what went in.
        """
        believed = max(ALWAYS_TAKEN, MOST_TIMES * body.size)
        collector = Collector(min(limit, believed), self._room)
        try:
            async with self._turns:
                await _inflate(body, collector)
            return await collector.finish()
        except BodyTooLarge as error:
            if limit <= believed:
                raise
            raise BodyTooLarge(
                f"request body too large: decompressed it has over {MOST_TIMES} times its size"
            ) from error
        except zstd.ZstdError as error:
            raise RequestError(f"the request body cannot be decompressed: {error}") from error
        finally:
            collector.discard()
            body.close()


async def _inflate(body: Body, collector: Collector) -> None:
    decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    ended = False
    async for piece in body.chunks(_READ):
        if ended:
            raise _more_than_one()
        left, more = piece, True
        while more:
            await collector.add(decoder.decompress(left, _STEP))
            left, ended = b"", decoder.eof
            more = not (ended or decoder.needs_input)
    if decoder.unused_data:
        raise _more_than_one()
    if body.size and not ended:
        raise RequestError("the request body cannot be decompressed: it ends too early")


def _more_than_one() -> RequestError:
    """Of frames, which may be a few bytes each: millions of decoders in one body."""
    return RequestError("the request body cannot be decompressed: something follows its first frame")
