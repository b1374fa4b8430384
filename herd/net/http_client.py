"""The HTTP client of agents, towards model servers, and of commands, towards routers: aiohttp behind `ModelServers`."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from typing import Any, Self
from weakref import WeakSet

import aiohttp
import orjson
from yarl import URL

from herd.actors.ports import Headers
from herd.errors import StreamFailed, TimedOut, Unreachable
from herd.net.raw import plain_headers
from herd.protocols.messages import RequestHead
from herd.types import KiB, MiB, Seconds

# llama.cpp's server closes idle connections after 5 s, Go's never: give ours up first, so that none breaks in use.
KEEPALIVE_S = 2.0
CONNECT_S = 5.0  # a model server is on this machine, or at most in this house
# A body up to this size is held, so that it can be sent again when a kept connection turns out to be dead.
REPLAY_LIMIT = MiB
# One frame of the link: what has piled up goes on together, and no more of it leaves aiohttp's bounded buffer.
PIECE = 64 * KiB
# Answers of /api/tags with thousands of models stay under this; anything longer is not a model list.
FETCH_LIMIT = 16 * MiB


class AiohttpAnswer:
    """An answer of aiohttp's as the port `Answer`."""

    def __init__(self, response: aiohttp.ClientResponse, whom: str) -> None:
        self._response = response
        self._whom = whom
        self.status = response.status
        self.headers: Headers = plain_headers(response.raw_headers)

    async def read(self) -> bytes:
        """What has come since the last piece, or what comes next, at most PIECE bytes; empty at the end."""
        try:
            return await self._response.content.read(PIECE)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StreamFailed(f"{self._whom} broke off its answer: {_reason(error)}") from error

    def close(self) -> None:
        """Give the connection up; it is kept for the next request only when the answer was read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _Pool(aiohttp.TCPConnector):
    """aiohttp's pool, which tells the task that got a connection whether it has carried a request before.

    Its tracing tells that too, for a fifth of what a request costs.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(limit=0, **options)
        self._used: WeakSet[object] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """A connection from the pool, or a new one."""
        _reused.set(False)
        connection = await super().connect(req, traces, timeout)
        _reused.set(connection.protocol in self._used)
        self._used.add(connection.protocol)
        return connection


_reused: ContextVar[bool] = ContextVar("the task's latest connection has carried a request before", default=False)


class AiohttpServers:
    """A pool of connections to model servers. Use as an async context manager.

    Args:
        headers: that every request gets.
        certificate: SHA-256 of the one that a server has to show, in DER, whatever names are in it and whoever
            vouches for it; None: an authority of the system has to, for its name.
        whom: what the servers are called in sentences.
        keys: that a server's own requests get, in place of whatever else they say of who asks; by its base URL.
    """

    def __init__(
        self,
        headers: Headers = (),
        certificate: bytes | None = None,
        *,
        whom: str = "the model server",
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self._headers = headers
        self._whom = whom
        self._keys = sorted((keys or {}).items(), reverse=True)  # one may be at a path of another
        self._certificate = None if certificate is None else aiohttp.Fingerprint(certificate)
        self._session: aiohttp.ClientSession | None = None
        # For second attempts: a restarted server may have left more than one dead connection in the pool.
        self._unpooled: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = self._new_session(_Pool(keepalive_timeout=KEEPALIVE_S))
        self._unpooled = self._new_session(_Pool(force_close=True))
        return self

    def _new_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Only what the client sent, and what HTTP itself needs.
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            trust_env=False,
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )

    async def __aexit__(self, *_: object) -> None:
        sessions = (self._session, self._unpooled)
        self._session = self._unpooled = None
        for session in sessions:
            if session is not None:
                await session.close()

    async def exchange(self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None) -> AiohttpAnswer:
        """Send a request; the answer once its head is there. Raises Unreachable or another StreamFailed."""
        url = URL(base_url.rstrip("/") + head.path, encoded=True)
        # aiohttp takes a name that comes again in another spelling for a new value of the first.
        spelling: dict[str, str] = {}
        headers = [(spelling.setdefault(name.lower(), name), value) for name, value in head.headers]
        headers.append(("Accept-Encoding", "identity"))
        if key := self._key_of(base_url):
            headers = [(name, value) for name, value in headers if name.lower() != "authorization"]
            headers.append(_bearer(key))
        if body is None:
            return await self._send(head.method, url, headers, b"" if head.method != "GET" else None)
        if 0 <= head.size <= REPLAY_LIMIT:
            held = b"".join([piece async for piece in body])
            return await self._send(head.method, url, headers, held)
        if head.size > REPLAY_LIMIT:
            headers.append(("Content-Length", str(head.size)))
        return await self._send(head.method, url, headers, body)

    def _key_of(self, url: str) -> str:
        """The key of the server that answers at `url`; empty where it wants none."""
        return next((key for base, key in self._keys if url == base or url.startswith(f"{base}/")), "")

    async def _send(
        self, method: str, url: URL, headers: list[tuple[str, str]], body: bytes | AsyncIterator[bytes] | None
    ) -> AiohttpAnswer:
        async def request(session: aiohttp.ClientSession | None) -> aiohttp.ClientResponse:
            if session is None:
                raise StreamFailed("the HTTP client is closed")
            trust = True if self._certificate is None else self._certificate
            return await session.request(method, url, headers=headers, data=body, allow_redirects=False, ssl=trust)

        try:
            try:
                response = await request(self._session)
            except aiohttp.ClientConnectionError as error:
                # A kept connection that the server had just closed is nobody's failure, as long as no byte came back.
                if not _reused.get() or isinstance(body, AsyncIterator) or _has_begun(error):
                    raise
                response = await request(self._unpooled)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(f"no connection to {self._whom} at {url.origin()}: {_reason(error)}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StreamFailed(f"no answer from {self._whom} at {url.origin()}: {_reason(error)}") from error
        return AiohttpAnswer(response, self._whom)

    async def fetch(
        self, url: str, body: Any = None, *, timeout: Seconds, verified: bool = True, method: str = ""
    ) -> tuple[int, Any]:
        """GET `url`, or POST `body` to it (or what `method` says); the status and JSON of the answer, None for no JSON.

        An answer that is not `verified` may come from whoever sits at the address, or on the way to it.
        """
        method = method or ("GET" if body is None else "POST")
        trust = self._certificate if verified and self._certificate is not None else verified
        data = None if body is None else orjson.dumps(body)
        headers = [] if body is None else [("Content-Type", "application/json")]
        headers += [_bearer(key)] if (key := self._key_of(url)) else []
        if self._session is None:
            raise StreamFailed("the HTTP client is closed")
        text = bytearray()
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.request(
                    method, URL(url), headers=headers, data=data, allow_redirects=False, ssl=trust
                ) as response,
            ):
                while more := await response.content.read(FETCH_LIMIT):
                    text += more
                    if len(text) > FETCH_LIMIT:
                        raise StreamFailed(f"{url} answered more than {FETCH_LIMIT // MiB} MiB")
                status = response.status
        except TimeoutError as error:  # which a connection that does not come about is, too
            raise TimedOut(f"no answer from {url}: {_reason(error)}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise StreamFailed(f"no answer from {url}: {_reason(error)}") from error
        try:
            return status, orjson.loads(text)
        except orjson.JSONDecodeError:
            return status, None


def _bearer(key: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {key}"


def _has_begun(error: aiohttp.ClientConnectionError) -> bool:
    """Whether the connection broke inside the head of the answer: aiohttp hands on what there is of it."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


def _unconnected(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    """Why no connection came about."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return f"its certificate is not trusted: {why} (SSL_CERT_FILE names a file of authorities that are)"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "it does not speak HTTPS, or no version of TLS that is spoken here"
    number = error.os_error.errno  # asyncio's own words for it repeat the address; a failed look-up has none below 0
    return os.strerror(number) if number and number > 0 else error.os_error.strerror or str(error.os_error)


def _reason(error: BaseException) -> str:
    """A few words for an error of the client library."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "it closed the connection"
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return "its certificate is not the one that was expected"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return _unconnected(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    # What aiohttp says of an answer that it cannot read quotes the answer, and that is nobody's business.
    return str(error) if isinstance(error, ValueError) else f"its answer is no valid HTTP ({type(error).__name__})"
