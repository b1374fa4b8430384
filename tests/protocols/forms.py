"""Forms with files as clients write them."""

from collections.abc import Sequence
from itertools import pairwise

from herd.protocols.form_requests import TAKE_FORMS, comes_as_form

FORMS_ONLY = frozenset(api for api in TAKE_FORMS if comes_as_form(api, ""))  # endpoints that take nothing else

BOUNDARY = "5c0a1f"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

Part = tuple[str, str | bytes]  # the name; a field has text, and a file bytes


def form(*parts: Part, boundary: str = BOUNDARY) -> bytes:
    """The form as curl and browsers write it."""
    written: list[bytes] = []
    for name, content in parts:
        of_file = b"" if isinstance(content, str) else b'; filename="a.bin"\r\nContent-Type: application/octet-stream'
        body = content.encode() if isinstance(content, str) else content
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + of_file
        written += [b"--" + boundary.encode(), head, b"", body]
    return b"\r\n".join([*written, b"--" + boundary.encode() + b"--", b""])


def cut(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    """A body in pieces, cut at these places."""
    places = [0, *sorted(at for at in cuts if at <= len(body)), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


def wav(seconds: float, *, rate: int = 16_000, length: int | None = None, before: bytes = b"") -> bytes:
    """Silence as 16 bits a sample on one channel; `length`: what its head says of it; `before`: chunks before it."""
    sound = bytes(round(seconds * rate) * 2)
    told = len(sound) if length is None else length
    kind = b"fmt " + (16).to_bytes(4, "little") + b"\1\0\1\0" + rate.to_bytes(4, "little")
    kind += (rate * 2).to_bytes(4, "little") + b"\2\0\x10\0"
    chunks = b"WAVE" + kind + before + b"data" + told.to_bytes(4, "little") + sound
    return b"RIFF" + min(len(chunks), 2**32 - 1).to_bytes(4, "little") + chunks
