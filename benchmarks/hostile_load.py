"""Hostile clients and hostile agents, in a process of their own, at a rate, until they are told to stop.

    python -m benchmarks.hostile_load PLAN

plays the cases of tests/e2e/hostile_cases.py one after another, on fresh connections, with and without a key, and
between them agents that have no proof, a wrong one, an old one, or the router's own. It says "attacking" once all were
played, and in the end (SIGTERM) what came of it, as JSON: how many, of which answers, and what the router did wrong.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any

import msgspec
import uvloop

from herd.errors import ProtocolError
from herd.protocols.framing import MAX_FRAME, Frame, FrameDecoder, encode
from herd.protocols.handshake import agent_proof
from herd.protocols.messages import PROTOCOL_VERSIONS, FrameType, Hello
from herd.types import KiB, NodeId, NodeName
from tests.e2e.hostile_cases import CASES, KEYS, Case
from tests.net.http_house import RawClient, connection

# What an answer takes on a machine that is busy; a case that waits for nothing takes milliseconds.
PATIENCE_S = 20.0
MAX_COMPLAINTS = 5  # the first ones tell the story

_HOST = b"\r\nHost: localhost"


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to attack, and how hard."""

    http: int
    link: int
    rate: float  # attacks a second
    key: str  # one that the router knows: half of the cases get behind it
    token: str  # the join token, of which an eavesdropper has heard a proof


@dataclass
class Suffered:
    """What came of it."""

    attacks: int = 0
    answers: dict[str, int] = field(default_factory=dict)  # by status, or what else happened
    complaints: list[str] = field(default_factory=list)

    def met(self, what: str) -> None:
        """Count an answer."""
        self.answers[what] = self.answers.get(what, 0) + 1

    def complain(self, what: str) -> None:
        """The router did something that it must not."""
        if len(self.complaints) < MAX_COMPLAINTS:
            self.complaints.append(what)


Attack = Callable[[Plan, Suffered], Coroutine[Any, Any, None]]
Proof = Callable[[Plan, Frame], bytes]  # made of a CHALLENGE


def keyed(case: Case, key: str) -> Sequence[bytes]:
    """What a case sends, with a key in its head."""
    return [part.replace(_HOST, _HOST + b"\r\nx-api-key: " + key.encode()) for part in case.parts]


def client(case: Case, *, with_key: bool) -> Attack:
    """A case as an attack."""

    async def attack(plan: Plan, suffered: Suffered) -> None:
        async with connection(plan.http) as raw:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                for part in keyed(case, plan.key) if with_key else case.parts:
                    raw.send(part)
                    await raw.writer.drain()
                if case.ends:
                    raw.writer.write_eof()
            statuses = await _statuses(raw, len(case.statuses))
        for status in statuses:
            suffered.met(str(status))
        if not statuses:
            suffered.met("closed")
        if any(status >= 500 for status in statuses):
            suffered.complain(f"{case.name}: {statuses}")

    return attack


async def _statuses(raw: RawClient, most: int) -> list[int]:
    statuses: list[int] = []
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while len(statuses) < most:
            statuses.append((await raw.reply()).status)
    return statuses


HELLO = Hello(PROTOCOL_VERSIONS, NodeId("mallory"), NodeName("mallory"), nonce=b"mallory's nonce.")


async def agent(proof: Proof, plan: Plan, suffered: Suffered) -> None:
    """An agent that wants in, with some proof made of the router's challenge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.link)
    decoder, met = FrameDecoder(MAX_FRAME), "silence"
    try:
        with suppress(ConnectionError, ProtocolError):
            writer.write(encode(FrameType.HELLO, 0, HELLO))
            while data := await reader.read(64 * KiB):
                for frame in decoder.feed(data):
                    met = FrameType(frame[0]).name
                    if frame[0] == FrameType.CHALLENGE:
                        writer.write(encode(FrameType.PROOF, 0, proof(plan, frame)))
                    elif frame[0] == FrameType.WELCOME:
                        suffered.complain("an agent without the join token was let in")
                        return
    finally:
        writer.transport.abort()
    suffered.met(f"link: {met}")


def agents() -> Iterator[Attack]:
    """Those without a proof."""
    proofs: tuple[Proof, ...] = (
        lambda _, __: b"",
        lambda _, __: b"x" * 32,
        lambda _, __: b"x" * 60_000,
        lambda _, challenge: bytes(challenge[3]),  # the router's own, sent back to it
        lambda plan, _: agent_proof(plan.token, HELLO, b"an old challenge"),  # the right one, at another time
    )
    for proof in proofs:
        yield partial(agent, proof)

    async def garbage(plan: Plan, suffered: Suffered) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", plan.link)
        with suppress(ConnectionError):
            writer.write(b"\xff" * 100_000)
            await reader.read()
        writer.transport.abort()
        suffered.met("link: garbage")

    yield garbage


def attacks() -> list[Attack]:
    """All of them, agents between clients."""
    clients = [client(case, with_key=with_key) for case in (*CASES, *KEYS) for with_key in (True, False)]
    between = cycle(agents())
    return [each for number, one in enumerate(clients) for each in ((one,) if number % 4 else (one, next(between)))]


async def main(plan: Plan) -> Suffered:
    """Attack until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    suffered = Suffered()
    everything = attacks()
    began = asyncio.get_running_loop().time()
    for number, attack in enumerate(cycle(everything)):
        if number == len(everything):
            print("attacking", flush=True)
        early = began + number / plan.rate - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, early)):
                await told.wait()
        if told.is_set():
            break
        try:
            async with asyncio.timeout(PATIENCE_S):
                await attack(plan, suffered)
        except TimeoutError:
            suffered.complain(f"an attack got neither an answer nor an end in {PATIENCE_S:.0f} s")
        suffered.attacks += 1
    return suffered


if __name__ == "__main__":
    result = uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
    print(msgspec.json.encode(result).decode(), flush=True)
