"""Blobs: the parts of a model that a client makes itself. Streamed once, to one node, and never held by the router."""

import logging
from collections.abc import Sequence

from herd.actors.delivery import Failed
from herd.actors.hosts import hosts_of, named, shown
from herd.actors.node import NodeStatus
from herd.actors.passing import passed
from herd.actors.placing import unavailable
from herd.actors.ports import HttpRequest, Sink
from herd.actors.request import RouterParts
from herd.errors import RequestError
from herd.policy.hosts import Host
from herd.policy.uploads import BlobHome, blob_home
from herd.protocols.headers import to_backend
from herd.protocols.managing import wanted_node
from herd.protocols.messages import RequestHead
from herd.protocols.paths import blob_target
from herd.types import RequestId

logger = logging.getLogger(__name__)


async def upload(
    request_id: RequestId, request: HttpRequest, sink: Sink, parts: RouterParts, nodes: tuple[NodeStatus, ...]
) -> None:
    """Hand a blob, or the question whether it is there, to the node that keeps them, or that the client names.

    Raises:
        RequestError: no node takes uploads, the digest or the body is malformed, or the node failed; no byte of an
            answer is out yet.
        StreamFailed: the answer broke after its first byte.
    """
    target = blob_target(request.path)
    name = wanted_node(request.query)
    home = keeper(named(nodes, name), any_state=bool(name))
    if home is None:
        raise unavailable("no machine with Ollama is ready to take a blob now")
    head = RequestHead(
        request_id=request_id,
        backend=home.backend,
        method=request.method,
        path=target,
        headers=to_backend(request.headers),
        size=request.size,
    )
    headers = (*shown(request_id, [home]), ("X-Herd-Attempts", "1"))
    done = await passed(parts, home.node, head, request.stream_body(), sink, shown=headers)
    if isinstance(done, Failed):
        if done.answer is None:
            raise RequestError(f"the upload to {home.name} failed: {done.failure.text}", status=502)
        await done.answer.send(sink)  # once only: the bytes are gone, and the node's own words are the best there are
    logger.info("request %s: %s of a blob handled by %s", request_id, request.method, home.name)


def keeper(nodes: Sequence[NodeStatus], *, any_state: bool = False) -> Host | None:
    """Who keeps the blobs, of these nodes; those that take nothing new do not count unless `any_state`."""
    machines = {node.id: node.machine.memory_total for node in nodes}
    hosts = [host for host in hosts_of(nodes, "") if host.ready or any_state]
    home = blob_home(BlobHome(host.node, host.name, host.backend, machines[host.node]) for host in hosts)
    return next((h for h in hosts if home is not None and (h.node, h.backend) == (home.node, home.backend)), None)
