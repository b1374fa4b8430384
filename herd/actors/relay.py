"""The agent's request flow: one stream of the link, served by a model server beside the agent."""

from collections.abc import Mapping

from herd.actors.ports import ModelServers, Serving
from herd.errors import StreamFailed
from herd.protocols.headers import to_client
from herd.protocols.messages import Failure, Head
from herd.protocols.paths import LISTED_ANEW
from herd.protocols.session import UnsendableError
from herd.protocols.usage import UsageReader
from herd.runtime import ActorHandle
from herd.types import BackendId


class Relay:
    """Carries requests to model servers and their answers back; bytes go through unchanged.

    Args:
        base_urls: the model servers by id.
        backends: their Backend actors by id, told when one does not answer, or has other models than before.
        servers: the HTTP client.
    """

    def __init__(
        self, base_urls: Mapping[BackendId, str], backends: Mapping[BackendId, ActorHandle], servers: ModelServers
    ) -> None:
        self._base_urls = base_urls
        self._backends = backends
        self._servers = servers

    async def __call__(self, serving: Serving) -> None:
        """Serve one stream to its end. Cancelled when nobody waits for it any more: the server sees it closed."""
        head = serving.head
        base_url = self._base_urls.get(head.backend)
        if base_url is None:
            serving.reset(Failure("no-backend", f"this node has no model server {head.backend}"))
            return
        try:
            answer = await self._servers.exchange(base_url, head, serving.body() if head.size else None)
        except StreamFailed as error:
            self._backends[head.backend].suspect.tell()
            # Who had the request and broke on it may have broken because of it.
            serving.reset(Failure(error.kind, str(error)))
            return
        try:
            await serving.send_head(Head(answer.status, to_client(answer.headers)))
            usage = UsageReader(head.path, head.streamed)
            while data := await answer.read():
                usage.feed(data)
                await serving.send(data)
            if head.path in LISTED_ANEW:
                self._backends[head.backend].changed.tell()
            serving.end(usage.usage())
        except UnsendableError as error:  # a head of more than a MiB
            serving.reset(Failure("reset", f"the model server's answer cannot be passed on: {error}"))
        except StreamFailed as error:
            self._backends[head.backend].suspect.tell()
            serving.reset(Failure("reset", str(error)))
        finally:
            answer.close()
