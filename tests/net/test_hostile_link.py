"""Hostile bytes on the link port: what each gets, while an honest agent is served to the byte."""

import re
from collections.abc import Sequence

import msgpack
import pytest

from herd.protocols.framing import MAX_FRAME, MAX_FRAME_BEFORE_WELCOME
from herd.protocols.messages import FrameType
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded, StreamReset
from herd.types import KiB, MiB, StreamId
from tests.net.hostile import (
    MALLORY,
    ONE,
    THREE,
    TWO,
    bounded_memory,
    bystander,
    close_all,
    frame,
    goodbye,
    joined_with_streams,
    models,
    no_traceback,
    nothing_left,
    packed,
    peer,
)
from tests.net.link_house import USAGE, House, house
from tests.net.loops import on_every_loop, turns_until

pytestmark = pytest.mark.usefixtures("plain_and_tls")

F = FrameType
NAN, INF = float("nan"), float("inf")


def hello_with(**changes: object) -> bytes:
    return frame(F.HELLO, 0, {"versions": [1], "node_id": "mallory", "name": "mallory"} | changes)


# --- The table: bytes, and what the GOODBYE says of them --------------------------------------------------------------

# Wherever the link stands.
ALWAYS: dict[str, tuple[bytes, str]] = {
    "a frame of 4 GiB": (b"\xff\xff\xff\xff", "4294967295 bytes is too long"),
    "an empty frame": (bytes(4), "not valid msgpack"),
    "JSON": (packed(b'[1, 0, {"versions": [1]}]'), "not valid msgpack|not an array"),
    "HTTP": (b"GET /herd/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", "too long"),
    "a number": (packed(b"\x01"), "not an array"),
    "a list of 4 billion": (packed(b"\xdd\xff\xff\xff\xff"), "not valid msgpack"),
    "a map of 4 billion": (packed(b"\xdf\xff\xff\xff\xff"), "not valid msgpack"),
    "a text of 4 GiB": (packed(b"\xdb\xff\xff\xff\xff"), "not valid msgpack"),
    "a binary of 4 GiB": (packed(b"\xc6\xff\xff\xff\xff"), "not valid msgpack"),
    "an extension of 4 GiB": (packed(b"\xc9\xff\xff\xff\xff\x05"), "not valid msgpack"),
    "an extension": (packed(msgpack.packb([5, 0, msgpack.ExtType(7, b"x")])), "extension type 7"),
    "lists nested 60,000 deep": (packed(b"\x91" * 60_000), "not valid msgpack"),
    "maps nested 30,000 deep": (packed(b"\x81\xa0" * 30_000), "not valid msgpack"),
    "lists of 8,192, nested 500 deep": (packed(b"\xdc\x20\x00" * 500), "not valid msgpack"),
    "a map whose key is a list": (packed(b"\x93\x05\x00\x81\x90\x01"), "not valid msgpack"),
    "a time stamp for a type": (packed(msgpack.packb([msgpack.Timestamp(1), 0])), "begins with two integers"),
    "a type of 64 bits": (frame(2**64 - 1, 0), "frame type 18446744073709551615 is not allowed"),
    "a type below nought": (frame(-1, 0), "frame type -1 is not allowed"),
    "WELCOME from an agent": (frame(F.WELCOME, 0, {"version": 1}), "WELCOME is not allowed"),
    "CHALLENGE from an agent": (frame(F.CHALLENGE, 0, b"x" * 16, b"x" * 32), "CHALLENGE is not allowed"),
    "OPEN from an agent": (frame(F.OPEN, 1, {}), "OPEN is not allowed"),
    "COMMAND from an agent": (frame(F.COMMAND, 0, {}), "COMMAND is not allowed"),
    "PROOF that nobody asked for": (frame(F.PROOF, 0, b"x" * 32), "PROOF is not allowed"),
}

BEFORE_WELCOME: dict[str, tuple[bytes, str]] = ALWAYS | {
    "a frame over the limit": ((MAX_FRAME_BEFORE_WELCOME + 1).to_bytes(4, "big"), "at most 65536"),
    "a name of a megabyte": (hello_with(name="x" * MiB), "at most 65536"),
    "HEARTBEAT before WELCOME": (frame(F.HEARTBEAT, 0, {}), "HEARTBEAT is not allowed while the link is greeting"),
    "PING before WELCOME": (frame(F.PING, 0, 1), "PING is not allowed"),
    "DATA before WELCOME": (frame(F.DATA, 1, b"x"), "DATA is not allowed"),
    "two HELLOs": (hello_with() + hello_with(), "HELLO is not allowed while the link is deciding"),
    "HELLO without fields": (frame(F.HELLO, 0, {}), "missing required field"),
    "HELLO that is a list": (frame(F.HELLO, 0, []), "Expected `object`"),
    "HELLO without its value": (frame(F.HELLO, 0), "of length 3"),
    "HELLO on a stream": (frame(F.HELLO, 2**64 - 1, {}), "names stream 18446744073709551615"),
    "HELLO on a stream below nought": (frame(F.HELLO, -(2**63), {}), "names stream -9223372036854775808"),
    "a name that is a number": (hello_with(name=5), r"Expected `str`, got `int` - at `\$\[2\].name`"),
    "versions that are text": (hello_with(versions=["1"]), "versions"),
    "no version": (hello_with(versions=[]), "No common version"),
    "versions of another age": (hello_with(versions=[2**63] * 5000), "No common version"),
    "a nonce that is text": (hello_with(nonce="x" * 16), "nonce"),
    "cores that are not a number": (hello_with(machine={"cores": NAN}), "type float may not stand here"),
    "a field of bytes, deep": (hello_with(machine={"os": [b"x"]}), "type bytes may not stand here"),
    "no id": (hello_with(node_id=""), "node id"),
    "an id of a line and more": (hello_with(node_id="a\r\nX-Injected: 1", name=""), "node id"),
    "an id that obeys a terminal": (hello_with(node_id="\x1b[2Jcleared"), "node id"),
    "an id that is a path": (hello_with(node_id="../../etc"), "node id"),
    "an id of 60,000 letters": (hello_with(node_id="x" * 60_000), "node id"),
}

# With a request of stream 1 that has no answer yet, one of stream 2 that has its head, and one of 3 that has ended.
AFTER_WELCOME: dict[str, tuple[bytes, str]] = ALWAYS | {
    "a frame over the limit": ((MAX_FRAME + 1).to_bytes(4, "big"), "at most 1048576"),
    "lists nested 100,000 deep": (packed(b"\x91" * 100_000), "not valid msgpack"),
    "HELLO again": (hello_with(), "HELLO is not allowed while the link is open"),
    "DATA before HEAD": (frame(F.DATA, 1, b"x"), "DATA is not allowed on a stream that is waiting"),
    "END before HEAD": (frame(F.END, 1, {}), "END is not allowed on a stream that is waiting"),
    "HEAD twice": (frame(F.HEAD, 2, {"status": 200}), "HEAD is not allowed on a stream that is answering"),
    "BODY from an agent": (frame(F.BODY, 2, b"x", False), "BODY is not allowed"),
    "CANCEL from an agent": (frame(F.CANCEL, 2), "CANCEL is not allowed"),
    "DATA of a stream that never was": (frame(F.DATA, 99, b"x"), "never opened"),
    "amounts of 64 bits": (frame(F.HEARTBEAT, 0, {"memory_total": 2**64 - 1}), "an amount in it is none"),
    "amounts below nothing": (frame(F.HEARTBEAT, 0, {"memory_free": -1}), "an amount in it is none"),
    "DATA of a stream of 64 bits": (frame(F.DATA, 2**64 - 1, b"x"), "never opened"),
    "DATA of a stream below nought": (frame(F.DATA, -1, b"x"), "never opened"),
    "DATA of the link itself": (frame(F.DATA, 0, b"x"), "never opened"),
    "HEAD of a stream that never was": (frame(F.HEAD, 2**63, {"status": 200}), "never opened"),
    "RESET of the link itself": (frame(F.RESET, 0, {"kind": "x"}), "never opened"),
    "DATA that is text": (frame(F.DATA, 2, "x"), "wrong elements"),
    "DATA of nothing": (frame(F.DATA, 2, b""), "holds 0 bytes"),
    "DATA of 64 KiB and a byte": (frame(F.DATA, 2, bytes(64 * KiB + 1)), "holds 65537 bytes"),
    "more DATA than was granted": (frame(F.DATA, 2, bytes(8 * KiB + 1)), "had credit for 8192"),
    "more DATA than was granted, in bits": (frame(F.DATA, 2, b"x") * (8 * KiB + 1), "1 bytes and had credit for 0"),
    "WINDOW of nought": (frame(F.WINDOW, 2, 0), "Expected `int` >= 1"),
    "WINDOW below nought": (frame(F.WINDOW, 2, -5), "Expected `int` >= 1"),
    "WINDOW of 64 bits": (frame(F.WINDOW, 0, 2**64 - 1), "Expected `int` <="),
    "WINDOW of a stream beyond 31 bits": (frame(F.WINDOW, 1, 2**31), "beyond 2147483648"),
    "WINDOW of the link beyond 31 bits": (frame(F.WINDOW, 0, 2**30) * 2, "beyond 2147483648"),
    "PING of a stream": (frame(F.PING, 2, 1), "is about the link as a whole"),
    "PING that is text": (frame(F.PING, 0, "x"), "Expected `int`"),
    "a share that is no number": (frame(F.HEARTBEAT, 0, {"cpu": NAN}), "type float may not stand here"),
    "an owner's share that is no number": (frame(F.HEARTBEAT, 0, {"owner_load": NAN}), "type float may not stand here"),
    "a pause that never began": (
        frame(F.HEARTBEAT, 0, {"pauses": [{"kind": "k", "text": "t", "since": NAN}]}),
        "type float may not stand here",
    ),
    "a share without end": (frame(F.HEARTBEAT, 0, {"cpu": -INF}), "type float may not stand here"),
    "a time stamp": (frame(F.HEARTBEAT, 0, {"x": msgpack.Timestamp(1)}), "type Timestamp may not stand here"),
    "2,001 models": (models(2001), "lists 2001 models"),
    "8,193 models": (models(8193), "not valid msgpack"),
    "100,000 models": (models(100_000), "too long"),
    "a heartbeat nested 17 deep": (frame(F.HEARTBEAT, 0, {"x": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}), "nested"),
    "a megabyte of empty maps": (packed(b"\x93\x05\x00\xdc\x20\x00" + (b"\xdc\x00\x7e" + b"\x80" * 126) * 8190), ""),
}

# Nobody's mistake, or nobody's harm: the link goes on.
BORNE: dict[str, bytes] = {
    "DATA after the end": frame(F.DATA, 3, bytes(64 * KiB)) * 20,
    "a second end": frame(F.END, 3, {}) + frame(F.RESET, 3, {"kind": "reset"}),
    "HEAD after the end": frame(F.HEAD, 3, {"status": 200}),
    "WINDOW after the end": frame(F.WINDOW, 3, 2**31) * 10,
    "WINDOW of a request that has no body": frame(F.WINDOW, 2, 2**31) * 10,
    "keys that come twice": packed(b"\x93\x05\x00\x82\xa3cpu\x01\xa3cpu\x00"),
    "fields nobody knows": frame(F.HEARTBEAT, 0, {"colour": ["green"] * 8000}),
    "answers nobody asked for": frame(F.PONG, 0, -(2**63)) * 10_000 + frame(F.RESULT, 0, {"id": 1, "ok": True}) * 1000,
    "a farewell again and again": frame(F.DRAIN, 0) * 10_000,
    "an owner beyond belief": frame(
        F.HEARTBEAT,
        0,
        {
            "pauses": [{"kind": "\x1b", "text": "x" * 500, "since": -1e300, "until": 1e300}] * 1000,
            "workload": "frantic",
            "owner_load": -1e300,
            "thermal": "x" * 100_000,
        },
    ),
    "numbers of 63 bits": frame(F.HEARTBEAT, 0, {"memory_total": 2**63 - 1, "memory_free": 2**63 - 1, "week_slot": -1}),
}


@pytest.mark.parametrize(("data", "complaint"), BEFORE_WELCOME.values(), ids=BEFORE_WELCOME)
@on_every_loop
async def test_a_stranger_that_breaks_the_rules_gets_a_goodbye_and_others_do_not_notice(
    data: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house() as home, bystander(home), peer(home.server.port) as mallory:
        with bounded_memory():
            mallory.send(data)
            said = await mallory.rest()
        if len(data) <= 64 * KiB or said:  # else it closed on bytes that it had not read, which may cut its last word
            assert_refused(said, complaint)
        await turns_until(lambda: nothing_left(home))
        assert MALLORY.node_id not in home.fleet.links
    assert no_traceback(caplog)


def assert_refused(said: Sequence[list[object]], complaint: str) -> None:
    parting = goodbye(said)
    assert parting.code in {"protocol", "version"}
    assert re.search(complaint, parting.text), parting.text
    assert len(parting.text) <= 300
    assert parting.text.isprintable()


@pytest.mark.parametrize(("data", "complaint"), AFTER_WELCOME.values(), ids=AFTER_WELCOME)
@on_every_loop
async def test_an_agent_that_breaks_the_rules_loses_its_link_and_others_do_not_notice(
    data: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house() as home, bystander(home), peer(home.server.port) as mallory:
        await joined_with_streams(mallory, home)
        with bounded_memory():
            mallory.send(data)
            said = await mallory.rest()
        if len(data) <= 64 * KiB or said:
            assert_refused(said, complaint)
        down = await home.fleet.news.get()
        assert down[:2] == ("down", MALLORY.node_id)
        assert await last_event(home, ONE) == await last_event(home, TWO) == "link"
        close_all(home)
        assert nothing_left(home)
        await turns_until(lambda: len(home.server._stream_links) <= 1)  # the bystander's
    assert no_traceback(caplog)


async def last_event(home: House, stream: StreamId) -> str:
    """The kind of failure that ends a stream."""
    exchange = home.server.attach(stream)
    while not isinstance(event := await exchange.receive(), StreamReset):
        assert isinstance(event, HeadReceived | DataReceived)
    return event.failure.kind


@pytest.mark.parametrize("data", BORNE.values(), ids=BORNE)
@on_every_loop
async def test_what_harms_nobody_is_borne(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with house() as home, bystander(home), peer(home.server.port) as mallory:
        await joined_with_streams(mallory, home)
        with bounded_memory(8 * MiB):
            await mallory.flood(data)
            await mallory.answered()
        assert home.server.attach(THREE)._events[-1] == StreamEnded(THREE, USAGE)
        assert len(home.server.attach(THREE)._events) == 2
        news = [home.fleet.news.get_nowait()[0] for _ in range(home.fleet.news.qsize())]
        assert news in ([], ["report"], ["draining"])
        close_all(home)
    assert no_traceback(caplog)
