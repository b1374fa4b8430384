"""The nodes of the fleet as machines that keep models."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from herd.actors import names
from herd.actors.control import unknown_node
from herd.actors.node import NodeStatus
from herd.actors.node_views import memory_of
from herd.actors.placing import unavailable
from herd.actors.ports import Headers
from herd.actors.request import RouterParts
from herd.actors.sightings import Sight
from herd.errors import RequestError
from herd.names import canonical
from herd.policy.hosts import Host
from herd.runtime import ActorDiedError, ActorUnavailableError
from herd.types import BackendKind, NodeState, RequestId

NO_HOST = "no machine with Ollama is ready to take a model now"


def hosts_of(nodes: Iterable[NodeStatus], model: str) -> list[Host]:
    """Every Ollama that is connected, and how a model (by canonical name) stands there."""
    hosts: list[Host] = []
    for node in nodes:
        if node.state in {NodeState.OFFLINE, NodeState.JOINING}:
            continue
        memory = memory_of(node.report)
        for backend in node.report.backends:
            if backend.kind != BackendKind.OLLAMA:
                continue
            found = [one for one in node.report.models if one.backend == backend.id and canonical(one.name) == model]
            hosts.append(
                Host(
                    node.id,
                    node.name,
                    backend.id,
                    node.state,
                    memory.total,
                    memory.free,
                    model=found[0].name if found else "",
                    digest=found[0].digest if found else "",
                )
            )
    return hosts


def named(nodes: tuple[NodeStatus, ...], name: str) -> tuple[NodeStatus, ...]:
    """Only the node that a client names, whatever it takes of others now; all of them where it names none.

    Raises:
        RequestError: 404, there is no such node; 503, it is away; 400, it has no Ollama.
    """
    if not name:
        return nodes
    node = next((node for node in nodes if node.name == name), None) or next((n for n in nodes if n.id == name), None)
    if node is None:
        raise RequestError(unknown_node(name, nodes), status=404)
    if node.state in {NodeState.OFFLINE, NodeState.JOINING}:
        raise unavailable(f"{node.name} {node.reasons[0].text}")
    if not any(backend.kind == BackendKind.OLLAMA for backend in node.report.backends):
        raise RequestError(f"{node.name} has no Ollama that answers: only Ollama keeps models on its own")
    return (node,)


def shown(request_id: RequestId, hosts: Iterable[Host] = (), missed: Iterable[str] = ()) -> Headers:
    """Herd's headers for an answer: whose it is, and which nodes have not heard of the request."""
    headers = [("X-Request-Id", str(request_id))]
    if answered := ", ".join(dict.fromkeys(host.name for host in hosts)):  # one may have two servers
        headers.append(("X-Herd-Node", answered))
    if away := ", ".join(missed):
        headers.append(("X-Herd-Missed", away))
    return tuple(headers)


def are_away(model: str, away: Sequence[str]) -> RequestError:
    """The refusal for a model that only nodes have that are not there now."""
    verb = "is" if len(away) == 1 else "are"
    return unavailable(f"{model} is on {', '.join(away)} only, which {verb} not connected now")


async def sighted(parts: RouterParts, host: Host, model: str, sight: Sight) -> None:
    """Wait, for a time, until a node reports a model (by canonical name) so: then every part of the router knows it."""
    with suppress(ValueError, ActorDiedError, ActorUnavailableError):  # it is gone, or starts anew
        await parts.find(names.node(host.node)).sighted.remote(model, sight)


def settling(parts: RouterParts, host: Host, model: str) -> Callable[[], Awaitable[None]]:
    """What waits until requests find a model there that has just come to a host."""

    async def settle() -> None:
        await sighted(parts, host, canonical(model), Sight.LISTED)

    return settle
