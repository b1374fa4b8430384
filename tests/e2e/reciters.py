"""Model servers for tests that break things: many slots, and a memory of every byte that they said.

    python -m tests.e2e.reciters NAME [MODEL ...]

serves one at Ollama's usual address until it is killed, and prints "running N" whenever the number of its requests
changes.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from herd.actors.ports import HttpRequest, Sink
from herd.protocols.headers import value_of
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, KiB
from tests.e2e.model_servers import OLLAMA_PORT, ModelServer
from tests.sinks import CopyingSink

SLOTS = 25  # a node, in the tests of this house
# With all slots taken a stream says 160 to 250 tokens a second: a fast machine, and streams that overlap in time.
PACE = 4.0
DISK_RATE = 1e12  # bytes/s: loads are not what these tests wait for

LINE = 48 * KiB  # of a recital; more than one write, so that most writes end inside a line
PIECE = 32 * KiB

# There is no event for bytes that do not move. A machine that is busy elsewhere may pause a flow for a moment, and a
# pause that is taken for the standstill makes the tests that wait for it more lenient, never wrong.
STANDSTILL_S = 0.5

_MORE_THAN_A_CHAT = Bytes(64 * KiB)


class Reciter(ModelServer):
    """A fake Ollama with 25 slots that keeps what it said, and recites very long answers when asked to.

    A request with the header `X-Recite: N` gets N lines of 48 KiB and a last one, at once, without taking a slot.

    Attributes:
        told: request id (`X-Request-Id`) -> every byte that was said in answer, also those that nobody took.
        recited: bytes of recitals that were taken so far.
    """

    def __init__(self, name: str, models: Sequence[str]) -> None:
        super().__init__(name, models)
        # Without video memory Ollama's default context is small, so that 25 of them fit beside several models.
        profile = replace(PROFILES["mac-studio"], name=name, gpu=False, disk_rate=DISK_RATE).faster(PACE)
        self.fake = FakeOllama(profile, [CATALOG[model] for model in models], num_parallel=SLOTS)
        self.told: dict[str, bytearray] = {}
        self.recited = 0

    async def _handle(self, request: HttpRequest, sink: Sink) -> None:
        lines = value_of(request.headers, "x-recite")
        if lines:
            await self._recite(request, int(lines), sink)
            return
        told = self.told[value_of(request.headers, "x-request-id")] = bytearray()
        await super()._handle(request, CopyingSink(sink, told))

    async def _recite(self, request: HttpRequest, lines: int, sink: Sink) -> None:
        (await request.read_body(_MORE_THAN_A_CHAT)).close()
        await sink.start(200, (("Content-Type", "application/x-ndjson"),))
        for piece in pieces(recital(lines)):
            await sink.write(piece)
            self.recited += len(piece)
            await self.gate.wait()
        await sink.finish()


def recital(lines: int) -> Iterator[bytes]:
    """The lines of a long answer, each of them different, and the line that ends it."""
    for number in range(lines):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        yield _line(digest * (LINE // len(digest)), done=False)
    yield _line("", done=True, eval_count=lines)


def _line(text: str, **fields: Any) -> bytes:
    return json.dumps({"message": {"role": "assistant", "content": text}} | fields).encode() + b"\n"


def pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut without regard to where lines end."""
    held = b""
    for line in lines:
        held += line
        while len(held) >= PIECE:
            yield held[:PIECE]
            held = held[PIECE:]
    yield held


def fingerprint(lines: int) -> tuple[int, str]:
    """Length and SHA-256 of a recital."""
    digest, size = hashlib.sha256(), 0
    for line in recital(lines):
        digest.update(line)
        size += len(line)
    return size, digest.hexdigest()


async def stopped_taking(server: Reciter) -> None:
    """Wait until nothing of a recital has been taken for a while: whatever is between it and its client is full."""
    before = -1
    while before != server.recited:
        before = server.recited
        await asyncio.sleep(STANDSTILL_S)


async def _main(name: str, models: Sequence[str]) -> None:
    server = Reciter(name, models)
    await server.start(OLLAMA_PORT)
    while True:
        running = server.fake.running
        sys.stdout.write(f"running {running}\n")
        sys.stdout.flush()
        await server.fake.until(partial(_runs_other_than, running))


def _runs_other_than(running: int, fake: FakeOllama) -> bool:
    return fake.running != running


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2:]))
