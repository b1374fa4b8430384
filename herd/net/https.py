"""The certificate of the HTTP listener."""

import ssl
from pathlib import Path

from herd.errors import ConfigError

# What OpenSSL says of a key that belongs to another certificate, of its kind or of another kind.
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


def server_context(certificate: str, key: str) -> ssl.SSLContext | None:
    """TLS as Python's `ssl` has it by default: 1.2 and 1.3, no certificates of clients. None where no file is named.

    Args:
        certificate: a PEM file, the server's own certificate first, then those between it and the authority.
        key: the PEM file of its key.

    Raises:
        ConfigError: the files cannot be used; which of them, and why.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        given, missing = ("--tls-cert", "--tls-key") if certificate else ("--tls-key", "--tls-cert")
        raise ConfigError(f"{given} needs {missing} beside it")
    certificate_file, key_file = Path(certificate).expanduser(), Path(key).expanduser()
    _check_pem("--tls-cert", certificate_file, b"-----BEGIN CERTIFICATE-----", "no certificate")
    _check_pem("--tls-key", key_file, b"PRIVATE KEY-----", "no private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate_file, key_file, _no_password)
    except _EncryptedKeyError:
        raise ConfigError(f"--tls-key: {key} is encrypted, and there is nobody to ask for its password") from None
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise ConfigError(f"--tls-key: {key} is not the key of the certificate {certificate}") from error
        why = error.reason or "they are damaged"
        raise ConfigError(f"--tls-cert {certificate} and --tls-key {key} cannot be used: {why}") from error
    return context


def _check_pem(flag: str, file: Path, mark: bytes, missing: str) -> None:
    """OpenSSL would name neither the file nor what it looked for."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag}: cannot read {file}: {error.strerror or error}") from error
    if mark not in text:
        raise ConfigError(f"{flag}: there is {missing} in PEM in {file}")


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError
