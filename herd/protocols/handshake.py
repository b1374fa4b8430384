"""How agent and router prove to each other that they hold the same join token, and agree on a version.

    agent                                    router
      HELLO(nonce A)  ----------------------->
      <-----------------------  CHALLENGE(nonce R, HMAC(token, "herd router" A R node_id [0 channel]))
      PROOF(HMAC(token, "herd agent" R A node_id [0 channel]))  ->
      <-------------------------------------  WELCOME

The router proves itself first, so a false router learns nothing; both nonces are fresh, so nothing can be replayed, and
the two texts differ, so no proof can be sent back to its maker. Without a token there is neither CHALLENGE nor PROOF.

A plain link can be listened to, and whoever stands between the two can pass the proofs on and change what follows:
there the token keeps strangers out, and nobody else. Over TLS nobody listens, and `channel` ends the rest: it is the
SHA-256 of the certificate that the router shows (after "tls-server-end-point", RFC 5929), as each end knows it. Whoever
stands between has no key for the router's certificate and shows the agent another; then the two ends prove different
texts, and the agent turns away. So no authority has to vouch for the certificate, and a renewed one needs nothing. A
plain link has no channel, so that proofs of one kind of link are worth nothing on the other. (No text can be read in
two ways: a node id holds no zero byte.)
"""

import hashlib
import hmac
from collections.abc import Sequence

from herd.errors import ProtocolError
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello

# Of one length, so that no two pairs of nonces make the same text; 128 bits do not come up twice.
NONCE_SIZE = 16
# Versions to name in an error: who offers more is no agent of ours.
_MAX_NAMED = 8


class HandshakeError(ProtocolError):
    """The two do not come together; trying again without a change would fail again.

    Args:
        code: the code of the Goodbye: "token" or "version".
        text: the sentence.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def router_proof(token: str, hello: Hello, nonce: bytes, channel: bytes = b"") -> bytes:
    """What a CHALLENGE carries: 32 bytes. `nonce` is the router's, 16 bytes; `channel` is empty on a plain link."""
    return _proof(token, b"herd router" + hello.nonce + nonce, hello, channel)


def agent_proof(token: str, hello: Hello, nonce: bytes, channel: bytes = b"") -> bytes:
    """What a PROOF carries: 32 bytes. `nonce` is the router's, 16 bytes; `channel` is empty on a plain link."""
    return _proof(token, b"herd agent" + nonce + hello.nonce, hello, channel)


def check_proof(proof: bytes, expected: bytes, text: str) -> None:
    """Raise HandshakeError("token", text) unless the proof is right; takes the same time for every wrong one."""
    if not hmac.compare_digest(proof, expected):
        raise HandshakeError("token", text)


def common_version(theirs: Sequence[int], their_name: str) -> int:
    """The highest protocol version that both speak.

    Raises:
        HandshakeError: there is none; the text names both sides' versions.
    """
    common = [version for version in PROTOCOL_VERSIONS if version in theirs]
    if common:
        return max(common)
    raise HandshakeError(
        "version",
        f"No common version of the link protocol: this side speaks {_listed(PROTOCOL_VERSIONS)}, "
        f"the {their_name} {_listed(theirs[:_MAX_NAMED])}. Update the older of the two.",
    )


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(str(version) for version in versions) or "none"


def _proof(token: str, beginning: bytes, hello: Hello, channel: bytes) -> bytes:
    text = beginning + hello.node_id.encode() + (b"\0" + channel if channel else b"")
    return hmac.digest(token.encode(), text, hashlib.sha256)
