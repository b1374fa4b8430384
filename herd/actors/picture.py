"""The fleet as it stands, put together from what the actors know."""

from collections.abc import Callable

from herd.actors import documents, names
from herd.actors.documents import Entries
from herd.actors.figures import Figures
from herd.actors.node import NodeStatus
from herd.protocols.herd_api import InfoDocument, NodeEntry, StatusDocument
from herd.runtime import ActorHandle, class_states, dead_letters
from herd.types import NodeId

Find = Callable[[str], ActorHandle]  # an actor by name; raises ValueError when there is none


async def picture(find: Find, info: InfoDocument, before: Entries | None = None) -> StatusDocument:
    """`GET /herd/v1/status`. `before`: the entries of the picture before, if there was one."""
    return await _picture(find, info, await find(names.FLEET).snapshot.remote(), before)


async def measured(find: Find, info: InfoDocument) -> Figures:
    """What there is to measure of a router."""
    nodes: tuple[NodeStatus, ...] = await find(names.FLEET).snapshot.remote()
    status = await _picture(find, info, nodes)
    letters = {reason.value: count for reason, count in dead_letters().items()}
    return Figures(status, documents.lease_counts(nodes), class_states(names.router(info.router_id)), letters)


async def _picture(
    find: Find, info: InfoDocument, nodes: tuple[NodeStatus, ...], before: Entries | None = None
) -> StatusDocument:
    held: int = await find(names.HOLDING_PEN).count.remote()
    return documents.status(info, nodes, held, *await kept_and_made(find), before=before)


async def listed_node(find: Find, node: NodeStatus) -> NodeEntry:
    """One node, as the status lists it."""
    return documents.node_entry(node, *await kept_and_made(find))


async def kept_and_made(find: Find) -> tuple[dict[str, NodeId], dict[str, float]]:
    """Where pinned models (by canonical name) are kept; and tokens a second, by node name."""
    pins: dict[str, NodeId] = await find(names.SCORER).pins.remote()
    rates: dict[str, float] = await find(names.TRACES).rates.remote()
    return pins, rates
