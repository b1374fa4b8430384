from dataclasses import replace

import pytest

from herd.errors import LinkClosed, ProtocolError
from herd.protocols.framing import encode
from herd.protocols.handshake import agent_proof, router_proof
from herd.protocols.messages import Command, FrameType, Goodbye
from herd.protocols.session import (
    AgentSession,
    CommandReceived,
    GoodbyeReceived,
    HandshakeError,
    HelloReceived,
    RouterSession,
    Welcomed,
)
from herd.types import KiB, NodeId, StreamId
from tests.protocols.link_helpers import (
    EVERYTHING,
    HELLO,
    ROUTER_NONCE,
    WELCOME,
    Pair,
    example,
    frames_in,
    last_words,
)

ONE = StreamId(1)
TWO = StreamId(2)
TOKEN = "open sesame"  # the join token of these tests
HOUSE, MALLORY = b"h" * 32, b"m" * 32  # SHA-256 of certificates


def test_without_a_token_a_hello_is_answered_by_a_welcome() -> None:
    pair = Pair()
    assert pair.to_router() == [HelloReceived(HELLO)]
    assert (pair.router.version, pair.router.ready) == (1, False)
    pair.router.welcome(WELCOME)
    assert pair.to_agent() == [Welcomed(WELCOME)]
    assert (pair.router.version, pair.router.ready) == (1, True)
    assert (pair.agent.version, pair.agent.ready) == (1, True)


def test_with_the_same_token_both_prove_it() -> None:
    pair = Pair(TOKEN, TOKEN)
    assert pair.to_router() == []
    assert pair.to_agent() == []
    assert pair.to_router() == [HelloReceived(HELLO)]
    pair.router.welcome(WELCOME)
    assert pair.to_agent() == [Welcomed(WELCOME)]


def test_the_token_itself_is_never_sent() -> None:
    pair = Pair(TOKEN, TOKEN)
    sent = pair.agent.take(EVERYTHING)
    pair.router.receive(sent)
    challenge = pair.router.take(EVERYTHING)
    pair.agent.receive(challenge)
    assert TOKEN.encode() not in sent + challenge + pair.agent.take(EVERYTHING)


def test_an_agent_with_another_token_does_not_believe_the_router() -> None:
    pair = Pair(TOKEN, "wrong")
    pair.to_router()
    with pytest.raises(HandshakeError, match="does not hold this agent's join token") as caught:
        pair.to_agent()
    assert caught.value.code == "token"
    assert pair.to_router() == [GoodbyeReceived(Goodbye("token", str(caught.value)))]


def test_a_router_does_not_believe_an_agent_with_another_token() -> None:
    router = RouterSession(ROUTER_NONCE, TOKEN)
    router.receive(example(FrameType.HELLO))
    router.take(EVERYTHING)
    with pytest.raises(HandshakeError, match="start herd-node with the --join-token that herd was given"):
        router.receive(encode(FrameType.PROOF, 0, agent_proof("wrong", HELLO, ROUTER_NONCE)))
    assert last_words(router).code == "token"


def test_an_agent_without_a_token_says_how_to_set_one() -> None:
    pair = Pair(TOKEN, None)
    pair.to_router()
    with pytest.raises(HandshakeError, match="--join-token"):
        pair.to_agent()
    (event,) = pair.to_router()
    assert isinstance(event, GoodbyeReceived)
    assert event.goodbye.code == "token"


def test_a_hello_without_a_nonce_cannot_prove_a_token() -> None:
    router = RouterSession(ROUTER_NONCE, TOKEN)
    with pytest.raises(HandshakeError, match="--join-token"):
        router.receive(encode(FrameType.HELLO, 0, replace(HELLO, nonce=b"")))
    assert last_words(router).code == "token"


def test_an_agent_with_a_token_does_not_join_a_router_that_does_not_ask_for_it() -> None:
    pair = Pair(None, TOKEN)
    pair.to_router()
    pair.router.welcome(WELCOME)
    with pytest.raises(HandshakeError, match="does not ask for this agent's join token"):
        pair.to_agent()
    assert last_words(pair.agent).code == "token"


def test_a_replayed_proof_does_not_open_the_door() -> None:
    overheard = encode(FrameType.PROOF, 0, agent_proof(TOKEN, HELLO, ROUTER_NONCE))
    router = RouterSession(b"a later nonce...", TOKEN)
    router.receive(example(FrameType.HELLO))
    router.take(EVERYTHING)
    with pytest.raises(HandshakeError):
        router.receive(overheard)


def test_a_replayed_challenge_does_not_fool_an_agent() -> None:
    overheard = encode(FrameType.CHALLENGE, 0, ROUTER_NONCE, router_proof(TOKEN, HELLO, ROUTER_NONCE))
    agent = AgentSession(replace(HELLO, nonce=b"a later nonce..."), TOKEN)
    with pytest.raises(HandshakeError):
        agent.receive(overheard)


def test_a_proof_is_not_accepted_back_by_its_maker() -> None:
    router = RouterSession(ROUTER_NONCE, TOKEN)
    router.receive(encode(FrameType.HELLO, 0, replace(HELLO, nonce=ROUTER_NONCE)))
    ((_, _, _, proof),) = frames_in(router.take(EVERYTHING))
    with pytest.raises(HandshakeError):
        router.receive(encode(FrameType.PROOF, 0, proof))


def test_a_proof_of_another_node_is_not_accepted() -> None:
    router = RouterSession(ROUTER_NONCE, TOKEN)
    router.receive(example(FrameType.HELLO))
    stolen = agent_proof(TOKEN, replace(HELLO, node_id=NodeId("another")), ROUTER_NONCE)
    with pytest.raises(HandshakeError):
        router.receive(encode(FrameType.PROOF, 0, stolen))


def test_over_tls_the_proofs_name_the_certificate_that_both_see() -> None:
    pair = Pair(TOKEN, TOKEN, channels=(HOUSE, HOUSE))
    assert [pair.to_router(), pair.to_agent(), pair.to_router()] == [[], [], [HelloReceived(HELLO)]]


@pytest.mark.parametrize(
    "channels", [(HOUSE, MALLORY), (HOUSE, b""), (b"", MALLORY)], ids=["another certificate", "stripped", "added"]
)
def test_proofs_that_somebody_passes_on_between_two_links_are_worth_nothing(channels: tuple[bytes, bytes]) -> None:
    """The one between speaks TLS with its own certificate, or does so on one of its two sides only."""
    pair = Pair(TOKEN, TOKEN, channels=channels)
    assert pair.to_router() == []
    with pytest.raises(HandshakeError, match="does not hold this agent's join token") as caught:
        pair.to_agent()
    assert ("somebody stands between the two" in str(caught.value)) == (channels[1] != b"")
    assert last_words(pair.agent).code == "token"
    with pytest.raises(HandshakeError, match="join token is not the router's"):  # nor if the agent had gone on
        pair.router.receive(encode(FrameType.PROOF, 0, agent_proof(TOKEN, HELLO, ROUTER_NONCE, channels[1])))


def test_a_proof_of_a_plain_link_is_no_proof_of_a_node_whose_name_ends_like_a_certificate() -> None:
    longer = replace(HELLO, node_id=NodeId(HELLO.node_id + HOUSE.decode()))
    assert agent_proof(TOKEN, longer, ROUTER_NONCE) != agent_proof(TOKEN, HELLO, ROUTER_NONCE, HOUSE)


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_proof_is_whole_or_none(size: int) -> None:
    router = RouterSession(ROUTER_NONCE, TOKEN, HOUSE)
    router.receive(example(FrameType.HELLO))
    with pytest.raises(HandshakeError):
        router.receive(encode(FrameType.PROOF, 0, agent_proof(TOKEN, HELLO, ROUTER_NONCE, HOUSE)[:size]))


@pytest.mark.parametrize("nonce", [b"", b"short", b"x" * 17])
def test_a_challenge_has_a_nonce_of_one_length(nonce: bytes) -> None:
    agent = AgentSession(HELLO, TOKEN)
    with pytest.raises(HandshakeError):
        agent.receive(encode(FrameType.CHALLENGE, 0, nonce, router_proof(TOKEN, HELLO, nonce)))


def test_without_a_common_version_both_sides_versions_are_named() -> None:
    router = RouterSession(ROUTER_NONCE)
    with pytest.raises(HandshakeError, match="this side speaks 1, the agent 2, 3"):
        router.receive(encode(FrameType.HELLO, 0, replace(HELLO, versions=(2, 3))))
    assert last_words(router).code == "version"
    agent = AgentSession(HELLO)
    with pytest.raises(HandshakeError, match="this side speaks 1, the router 9"):
        agent.receive(encode(FrameType.WELCOME, 0, replace(WELCOME, version=9)))
    assert last_words(agent).code == "version"


def test_an_agent_waits_for_its_answer() -> None:
    pair = Pair()
    pair.to_router()
    with pytest.raises(ProtocolError, match="HEARTBEAT is not allowed while the link is deciding"):
        pair.router.receive(example(FrameType.HEARTBEAT))


def test_the_owner_may_refuse() -> None:
    pair = Pair()
    pair.to_router()
    pair.router.goodbye(Goodbye("wrong-router", "This agent belongs to another router."))
    assert pair.to_agent() == [GoodbyeReceived(Goodbye("wrong-router", "This agent belongs to another router."))]
    assert pair.router.closed
    assert pair.agent.closed


def test_an_answer_to_an_agent_that_has_left_says_so() -> None:
    pair = Pair()
    pair.to_router()
    pair.agent.goodbye(Goodbye("shutdown"))
    pair.to_router()
    with pytest.raises(LinkClosed):
        pair.router.welcome(WELCOME)


def test_a_welcome_nobody_asked_for_is_our_mistake() -> None:
    router = RouterSession(ROUTER_NONCE)
    with pytest.raises(ValueError, match="no agent waits for an answer: the link is greeting"):
        router.welcome(WELCOME)


def test_nonces_have_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        RouterSession(b"short")
    with pytest.raises(ValueError, match="16 bytes"):
        AgentSession(replace(HELLO, nonce=b""), TOKEN)
    assert AgentSession(replace(HELLO, nonce=b"")).take(1)


def test_a_stranger_may_not_send_long_frames_and_a_friend_may() -> None:
    long = encode(FrameType.COMMAND, 0, Command(1, "x", {"text": "y" * 100 * KiB}))
    with pytest.raises(ProtocolError, match="at most 65536"):
        AgentSession(HELLO).receive(long)
    (_, event) = AgentSession(HELLO).receive(example(FrameType.WELCOME) + long)
    assert isinstance(event, CommandReceived)
