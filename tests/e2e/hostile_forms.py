"""Forms with files that no honest client sends, each with the only right answer and the reason for it."""

from herd.types import MiB
from tests.e2e.hostile_cases import Case, post, refused

SPEECH = "/v1/audio/transcriptions"
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nllama3.2:3b\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--b--\r\n"


def form(body: bytes, boundary: bytes = b"; boundary=b") -> bytes:
    return post(body, b"Content-Type: multipart/form-data" + boundary, path=SPEECH)


FORMS: list[Case] = [
    refused("a form without a boundary", "nobody knows its parts", form(MODEL, b""), 400, "no valid boundary"),
    refused(
        "a boundary of 10 kB",
        "RFC 2046 has 70 characters; each byte of a file would be compared with it",
        form(MODEL, b"; boundary=" + b"b" * 10_000),
        400,
        "no valid boundary",
    ),
    refused("a form that is none", "it is looked through once", form(b"\r\n" * MiB), 400, "nowhere in it"),
    refused("a form cut short", "half a file is no file", form(MODEL + FILE + bytes(MiB)), 400, "not whole"),
    refused(
        "a part's head of 2 MB",
        "heads are kept, and so have a bound",
        form(MODEL + b"--b\r\nX: " + b"a" * 2 * MiB + b"\r\n\r\n" + END),
        413,
        "a head of more than",
    ),
    refused("a form of 50,000 parts", "each takes time", form((MODEL[:5] + b"\r\n") * 50_000 + END), 413, "parts"),
    refused(
        "a file of what is nearly a boundary",
        "each is looked at by itself, and nobody else is served meanwhile",
        form(MODEL + FILE + b"\r\n--b?" * 200_000 + END),
        400,
        "again and again",
    ),
    refused(
        "a form that names two models",
        "servers differ in which they take, and one of them may be none of the client's business",
        form(MODEL + MODEL + FILE + b"RIFF" + END),
        400,
        "names its model twice",
    ),
]
