"""TLS: the router's certificate, and what an agent makes of it."""

import hashlib
import ssl
from pathlib import Path

from herd.errors import ConfigError

# A house's machines and every client library of the last ten years speak it; what is older has known holes.
OLDEST = ssl.TLSVersion.TLSv1_2


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = OLDEST
    context.options |= ssl.OP_NO_RENEGOTIATION  # which lets a peer ask for handshakes without end

    def locked() -> bytes:  # else OpenSSL asks at the terminal, where a service has nobody
        raise ConfigError(
            f"--tls-key {key} is encrypted: take the passphrase off, with openssl pkey -in {key} -out FILE, and give FILE"
        )

    try:
        context.load_cert_chain(cert_file, key_file, password=locked)
        fingerprint(context)
    except ssl.SSLError as error:
        raise ConfigError(_flaw(error, cert, key)) from error
    return context


def fingerprint(context: ssl.SSLContext) -> bytes:
    """The SHA-256 of the certificate that a server with this context shows, in DER: 32 bytes.

    A handshake in memory says which one that is, whatever else lies in its file, and that a client can agree with it.

    Raises:
        ssl.SSLError: nobody can shake hands with it; a key too short for OpenSSL, for instance.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context().wrap_bio(to_client, to_server)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return seen(client)


def client_context() -> ssl.SSLContext:
    """For connections to a router whose certificate no authority vouches for: who it is, the caller checks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = OLDEST
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def seen(connection: ssl.SSLObject) -> bytes:
    """The SHA-256 of the certificate that the other end has shown, in DER: 32 bytes."""
    certificate = connection.getpeercert(binary_form=True)
    if not certificate:
        raise ssl.SSLError("the server has shown no certificate")
    return hashlib.sha256(certificate).digest()


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
