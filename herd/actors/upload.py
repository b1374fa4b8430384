"""Blobs: the parts of a model that a client makes itself. Streamed once, to one node, and never held by the router."""

import logging
from collections.abc import Iterable

from herd.actors.delivery import Attempt, Delivery, Failed
from herd.actors.node import NodeStatus
from herd.actors.placing import RETRY_AFTER_S
from herd.actors.ports import HttpRequest, Sink
from herd.actors.request import RouterParts
from herd.actors.sending import carried, opened
from herd.errors import RequestError
from herd.policy.elimination import TAKES_REQUESTS
from herd.policy.uploads import BlobHome, blob_home
from herd.protocols.headers import to_backend
from herd.protocols.messages import RequestHead
from herd.protocols.paths import blob_target
from herd.types import BackendKind, RequestId

logger = logging.getLogger(__name__)


async def upload(
    request_id: RequestId, request: HttpRequest, sink: Sink, parts: RouterParts, nodes: Iterable[NodeStatus]
) -> None:
    """Hand a blob, or the question whether it is there, to the node that keeps them.

    Raises:
        RequestError: no node takes uploads, the digest or the body is malformed, or the node failed; no byte of an
            answer is out yet.
        StreamFailed: the answer broke after its first byte.
    """
    target = blob_target(request.path)
    home = blob_home(_homes(nodes))
    if home is None:
        retry = (("Retry-After", str(RETRY_AFTER_S)),)
        raise RequestError("no machine with Ollama is ready to take a blob now", status=503, headers=retry)
    head = RequestHead(
        request_id=request_id,
        backend=home.backend,
        method=request.method,
        path=target,
        headers=to_backend(request.headers),
        size=request.size,
    )
    shown = (("X-Request-Id", str(request_id)), ("X-Herd-Node", str(home.name)), ("X-Herd-Attempts", "1"))
    stream = parts.ids.stream()
    try:
        exchange = await opened(parts.find, parts.streams, home.node, stream, head)
        if isinstance(exchange, Failed):
            raise RequestError(f"{home.name} could not be reached: {exchange.failure.text}", status=502)
        delivery = Delivery(exchange, sink, Attempt(head.dialect, streamed=False, headers=shown, closes=False))
        done = await carried(exchange, request.stream_body(), head.size, delivery)
    finally:
        parts.streams.close(stream)
    if isinstance(done, Failed):
        if done.answer is None:
            raise RequestError(f"the upload to {home.name} failed: {done.failure.text}", status=502)
        await done.answer.send(sink)  # once only: the bytes are gone, and the node's own words are the best there are
    logger.info("request %s: %s of a blob handled by %s", request_id, request.method, home.name)


def _homes(nodes: Iterable[NodeStatus]) -> Iterable[BlobHome]:
    for node in nodes:
        if node.state in TAKES_REQUESTS:
            for backend in node.report.backends:
                if backend.kind == BackendKind.OLLAMA:
                    yield BlobHome(node.id, node.name, backend.id, node.machine.memory_total)
