"""Any bytes, at any time, after any part of an honest conversation: events, or a polite end; and nothing piles up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.protocols.framing import MAX_FRAME
from herd.protocols.messages import Result
from herd.protocols.outbox import MAX_CONTROL
from herd.protocols.session import Session
from herd.types import StreamId
from tests.protocols.link_helpers import (
    EVERYTHING,
    FAILURE,
    HEAD,
    REPORT,
    REQUEST,
    USAGE,
    Pair,
    receive_or_refuse,
)

SOME = settings(max_examples=200, derandomize=True, database=None)
STREAMS = tuple(map(StreamId, (1, 2, 3)))


def opened() -> Pair:
    """A pair with three requests under way, of which the agent has heard nothing yet."""
    pair = Pair.welcomed()
    for stream in STREAMS:
        pair.router.open(stream, REQUEST)
        pair.router.send_body(stream, b"question" * 500)
        pair.router.end_body(stream)
    pair.router.ping(1)
    return pair


def frames(session: Session) -> list[bytes]:
    """What a session has to say, frame by frame."""
    said = []
    while data := session.take(0):
        said.append(data)
    return said


def conversation() -> dict[str, list[bytes]]:
    """All that the router says to the agent, and the agent to the router, in an honest conversation."""
    pair = opened()
    to_agent = frames(pair.router)
    pair.agent.receive(b"".join(to_agent))
    for stream in STREAMS:
        pair.agent.send_head(stream, HEAD)
        pair.agent.send_data(stream, b"answer" * 1000)
    pair.agent.report(REPORT)
    pair.agent.result(Result(7, ok=True))
    pair.agent.end(STREAMS[0], USAGE)
    pair.agent.reset(STREAMS[1], FAILURE)
    return {"agent": to_agent, "router": frames(pair.agent)}


HONEST = conversation()
# What is done to a conversation: where, how, and with what.
HOW = ("flip", "cut", "drop", "repeat", "insert", "swap")
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 30), st.sampled_from(["flip", "cut", "drop", "repeat", "insert", "swap"]), st.binary(max_size=40)
    ),
    max_size=4,
)


def changed(said: list[bytes], changes: list[tuple[int, str, bytes]]) -> bytes:
    """A conversation with some of its frames bent, cut, left out, repeated, told in another order, or with noise."""
    said = list(said)
    for place, how, noise in changes:
        at = place % len(said)
        if how == "flip":
            bent = bytearray(said[at])
            for number, byte in enumerate(noise):
                bent[(byte * 7 + number) % len(bent)] ^= byte
            said[at] = bytes(bent)
        elif how == "cut":
            said[at] = said[at][: len(noise)]
        elif how == "drop":
            said[at] = b""
        elif how == "repeat":
            said.insert(at, said[at])
        elif how == "insert":
            said.insert(at, noise)
        else:
            said[at], said[at - 1] = said[at - 1], said[at]
        said = [frame for frame in said if frame] or [noise or b"x"]
    return b"".join(said)


def within_bounds(session: Session) -> bool:
    """Nothing piles up: half a frame, what waits to be said, the streams that were opened."""
    return (
        len(session._decoder._buffer) <= MAX_FRAME + 4
        and session._outbox._control_size <= MAX_CONTROL
        and len(session.streams) <= len(STREAMS) + 4
        and set(session._outbox._halves) <= set(session.streams)
    )


@pytest.mark.parametrize("side", HONEST)
@SOME
@given(changes=CHANGES, cuts=st.lists(st.integers(1, 4000), max_size=8))
def test_a_conversation_that_was_tampered_with_gives_events_or_a_polite_end(
    side: str, changes: list[tuple[int, str, bytes]], cuts: list[int]
) -> None:
    pair = opened()
    session: Session = pair.agent if side == "agent" else pair.router
    session.take(EVERYTHING)
    data = changed(HONEST[side], changes)
    for cut in [*cuts, len(data)]:
        if not session.closed:
            receive_or_refuse(session, data[:cut])
            assert within_bounds(session)
        data = data[cut:]


@pytest.mark.parametrize("side", HONEST)
def test_the_conversation_itself_is_heard_to_its_end(side: str) -> None:
    pair = opened()
    session: Session = pair.agent if side == "agent" else pair.router
    session.take(EVERYTHING)
    assert len(session.receive(changed(HONEST[side], []))) > len(STREAMS) * 2
    assert not session.closed
