"""Control requests: a person drains, pauses or resumes a node."""

import logging
from bisect import bisect
from functools import partial

from herd.actors.node import NodeStatus
from herd.actors.picture import Find, listed_node
from herd.actors.ports import HttpRequest
from herd.errors import RequestError
from herd.policy.orders import Order
from herd.protocols import herd_api
from herd.protocols.control import MAX_BODY, pause_of
from herd.protocols.paths import node_order
from herd.runtime import ActorHandle
from herd.types import Bytes

logger = logging.getLogger(__name__)

MAX_LISTED = 32  # names of nodes that whoever names a wrong one is told


async def obey(request: HttpRequest, fleet: ActorHandle, find: Find) -> bytes:
    """Do what the request says; the node as it is then, as JSON.

    Raises:
        RequestError: 404 for a node that it does not know, 400.
    """
    name, word = node_order(request.path) or ("", "")
    order = Order(word)
    lasts = None
    body = await request.read_body(Bytes(MAX_BODY))
    try:
        if order is Order.PAUSE:
            lasts = await body.examine(partial(pause_of, request.query))
    finally:
        body.close()
    node: NodeStatus | None = await fleet.ordered.remote(name, order, lasts)
    if node is None:
        raise RequestError(unknown_node(name, await fleet.snapshot.remote()), status=404)
    return herd_api.encode(await listed_node(find, node))


def unknown_node(name: str, nodes: tuple[NodeStatus, ...]) -> str:
    """What whoever names a node that there is not is told."""
    shown = name if len(name) <= MAX_LISTED else f"{name[:MAX_LISTED]}..."
    names: list[str] = [node.name for node in nodes]
    if len(names) > MAX_LISTED:
        # Its neighbours in the alphabet: to find what looks alike takes 50 ms of a thousand, for whoever asks.
        names.sort()
        first = min(max(0, bisect(names, shown) - MAX_LISTED // 2), len(names) - MAX_LISTED)
        names = names[first : first + MAX_LISTED]
    more = f" and {len(nodes) - MAX_LISTED} more" if len(nodes) > MAX_LISTED else ""
    known = f"the nodes are {', '.join(names)}{more}" if names else "no node has joined since the router started"
    return f"there is no node {shown!r}: {known}"
