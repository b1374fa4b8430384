"""The agent's request flow: one stream of the link, served by a model server beside the agent."""

from collections.abc import Mapping
from contextlib import suppress

from herd.actors.interpreter import Counterpart, Interpreter
from herd.actors.ports import Clock, ModelServers, Serving
from herd.errors import StreamFailed
from herd.protocols import apis
from herd.protocols.headers import to_client
from herd.protocols.messages import Failure, Head
from herd.protocols.paths import LISTED_ANEW, normalised
from herd.protocols.session import UnsendableError
from herd.protocols.usage import UsageReader
from herd.runtime import ActorDiedError, ActorHandle, ActorUnavailableError
from herd.types import Api, BackendId, BackendKind

_APIS = {str(api): api for api in Api}


class Relay:
    """Carries requests to model servers and their answers back.

    Bytes go through unchanged, unless the server does not have the endpoint that is asked for and the agent stands in.

    Args:
        base_urls: the model servers by id.
        backends: their Backend actors by id, told when one does not answer, or has other models than before.
        servers: the HTTP client.
        clock: what translated answers say of the time.
    """

    def __init__(
        self,
        base_urls: Mapping[BackendId, str],
        backends: Mapping[BackendId, ActorHandle],
        servers: ModelServers,
        clock: Clock,
    ) -> None:
        self._base_urls = base_urls
        self._backends = backends
        self._servers = servers
        self._interpreter = Interpreter(servers, clock)
        # As it was last, for while nobody can say.
        self._kinds: dict[tuple[BackendId, Api | None], BackendKind | None] = {}

    async def __call__(self, serving: Serving) -> None:
        """Serve one stream to its end. Cancelled when nobody waits for it any more: the server sees it closed."""
        head = serving.head
        base_url = self._base_urls.get(head.backend)
        if base_url is None:
            serving.reset(Failure("no-backend", f"this node has no model server {head.backend}"))
            return
        api = _api(head.path)
        kind = await self._stands_in_for(head.backend, api) if api in apis.STOOD_IN_FOR else None
        if api is None or kind is None:
            await self._pass_on(serving, base_url)
        else:
            await self._translate(serving, api, Counterpart(base_url, kind, self._backends[head.backend]))

    async def _translate(self, serving: Serving, api: Api, server: Counterpart) -> None:
        try:
            await self._interpreter.serve(serving, api, server)
        except StreamFailed as error:
            self._backends[serving.head.backend].suspect.tell()
            serving.reset(Failure(error.kind, str(error)))

    async def _stands_in_for(self, backend: BackendId, api: Api | None) -> BackendKind | None:
        """Which program the server is, if it does not have `api` itself; None if it has, or nobody could ever say."""
        with suppress(KeyError, ActorDiedError, ActorUnavailableError):
            kind = await self._backends[backend].translated.remote(api)
            if kind is not None:
                self._kinds[backend, api] = BackendKind(kind) if kind else None
        return self._kinds.get((backend, api))

    async def _pass_on(self, serving: Serving, base_url: str) -> None:
        head = serving.head
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


def _api(path: str) -> Api | None:
    """The endpoint at a path, query included; None for those that nobody translates."""
    path = path.partition("?")[0]
    if (api := _APIS.get(path)) is None:
        api = _APIS.get(normalised(path))
    return api
