"""Bytes that no honest client sends to the HTTP port, each with the only right answer and the reason for it."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass

from herd.net.http_connections import MAX_HEAD_SIZE
from herd.types import KiB, MiB
from tests.net.http_house import RawClient, Reply

CHAT = "/api/chat"
COMPLETIONS = "/v1/chat/completions"
MESSAGES = "/v1/messages"
GET = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
QUESTION = (
    b'{"model":"llama3.2:3b","stream":false,"messages":[{"role":"user","content":"Hello?"}],'
    b'"options":{"num_predict":2}}'
)
DEEP = 100_000
BOMB = gzip.compress(bytes(100 * MiB), compresslevel=1)  # inflated, it would show in the router's memory
PIECES = range(0, len(QUESTION), 40)


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, and the answers to it.

    `statuses` are those of all answers, in order; `error` is the sentence of the last one. `closes` says that the
    connection ends after them, else another request is served on it. `parts` are sent one by one, each once the one
    before has left. `ends` sends FIN after the last byte.
    """

    name: str
    why: str
    parts: Sequence[bytes]
    statuses: tuple[int, ...]
    error: str = ""
    closes: bool = False
    ends: bool = False

    def __str__(self) -> str:
        return self.name


def sentence(reply: Reply) -> str:
    """What an answer says to a person, whatever its form."""
    if not reply.headers["content-type"].startswith("application/json"):
        return reply.body.decode()
    error = json.loads(reply.body)["error"]
    return str(error if isinstance(error, str) else error["message"])


async def answers(client: RawClient, case: Case) -> list[Reply]:
    """Send a case, and read all its answers."""
    for part in case.parts:
        client.send(part)
        await client.writer.drain()
    if case.ends:
        client.writer.write_eof()
    return [await client.reply() for _ in case.statuses]


def post(body: bytes, *headers: bytes, path: str = CHAT, length: int | None = None) -> bytes:
    """A POST with a Content-Length."""
    declared = b"Content-Length: %d" % (len(body) if length is None else length)
    return with_headers(body, declared, *headers, path=path)


def with_headers(body: bytes, *headers: bytes, path: str = CHAT, version: bytes = b"1.1") -> bytes:
    """A POST with just these headers."""
    head = b"\r\n".join((b"POST %b HTTP/%b" % (path.encode(), version), b"Host: localhost", *headers))
    return head + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"Host: localhost", *headers)) + b"\r\n\r\n"


def unreadable(name: str, why: str, sent: bytes, words: str = "", status: int = 400) -> Case:
    """Bytes that are no HTTP: one plain sentence, and the end of the connection. Nothing after them is a request."""
    return Case(f"unreadable: {name}", why, (sent,), (status,), words, closes=True)


def refused(name: str, why: str, sent: bytes, status: int, words: str, *, closes: bool = False) -> Case:
    """A request that is understood, and refused in the words of its dialect."""
    return Case(f"refused: {name}", why, (sent,), (status,), words, closes)


def served(name: str, why: str, *parts: bytes, statuses: tuple[int, ...] = (200,), closes: bool = False) -> Case:
    """Odd, but right."""
    return Case(f"served: {name}", why, parts, statuses, closes=closes)


def smuggled(*headers: bytes, body: bytes = b"0\r\n\r\n" + GET, version: bytes = b"1.1") -> bytes:
    """A body of doubtful length with a request behind it."""
    return with_headers(body, *headers, version=version)


CHUNKED = b"Transfer-Encoding: chunked"
TWO_READINGS = "two servers could see its end in two places, and one of them another request"

SMUGGLING = [
    unreadable("two equal lengths", TWO_READINGS, smuggled(b"Content-Length: 5", b"Content-Length: 5")),
    unreadable("two lengths", TWO_READINGS, smuggled(b"Content-Length: 5", b"Content-Length: 6")),
    unreadable("a list of lengths", TWO_READINGS, smuggled(b"Content-Length: 5, 5")),
    unreadable("a negative length", TWO_READINGS, smuggled(b"Content-Length: -5")),
    unreadable("a length with a plus", TWO_READINGS, smuggled(b"Content-Length: +5")),
    unreadable("a hexadecimal length", TWO_READINGS, smuggled(b"Content-Length: 0x5")),
    unreadable("a length of 2^64", TWO_READINGS, smuggled(b"Content-Length: 18446744073709551616")),
    unreadable("length and chunks", TWO_READINGS, smuggled(b"Content-Length: 5", CHUNKED)),
    unreadable("chunks and length", TWO_READINGS, smuggled(CHUNKED, b"Content-Length: 5")),
    unreadable("a coding like chunked", TWO_READINGS, smuggled(b"Transfer-Encoding: xchunked")),
    unreadable("chunked twice", TWO_READINGS, smuggled(CHUNKED, CHUNKED)),
    unreadable("chunked, and then not", TWO_READINGS, smuggled(b"Transfer-Encoding: chunked, identity")),
    unreadable("a control before chunked", TWO_READINGS, smuggled(b"Transfer-Encoding: \x0bchunked")),
    unreadable("a space before the colon", TWO_READINGS, smuggled(b"Transfer-Encoding : chunked")),
    unreadable("bare line feeds", TWO_READINGS, smuggled(CHUNKED).replace(b"\r\n", b"\n")),
    unreadable("a folded header", TWO_READINGS, get(b"/", b"X-A: 1", b" Transfer-Encoding: chunked")),
    unreadable("two hosts", "which one is meant?", get(b"/", b"Host: other")),
    unreadable("chunks of HTTP/1.0", "there are none in it", smuggled(CHUNKED, version=b"1.0")),
    Case(
        "a body longer than declared",
        "what follows is the client's next request, by the only reading there is",
        (post(b"hi") + GET,),
        (400, 200),
    ),
    unreadable("a body with no request after it", "what follows is none", post(QUESTION) + b"there\r\n\r\n"),
    Case(
        "a body shorter than declared, and FIN",
        "it was never sent whole: there is nobody to answer, and nothing to serve",
        (post(QUESTION, length=len(QUESTION) + 1),),
        (),
        closes=True,
        ends=True,
    ),
]

CHUNKS = [
    unreadable("a chunk size of letters", "it is no number", with_headers(b"xyz\r\n", CHUNKED)),
    unreadable("a negative chunk size", "it is no size", with_headers(b"-1\r\nx\r\n", CHUNKED)),
    unreadable("a chunk size over 64 bits", "it is no size", with_headers(b"1" * 17 + b"\r\nx", CHUNKED)),
    unreadable("a chunk longer than its size", TWO_READINGS, with_headers(b"2\r\nhi0\r\n\r\n", CHUNKED)),
    Case(
        "a chunk of 1 GiB that does not come",
        "nothing is set aside for it; once the client is gone, so is the request",
        (with_headers(b"40000000\r\nhi", CHUNKED),),
        (),
        closes=True,
        ends=True,
    ),
    refused(
        "a chunk extension of 200 kB",
        "extensions are skipped, not kept",
        with_headers(b"2;" + b"a" * 200_000 + b"\r\nhi\r\n0\r\n\r\n", CHUNKED),
        400,
        "invalid character 'h' looking for beginning of value",
    ),
]

HEADS = [
    unreadable("10,000 headers", "a head is small", get(b"/", *[b"X-%d: 1" % n for n in range(10_000)]), status=431),
    unreadable("a header of 1 MB", "a head is small", get(b"/", b"X: " + b"a" * 10**6), status=431),
    unreadable(
        "a hundred headers of 30 kB without an end",
        "each is allowed, all together are not: they would be 3 MB on each connection",
        get(b"/", *[b"X-%d: %b" % (number, b"a" * 30 * KiB) for number in range(100)]).removesuffix(b"\r\n"),
        f"{MAX_HEAD_SIZE} in all",
        status=431,
    ),
    unreadable("a request line of 1 MB", "paths are short", get(b"/" + b"a" * 10**6), "request line", status=414),
    unreadable("a method of 1 MB", "it is not sent back, either", b"G" * 10**6),
    unreadable("NUL in a header", "it ends a string elsewhere", get(b"/", b"X: a\x00b")),
    unreadable("controls in a header", "they would reach terminals", get(b"/", b"X: \x1b[31m")),
    unreadable("NUL in the path", "it ends a string elsewhere", get(b"/api\x00/tags"), "no URL"),
    unreadable("a path that is no ASCII", "it has to be percent-encoded", get(b"/\xff\xfe"), "no URL"),
    refused("%00 in the path", "it is no end of a path", get(b"/api/version%00"), 404, "404 page not found"),
    served("dots and slashes in the path", "they are cleaned, never followed", get(b"//../..//%2e%2e/api/./version/")),
    served("an absolute URI", "as clients send it to a proxy", get(b"http://elsewhere.example/api/version")),
    unreadable("an absolute URI without a host", "it is no URL", get(b"http:///api/version"), "no URL"),
    served("a header that is no UTF-8", "it is not the router's to judge", post(QUESTION, b"X-A: \xff\xfe")),
    served("a hundred blank lines first", "RFC 9112, 2.2", b"\r\n" * 100 + GET),
]

PROTOCOLS = [
    served("HTTP/0.9", "a document, and the end", b"GET /\r\n\r\n", closes=True),
    unreadable("HTTP/9.9", "unheard of", b"GET / HTTP/9.9\r\n\r\n"),
    unreadable("the preface of HTTP/2", "it was not offered", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    unreadable("a TLS hello", "https:// was meant", bytes.fromhex("16030100c8010000c40303") + bytes(190), "HTTPS"),
    served(
        "an upgrade to a websocket",
        "an offer that a server may ignore",
        get(b"/api/version", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: eA=="),
    ),
    served(
        "an upgrade to HTTP/2 with a body in pieces",
        "as Java's client sends each first request; it goes on with HTTP/1.1",
        post(b"", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA", length=len(QUESTION)),
        *[QUESTION[start : start + 40] for start in PIECES],
    ),
    refused("CONNECT", "this is no proxy", get(b"mail.example:25", method=b"CONNECT"), 404, "404 page not found"),
    refused("TRACE", "it would echo credentials", get(b"/", method=b"TRACE"), 405, "405 method not allowed"),
    served("OPTIONS *", "what it asks for is what may be asked", get(b"*", method=b"OPTIONS"), statuses=(204,)),
    unreadable("an unknown method", "it may have a body, or not", get(b"/", method=b"BREW")),
]

NO_VALUE = "looking for beginning of value"
TOO_DEEP = "exceeded max depth"

JSON = [
    refused("100,000 arrays", "Go stops at 10,000", post(b"[" * DEEP), 400, f"invalid character '[' {TOO_DEEP}"),
    refused("100,000 objects", "so does it here", post(b'{"a":' * DEEP), 400, f"invalid character '{{' {TOO_DEEP}"),
    refused(
        "100,000 arrays for OpenAI",
        "in its form",
        post(b"[" * DEEP, path=COMPLETIONS),
        400,
        f"invalid character '[' {TOO_DEEP}",
    ),
    refused(
        "100,000 arrays within 2 MB",
        "a long body is scanned, not parsed",
        post(b'{"x":"%b","y":%b' % (b"a" * 2 * MiB, b"[" * DEEP)),
        400,
        f"invalid character '[' {TOO_DEEP}",
    ),
    refused("a gzip body", "Ollama cannot read it", post(BOMB[:99], b"Content-Encoding: gzip"), 415, "compressed"),
    refused("a zip bomb", "it is never inflated", post(BOMB, b"Content-Encoding: GZip"), 415, "compressed"),
    refused(
        "a gzip body that OpenAI's client sends",
        "in OpenAI's form",
        post(BOMB[:99], b"Content-Encoding: gzip", path=COMPLETIONS),
        415,
        "compressed",
    ),
    refused(
        "a body that is called Zstandard",
        "which alone is inflated, and it is none",
        post(BOMB[:99], b"Content-Encoding: zstd", path=COMPLETIONS),
        400,
        "cannot be decompressed",
    ),
    refused(
        "Zstandard for Ollama", "which takes it on /v1 alone", post(b"x", b"Content-Encoding: zstd"), 415, "compressed"
    ),
    refused("a model name of 1 MB", "it would be in logs", post(b'{"model":"%b"}' % (b"a" * 10**6)), 400, "model name"),
    refused("a name that is no UTF-8", "as Go has it", post(b'{"model":"\xff"}'), 400, "invalid model name"),
    refused("half a surrogate as a name", "as Go has it", post(b'{"model":"\\ud800"}'), 400, "invalid model name"),
    refused("controls in a name", "as Go has it", post(b'{"model":"a\\u0000\\u001b[31m"}'), 400, "invalid model name"),
    served("half a surrogate in the text", "the model server's to judge", post(QUESTION.replace(b"Hello", b"\\ud800"))),
    served("no UTF-8 in the text", "the model server's to judge", post(QUESTION.replace(b"Hello", b"\xff"))),
    refused("NaN", "there is none in JSON", post(b'{"keep_alive":NaN}'), 400, f"invalid character 'N' {NO_VALUE}"),
    refused("Infinity", "nor this", post(b'{"keep_alive":-Infinity}'), 400, "invalid character 'I' in numeric literal"),
    served("1e999", "no number of tokens: the router forms no opinion", post(QUESTION.replace(b"2}}", b"1e999}}"))),
    refused(
        "UTF-16", "JSON is UTF-8", post(QUESTION.decode().encode("utf-16")), 400, f"invalid character 'ÿ' {NO_VALUE}"
    ),
]


def named(host: bytes, *headers: bytes, path: bytes = b"/api/version") -> bytes:
    """A GET by another name."""
    return get(path, *headers).replace(b"Host: localhost", b"Host: " + host)


def from_page(origin: bytes, *headers: bytes) -> bytes:
    """A question that a web page has somebody's browser ask."""
    return post(QUESTION, b"Origin: " + origin, *headers)


REBOUND = "a stranger's page whose name was made to lead here would be of the router's own origin"
OWN_NAMES = [
    b"127.0.0.1:1",
    b"[::1]:11435",
    b"LOCALHOST:80",
    b"nas.local",
    b"host.docker.internal:11435",
    b"localhost.",
]
OTHER_NAMES = [
    *(
        b"evil.example",
        b"evil.example:11435",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"127.1",
        b"0x7f.1",
    ),
    *(b"localhost:1:2", b"localhost:x", b"[::1", b"[localhost]", b"user@localhost", b"localhost, evil.example", b"*"),
    b"e" * 30_000,
]
NAMES = [
    *[served(f"Host {name.decode()}", "it is the router's", named(name)) for name in OWN_NAMES],
    served("no Host in HTTP/1.0", "there need be none", b"GET /api/version HTTP/1.0\r\n\r\n", closes=True),
    *[refused(f"Host {name[:30].decode()}", REBOUND, named(name), 403, "--allowed-host") for name in OTHER_NAMES],
    refused("a name in OpenAI's form", REBOUND, named(b"evil.example", path=b"/v1/models"), 403, "--allowed-host"),
    refused("its own origin by a wrong name", REBOUND, named(b"e.com", b"Origin: http://e.com"), 403, "--allowed-host"),
]

PAGES = [
    *[
        refused(f"Origin {origin!r}", "no stranger's page drives or reads the fleet", from_page(origin), 403, "")
        for origin in (
            *(
                b"null",
                b"http://evil.example",
                b"http://localhost.evil.com",
                b"http://127.0.0.1.evil",
                b"ftp://localhost",
            ),
            *(b"http://localhost@evil.com", b"http://LOCALHOST.evil", b"http://[::1", b"\xff"),
        )
    ],
    refused("two Origins", "one of them is none", from_page(b"http://localhost:1", b"Origin: null"), 403, ""),
    refused("a foreign preflight", "", get(b"/api/chat", b"Origin: http://evil.example", method=b"OPTIONS"), 403, ""),
    *[
        served(f"Origin {origin.decode()}", "Ollama allows it", from_page(origin))
        for origin in (b"http://localhost:3000", b"https://127.0.0.1", b"file://", b"app://x", b"http://localhost")
    ],
    served(
        "a preflight",
        "for what the page is about to ask",
        get(b"/nowhere", b"Origin: http://localhost:3000", b"Access-Control-Request-Method: POST", method=b"OPTIONS"),
        statuses=(204,),
    ),
    served("OPTIONS by a name", "as Ollama has it", get(b"/api/chat", method=b"OPTIONS"), statuses=(204,)),
    *[
        refused(
            f"a drain: {header.decode()}", "pages do not change the fleet", drain, 403, "not changed from web pages"
        )
        for header in (
            *(b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Site: same-site", b"Origin: http://localhost:3000"),
            b"Origin: file://",
        )
        for drain in (post(b"", header, path="/herd/v1/nodes/attic/drain"),)
    ],
    refused(
        "a drain through a proxy",
        "who is behind it is anybody's guess",
        post(b"", b"X-Forwarded-For: 127.0.0.1", path="/herd/v1/nodes/attic/drain"),
        403,
        "--lan-admin",
    ),
]

CASES = [*SMUGGLING, *CHUNKS, *HEADS, *PROTOCOLS, *JSON, *NAMES, *PAGES]

# Of a router with keys.
PHONE = "phone-secret-0001"


def guess(*headers: bytes) -> bytes:
    return post(QUESTION, *headers)


KEYS = [
    *[
        refused(f"a key: {name}", "it is none of the router's", guess(*headers), 401, "unauthorized")
        for name, headers in {
            "none": (),
            "a wrong one": (b"Authorization: Bearer guess-guess",),
            "one letter short": (b"Authorization: Bearer " + PHONE[:-1].encode(),),
            "one letter more": (b"x-api-key: " + PHONE.encode() + b"x",),
            "of 30 kB": (b"Authorization: Bearer " + b"k" * 30_000,),
            "no ASCII": ("x-api-key: phöne-secret".encode(),),
            "no UTF-8": (b"Authorization: Bearer \xff\xfe" + PHONE.encode(),),
            "Basic": (b"Authorization: Basic " + PHONE.encode(),),
            "without its scheme": (b"Authorization: " + PHONE.encode(),),
            "a list": (b"Authorization: Bearer a, Bearer " + PHONE.encode(),),
            "sixty wrong ones": tuple(b"x-api-key: guess-%d" % number for number in range(60)),
            "in a cookie": (b"Cookie: key=" + PHONE.encode(),),
            "in the query": (b"Referer: http://localhost/?key=" + PHONE.encode(),),
        }.items()
    ],
    refused("a blob's beginning", "it is not read", post(b"x", path="/api/blobs/sha256:" + "0" * 64), 401, ""),
    refused("no key, in OpenAI's form", "", post(QUESTION, path=COMPLETIONS), 401, "You didn't provide an API key"),
    refused(
        "a wrong key, in OpenAI's form",
        "",
        post(QUESTION, b"x-api-key: guess-guess", path=COMPLETIONS),
        401,
        "Incorrect API key provided",
    ),
    refused(
        "a wrong key, in Anthropic's form",
        "",
        post(QUESTION, b"x-api-key: guess", path=MESSAGES),
        401,
        "invalid x-api-",
    ),
    refused(
        "a pull without a key", "the client surfaces are closed", post(b"{}", path="/api/pull"), 401, "unauthorized"
    ),
    refused("metrics through a proxy", "", get(b"/metrics", b"X-Forwarded-For: ::1"), 401, "this router has keys"),
    served("a scheme in capitals", "schemes have no case", guess(b"AUTHORIZATION: BEARER " + PHONE.encode())),
    served(
        "two headers, one of them right",
        "clients send the key of another service too",
        guess(b"Authorization: Bearer sk-another", b"x-api-key: " + PHONE.encode()),
    ),
]
