"""In place of a router: an HTTP server that answers what it is told to, and keeps what it was asked."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Its end is the connection's, unless it is `broken`: then it is not whole."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    broken: bool = False


@dataclass(slots=True)
class StubRouter:
    """What is answered at each path, with its query, and what everywhere else."""

    url: str
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)  # method, path, body, headers
    otherwise: Reply = Reply(b"404 page not found", 404)
    date: str | None = None  # the header of that name; None: as it is

    def tells(self, path: str, document: Any, status: int = 200) -> None:
        """Answer with JSON from now on."""
        self.replies[path] = Reply(json.dumps(document).encode(), status)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up before it has read all; anything else is a fault of a test."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def stub_router() -> Iterator[StubRouter]:
    """A stub that runs as long as the block."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            stub.asked.append((self.command, self.path, self.rfile.read(length), headers))
            reply = stub.replies.get(self.path, stub.otherwise)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.broken))
            self.end_headers()
            self.wfile.write(reply.body)
            self.close_connection = reply.broken

        def date_time_string(self, timestamp: float | None = None) -> str:
            return stub.date or super().date_time_string(timestamp)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as http.server wants it

        def log_message(self, *_args: object) -> None:
            """Silence."""

    server = _Server(("127.0.0.1", 0), Handler)
    stub = StubRouter(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
