import hashlib
import random
import re
import ssl
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import ConfigError, ProtocolError
from herd.net.tls import TlsLayer, authorities_context, client_context, fingerprint, is_tls, server_context
from herd.protocols.framing import encode
from herd.protocols.messages import FrameType
from herd.types import KiB
from tests.certificates import AUTHORITY, HOUSE, LOCKED, ODD, OTHER, VOUCHED
from tests.net.link_house import HELLO


def context(file: str = HOUSE) -> ssl.SSLContext:
    found = server_context(file, file)
    assert found is not None
    return found


def in_der(file: str) -> bytes:
    found = re.search("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", Path(file).read_text(), re.DOTALL)
    assert found
    return ssl.PEM_cert_to_DER_cert(found[0])


# --- Certificates -----------------------------------------------------------------------------------------------------


def test_without_files_nothing_is_spoken() -> None:
    assert server_context("", "") is None


def test_a_certificate_is_known_by_the_sha_256_of_its_der() -> None:
    assert fingerprint(context()) == hashlib.sha256(in_der(HOUSE)).digest()


def test_of_a_file_with_several_certificates_the_first_one_counts(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(Path(VOUCHED).read_bytes() + Path(AUTHORITY).read_bytes())
    assert fingerprint(context(str(chain))) == hashlib.sha256(in_der(VOUCHED)).digest()


@pytest.mark.parametrize(
    ("cert", "key", "sentence"),
    [
        (HOUSE, "", "--tls-cert needs --tls-key beside it: give both, or neither"),
        ("", HOUSE, "--tls-key needs --tls-cert beside it: give both, or neither"),
        ("nowhere", HOUSE, "cannot read --tls-cert 'nowhere': No such file or directory"),
        (HOUSE, "nowhere", "cannot read --tls-key 'nowhere': No such file or directory"),
        ("/", HOUSE, "cannot read --tls-cert '/': Is a directory"),
        ("a\0b", HOUSE, r"cannot read --tls-cert 'a\x00b': embedded null byte"),
        (HOUSE, OTHER, f"--tls-key {OTHER} is not the key of --tls-cert {HOUSE}: give the two that were made together"),
        (HOUSE, LOCKED, f"--tls-key {LOCKED} is encrypted: take its passphrase off"),
        (HOUSE, AUTHORITY, "must be a certificate and its private key, both in PEM form"),
        (LOCKED, HOUSE, "must be a certificate and its private key, both in PEM form"),
        (__file__, __file__, "must be a certificate and its private key, both in PEM form"),
        (ODD, ODD, f"--tls-cert {ODD} cannot be used: TLS failed: "),
    ],
)
def test_what_is_wrong_with_the_files_is_said(cert: str, key: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server_context(cert, key)
    assert sentence in str(caught.value)


# --- A connection -----------------------------------------------------------------------------------------------------


def shake_hands(server: TlsLayer, client: TlsLayer) -> None:
    while not (server.ready and client.ready):
        server.receive(client.take())
        client.receive(server.take())


def test_both_ends_agree_on_the_newest_version_and_the_client_sees_the_certificate() -> None:
    server, client = TlsLayer(context(), server_side=True), TlsLayer(client_context())
    shake_hands(server, client)
    assert client.certificate == fingerprint(context())
    assert server._object.version() == client._object.version() == "TLSv1.3"


def test_older_versions_than_1_2_are_not_spoken() -> None:
    old = client_context()
    with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    server = TlsLayer(context(), server_side=True)
    with pytest.raises(ProtocolError, match="unsupported protocol"):
        server.receive(TlsLayer(old).take())


@given(
    said=st.lists(st.binary(max_size=40_000), max_size=5),
    heard=st.lists(st.binary(max_size=40_000), max_size=5),
    seed=st.integers(0, 2**32),
    version=st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
)
def test_what_is_said_is_heard_to_the_byte_however_it_is_cut(
    said: list[bytes], heard: list[bytes], seed: int, version: ssl.TLSVersion
) -> None:
    dice = random.Random(seed)
    words = client_context()
    words.maximum_version = version
    server, client = TlsLayer(context(), server_side=True), TlsLayer(words)

    def cut(data: bytes, to: TlsLayer) -> bytes:
        got = b""
        while data:
            size = dice.choice([1, 5, 100, 17 * KiB])
            got += to.receive(data[:size])
            data = data[size:]
        return got

    while not (server.ready and client.ready):
        assert cut(client.take(), server) == b""
        assert cut(server.take(), client) == b""
    assert cut(b"".join(client.seal(piece) for piece in said), server) == b"".join(said)
    assert cut(b"".join(server.seal(piece) for piece in heard), client) == b"".join(heard)
    assert not server.ended
    assert cut(client.end(), server) == b""
    assert server.ended


@given(st.binary(min_size=1, max_size=2000), st.booleans())
def test_bytes_that_are_no_tls_are_more_to_come_or_the_end(noise: bytes, server_side: bool) -> None:
    layer = TlsLayer(context() if server_side else client_context(), server_side=server_side)
    with suppress(ProtocolError):
        assert layer.receive(noise) == b""
    assert not layer.ready


@given(flight=st.integers(0, 2), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_handshake_that_was_tampered_with_fails_or_is_the_one_that_was_meant(
    flight: int, place: float, flip: int
) -> None:
    """Of a record's version nobody takes notice (RFC 8446, section 5.1)."""
    server, client = TlsLayer(context(), server_side=True), TlsLayer(client_context())
    speaker, listener = client, server
    with suppress(ProtocolError):
        for turn in range(4):
            words = bytearray(speaker.take())
            if turn == flight:
                words[int(place * len(words))] ^= flip
            listener.receive(bytes(words))
            speaker, listener = listener, speaker
    if server.ready:
        assert client.certificate == fingerprint(context())
        assert server.receive(client.seal(b"meant")) == b"meant"


@given(st.data())
def test_a_byte_that_was_changed_on_the_way_is_found(data: st.DataObject) -> None:
    server, client = TlsLayer(context(), server_side=True), TlsLayer(client_context())
    shake_hands(server, client)
    sealed = bytearray(client.seal(b"tokens"))
    sealed[data.draw(st.integers(5, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError, match="TLS failed"):
        server.receive(bytes(sealed))
    assert not server.ready


def test_a_certificate_of_no_authority_is_refused_where_one_is_wanted() -> None:
    server = TlsLayer(context(), server_side=True)
    client = TlsLayer(authorities_context(), name="localhost")
    server.receive(client.take())
    with pytest.raises(ProtocolError, match="TLS failed: self-signed certificate"):
        client.receive(server.take())


def test_an_authoritys_certificate_is_taken_for_its_own_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", AUTHORITY)
    shake_hands(TlsLayer(context(VOUCHED), server_side=True), TlsLayer(authorities_context(), name="localhost"))
    server = TlsLayer(context(VOUCHED), server_side=True)
    client = TlsLayer(authorities_context(), name="studio.local")
    server.receive(client.take())
    with pytest.raises(ProtocolError, match="studio"):
        client.receive(server.take())


def test_tls_and_frames_differ_in_their_first_byte() -> None:
    server, client = TlsLayer(context(), server_side=True), TlsLayer(client_context())
    hello = client.take()
    server.receive(hello)
    assert is_tls(hello)
    assert is_tls(server.take())
    assert not is_tls(encode(FrameType.HELLO, 0, HELLO))
    assert not is_tls(b"")
