from collections.abc import Callable

import pytest

from herd.errors import LinkClosed, ProtocolError
from herd.protocols.fitness import MAX_PAUSES, MAX_TIME
from herd.protocols.framing import MAX_FRAME, encode
from herd.protocols.messages import Command, FrameType, Goodbye, Pause, Report, Result
from herd.protocols.session import (
    AgentSession,
    BodyReceived,
    CommandReceived,
    DrainReceived,
    GoodbyeReceived,
    HelloReceived,
    PongReceived,
    ReportReceived,
    ResultReceived,
    RouterSession,
    Session,
    StreamOpened,
    Welcomed,
    describe_states,
)
from herd.protocols.states import AGENT, ROUTER, LinkState
from herd.types import MiB, Seconds, StreamId
from tests.protocols.link_helpers import (
    EVERYTHING,
    EXAMPLES,
    FAILURE,
    HEAD,
    HELLO,
    REPORT,
    REQUEST,
    ROUTER_NONCE,
    USAGE,
    WELCOME,
    Pair,
    example,
    feed_every_way,
    kinds_in,
    last_words,
)

ONE = StreamId(1)
TWO = StreamId(2)
TOKEN = "open sesame"  # the join token of these tests


# --- The link as a whole ----------------------------------------------------------------------------------------------


def test_heartbeats_commands_results_and_drain_arrive() -> None:
    pair = Pair.welcomed()
    pair.agent.report(REPORT)
    pair.agent.drain()
    pair.agent.result(Result(7, ok=True))
    assert pair.to_router() == [DrainReceived(), ResultReceived(Result(7, ok=True)), ReportReceived(REPORT)]
    pair.router.command(Command(8, "pull", {"model": "qwen3:8b"}))
    assert pair.to_agent() == [CommandReceived(Command(8, "pull", {"model": "qwen3:8b"}))]


def test_a_heartbeat_that_still_waits_is_replaced_by_a_newer_one() -> None:
    pair = Pair.welcomed()
    for slot in range(3):
        pair.agent.report(Report(week_slot=slot))
    assert pair.to_router() == [ReportReceived(Report(week_slot=2))]
    assert pair.to_router() == []


def test_what_an_agent_makes_up_about_its_owner_reaches_nobody() -> None:
    pair = Pair.welcomed()
    odd = Pause("meeting", "is\r\nin a meeting", Seconds(-1.0), Seconds(1e300))
    pair.agent.report(Report(pauses=(odd,) * 1000, workload="frantic", owner_load=-3.0, thermal="\x1b[2J"))
    fit = Pause("meeting", "is  in a meeting", Seconds(0.0), MAX_TIME)
    assert pair.to_router() == [ReportReceived(Report(pauses=(fit,) * MAX_PAUSES, owner_load=0.0))]


def test_a_ping_is_answered_without_the_owner() -> None:
    pair = Pair.welcomed()
    pair.router.ping(42)
    assert pair.to_agent() == []
    assert pair.to_router() == [PongReceived(42)]
    pair.agent.ping(43)
    assert pair.to_router() == []
    assert pair.to_agent() == [PongReceived(43)]


@pytest.mark.parametrize("name", ["router", "agent"])
def test_after_goodbye_nothing_is_heard_and_nothing_can_be_said(name: str) -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    session: Session = getattr(pair, name)
    session.goodbye(Goodbye("shutdown", "Good night."))
    assert session.closed
    assert not session.ready
    assert session.streams == ()
    assert session.receive(example(FrameType.PING)) == []
    with pytest.raises(LinkClosed):
        session.ping(1)
    with pytest.raises(LinkClosed):
        session.goodbye(Goodbye("shutdown"))
    session.consumed(ONE, 0)
    assert last_words(session) == Goodbye("shutdown", "Good night.")


def test_every_send_on_a_closed_link_says_so() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.router.goodbye(Goodbye("shutdown"))
    assert pair.to_agent() == [GoodbyeReceived(Goodbye("shutdown"))]
    sends: list[Callable[[], None]] = [
        lambda: pair.router.open(TWO, REQUEST),
        lambda: pair.router.send_body(ONE, b"x"),
        lambda: pair.router.end_body(ONE),
        lambda: pair.router.cancel(ONE),
        lambda: pair.router.command(Command(1, "pull")),
        lambda: pair.agent.report(REPORT),
        lambda: pair.agent.send_head(ONE, HEAD),
        lambda: pair.agent.send_data(ONE, b"x"),
        lambda: pair.agent.end(ONE, USAGE),
        lambda: pair.agent.reset(ONE, FAILURE),
        lambda: pair.agent.result(Result(1, ok=True)),
        lambda: pair.agent.drain(),
    ]
    for send in sends:
        with pytest.raises(LinkClosed):
            send()


def test_what_was_said_before_goodbye_still_goes_out_but_for_streams() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"lost")
    pair.agent.result(Result(7, ok=True))
    pair.agent.goodbye(Goodbye("shutdown"))
    assert pair.to_router() == [ResultReceived(Result(7, ok=True)), GoodbyeReceived(Goodbye("shutdown"))]


def test_bytes_behind_a_goodbye_are_not_looked_at() -> None:
    pair = Pair.welcomed()
    assert pair.agent.receive(example(FrameType.GOODBYE) + b"\xff" * 100) == [
        GoodbyeReceived(EXAMPLES[FrameType.GOODBYE][1][0])
    ]
    assert pair.agent.take(EVERYTHING) == b""


def test_before_the_welcome_only_goodbye_may_be_said() -> None:
    agent = AgentSession(HELLO)
    with pytest.raises(ValueError, match="the link is greeting"):
        agent.report(REPORT)
    agent.goodbye(Goodbye("shutdown"))
    assert [kind for kind, _ in kinds_in(agent.take(EVERYTHING))] == [FrameType.HELLO, FrameType.GOODBYE]


def test_a_peer_that_does_not_read_is_given_up() -> None:
    pair = Pair.welcomed()
    for number in range(5):
        pair.router.command(Command(number, "x", {"text": "y" * (MAX_FRAME - 1000)}))
    assert pair.router.closed
    with pytest.raises(ProtocolError, match="does not read"):
        pair.router.take(EVERYTHING)
    assert last_words(pair.router).code == "protocol"


def test_a_peer_that_only_pings_is_given_up() -> None:
    pair = Pair.welcomed()
    pings = encode(FrameType.PING, 0, 1) * (4 * MiB // 64)
    with pytest.raises(ProtocolError, match="does not read"):
        pair.router.receive(pings)
    assert pair.router.closed


def test_sessions_are_shown_with_their_state() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    assert repr(pair.router) == "<RouterSession open, 1 streams>"
    assert repr(pair.agent) == "<AgentSession open, 0 streams>"


# --- States -----------------------------------------------------------------------------------------------------------


def test_the_router_hears_the_same_however_its_bytes_are_cut() -> None:
    hello = b"".join(example(kind) for kind in (FrameType.HELLO, FrameType.GOODBYE))
    assert feed_every_way(lambda: RouterSession(ROUTER_NONCE).receive, hello) == [
        HelloReceived(HELLO),
        GoodbyeReceived(EXAMPLES[FrameType.GOODBYE][1][0]),
    ]


def test_the_agent_hears_the_same_however_its_bytes_are_cut() -> None:
    said = [FrameType.WELCOME, FrameType.COMMAND, FrameType.OPEN]
    data = b"".join(example(kind) for kind in said) + encode(FrameType.BODY, 5, b"{}", True)
    assert feed_every_way(lambda: AgentSession(HELLO).receive, data) == [
        Welcomed(WELCOME),
        CommandReceived(EXAMPLES[FrameType.COMMAND][1][0]),
        StreamOpened(StreamId(5), REQUEST),
        BodyReceived(StreamId(5), b"{}", last=True),
    ]


@pytest.mark.parametrize("kind", FrameType)
def test_the_first_frame_an_agent_sends_is_hello(kind: FrameType) -> None:
    router = RouterSession(ROUTER_NONCE)
    if kind in ROUTER.links[LinkState.GREETING]:
        assert router.receive(example(kind))
    else:
        with pytest.raises(ProtocolError, match=f"{kind.name} is not allowed while the link is greeting"):
            router.receive(example(kind))
        assert last_words(router) == Goodbye("protocol", f"{kind.name} is not allowed while the link is greeting.")


@pytest.mark.parametrize("kind", FrameType)
@pytest.mark.parametrize("side", [ROUTER, AGENT])
def test_an_open_link_allows_what_its_table_says(side: object, kind: FrameType) -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    pair.to_agent()
    if kind in {FrameType.DATA, FrameType.END}:
        pair.agent.send_head(ONE, HEAD)
        pair.to_router()
    session: Session = pair.router if side is ROUTER else pair.agent
    if kind in (ROUTER if side is ROUTER else AGENT).links[LinkState.OPEN]:
        session.receive(example(kind))
        assert session.closed == (kind is FrameType.GOODBYE)
    else:
        with pytest.raises(ProtocolError, match=f"{kind.name} is not allowed while the link is open"):
            session.receive(example(kind))


def test_a_frame_type_from_the_future_is_named_by_its_number() -> None:
    pair = Pair.welcomed()
    with pytest.raises(ProtocolError, match="frame type 77 is not allowed while the link is open"):
        pair.router.receive(b"\x00\x00\x00\x03\x92\x4d\x00")


def test_frames_about_the_link_name_no_stream() -> None:
    pair = Pair.welcomed()
    with pytest.raises(ProtocolError, match="PING names stream 3"):
        pair.router.receive(encode(FrameType.PING, 3, 1))


def test_states_are_described_for_people() -> None:
    text = describe_states()
    assert "| greeting | HELLO | deciding |" in text
    assert "| answering | END, RESET | ended |" in text
    for kind in FrameType:
        assert kind.name in text
