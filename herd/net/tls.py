"""TLS: the router's certificate, what an agent makes of it, and a TLS connection without its socket."""

import contextlib
import hashlib
import ssl
from pathlib import Path

from herd.errors import ConfigError, ProtocolError
from herd.types import KiB

# A house's machines and every client library of the last ten years speak it; what is older has known holes.
OLDEST = ssl.TLSVersion.TLSv1_2
RECORD = 16 * KiB  # the most that one record carries (RFC 8446, section 5.1), and one read gives
_RECORD_TYPES = (0x15, 0x16)  # alert and handshake: the first byte of either side (RFC 8446, section 5.1)


def server_context(cert: str, key: str) -> ssl.SSLContext | None:
    """What a listener needs to speak TLS, from two PEM files; None where neither is given.

    Args:
        cert: path of the certificate, followed by those that lead to its authority, if there are any.
        key: path of its private key, not encrypted.

    Raises:
        ConfigError: only one is given, a file cannot be read, or the two are no pair that TLS can use.
    """
    if not cert and not key:
        return None
    if not cert or not key:
        given, missing = ("--tls-cert", "--tls-key") if cert else ("--tls-key", "--tls-cert")
        raise ConfigError(f"{given} needs {missing} beside it: give both, or neither")
    cert_file = _readable(cert, "--tls-cert")
    key_file = _readable(key, "--tls-key")
    context = _context(ssl.PROTOCOL_TLS_SERVER)

    def locked() -> bytes:  # else OpenSSL asks at the terminal, where a service has nobody
        raise ConfigError(
            f"--tls-key {key} is encrypted: take its passphrase off (openssl pkey -in {key} -out FILE) and give FILE"
        )

    try:
        context.load_cert_chain(cert_file, key_file, password=locked)
    except ssl.SSLError as error:
        raise ConfigError(_flaw(error, cert, key)) from error
    try:
        fingerprint(context)
    except ProtocolError as error:
        raise ConfigError(f"--tls-cert {cert} cannot be used: {error}") from error
    return context


def client_context() -> ssl.SSLContext:
    """For connections to a router whose certificate no authority vouches for: who it is, the caller checks."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def authorities_context() -> ssl.SSLContext:
    """For connections to a router whose certificate one of the system's authorities must vouch for, with its name."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def fingerprint(context: ssl.SSLContext) -> bytes:
    """The SHA-256 of the certificate that a server with this context shows, in DER: 32 bytes.

    A handshake in memory says which one that is, whatever else lies in its file, and that a client can agree with it.

    Raises:
        ProtocolError: nobody can shake hands with it; a key too short for OpenSSL, for instance.
    """
    server, client = TlsLayer(context, server_side=True), TlsLayer(client_context())
    while not client.ready:
        server.receive(client.take())
        client.receive(server.take())
    return client.certificate


def is_tls(first: bytes) -> bool:
    """Whether the first bytes of a peer are TLS. A frame of the link begins otherwise: it would be 350 MB long."""
    return first[:1] != b"" and first[0] in _RECORD_TYPES


class TlsLayer:
    """One TLS connection: bytes of the socket in, bytes for the socket out.

    The link does its TLS itself, for asyncio's would keep buffers of its own between the frames and the socket, where
    they delay whoever comes next, and would lose sight of connections whose handshake never ends.

    Args:
        context: what is spoken.
        server_side: which end this is; the client's first words can be taken at once.
        name: of the server, for contexts that check it.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool = False, name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=name)
        self.begun = False  # the peer's first bytes have come
        self.ready = False  # the handshake is done, and nothing has failed since
        self.ended = False  # the peer has said that it sends no more
        if not server_side:
            self.receive(b"")

    @property
    def certificate(self) -> bytes:
        """The SHA-256 of the certificate that the other end has shown, in DER, once `ready`: 32 bytes.

        No cipher of ours lets a server show none; if one did, it would be known by a certificate of no bytes.
        """
        return hashlib.sha256(self._object.getpeercert(binary_form=True) or b"").digest()

    def receive(self, data: bytes) -> bytes:
        """What `data`, together with what came before, says. There may be something to `take` then.

        Raises:
            ProtocolError: it is no TLS, or none that this end speaks. `take` has an alert that tells the peer.
        """
        self._incoming.write(data)
        self.begun = self.begun or data != b""
        pieces = []
        try:
            if not self.ready:
                self._object.do_handshake()
                self.ready = True
            while piece := self._object.read(RECORD):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.ready = False
            reason = getattr(error, "verify_message", "") or (error.reason or "no TLS").replace("_", " ").lower()
            raise ProtocolError(f"TLS failed: {reason}") from error
        return b"".join(pieces)

    def seal(self, data: bytes) -> bytes:
        """`data` for the socket, after all that there was to `take`; once `ready`."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self.take()

    def take(self) -> bytes:
        """What TLS itself has to say; empty if nothing."""
        return self._outgoing.read()

    def end(self) -> bytes:
        """The last words for the socket."""
        with contextlib.suppress(ssl.SSLError):  # the peer's last words are not waited for
            self._object.unwrap()
        return self.take()


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = OLDEST
    context.options |= ssl.OP_NO_RENEGOTIATION  # which lets a peer ask for handshakes without end
    return context


def _readable(path: str, flag: str) -> Path:
    file = Path(path).expanduser()
    try:
        with file.open("rb"):
            return file
    except (OSError, ValueError) as error:  # a path may come from herd.toml, with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read {flag} {path!r}: {reason}") from error


def _flaw(error: ssl.SSLError, cert: str, key: str) -> str:
    """What is wrong with two files that can be read, for a person."""
    if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}:
        return f"--tls-key {key} is not the key of --tls-cert {cert}: give the two that were made together"
    said = f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""
    return f"--tls-cert {cert} and --tls-key {key} must be a certificate and its private key, both in PEM form{said}"
