"""The agent's request flow where the model server does not have the endpoint that was asked: both ways translated."""

from herd.actors.counterpart import Counterpart, beginning, once, onward, read, say
from herd.actors.ports import Answer, Clock, ModelServers, Serving
from herd.errors import BodyTooLarge, HerdError, RequestError, StreamFailed
from herd.protocols.answers import Reply, error_answer
from herd.protocols.headers import value_of
from herd.protocols.messages import Head, RequestHead
from herd.protocols.refusals import BUSY
from herd.protocols.translation import Now, StandIn, standin
from herd.runtime import ActorDiedError, ActorUnavailableError
from herd.types import Api, Bytes, MiB, Seconds

# Images are what makes a body long: ten photographs of a telephone take some 40 MiB in base64. Translated it is held
# up to four times over: as it came, as text within Python's values, as it goes, and in the connection's buffers.
MAX_BODY = Bytes(64 * MiB)
# Of all bodies that are being translated: a node serves some tens of requests at once, and few of them are long.
MAX_BODIES = Bytes(256 * MiB)


class Interpreter:
    """Serves streams whose answers have to be translated.

    Args:
        servers: the HTTP client.
        clock: what answers say of the time, and of how long they took.
    """

    def __init__(self, servers: ModelServers, clock: Clock) -> None:
        self._servers = servers
        self._clock = clock
        self._held = 0  # bytes of the bodies that are being translated

    async def serve(self, serving: Serving, api: Api, server: Counterpart) -> None:
        """Serve one stream to its end.

        Args:
            serving: the stream.
            api: what is asked, which the server does not have.
            server: who is asked.

        Raises:
            StreamFailed: the server cannot be reached, or its answer breaks or makes no sense.
        """
        started = self._clock.monotonic()
        held = Bytes(0)
        try:
            head = serving.head
            held = Bytes(max(head.size, 0))
            self._held += held
            if held > MAX_BODY:
                raise BodyTooLarge(f"the request is longer than the {MAX_BODY // MiB} MiB that can be translated")
            if self._held > MAX_BODIES:
                raise RequestError(BUSY, status=503)
            request = standin(api, server.kind, await read(serving, MAX_BODY), str(head.request_id))
            if request.wanted.body is not None:
                await self._ask(serving, request, server, started)
            else:
                await say(serving, await self._done(head, request, server, started))
        except HerdError as error:
            if not isinstance(error, RequestError | BodyTooLarge):
                raise
            await say(serving, error_answer(api.dialect, error, request_id=str(serving.head.request_id)))
        finally:
            self._held -= held

    async def _ask(self, serving: Serving, request: StandIn, server: Counterpart, started: Seconds) -> None:
        """Have the model answer. Raises StreamFailed, or RequestError before the first byte."""
        body = request.wanted.body or b""
        answer = await self._post(serving.head, server, request.wanted.path, body)
        try:
            if answer.status != 200:
                await say(serving, request.refused(answer.status, await beginning(answer)))
                return
            reader = request.reader(value_of(answer.headers, "content-type"))
            begun = False
            while data := await answer.read():
                if lines := reader.feed(data, self._now(started)):
                    if not begun:
                        await serving.send_head(Head(200, reader.headers))
                        begun = True
                    await serving.send(lines)
            rest = reader.end(self._now(started))
        finally:
            answer.close()
        if not begun:
            length = () if request.wanted.streamed else (("Content-Length", str(len(rest))),)
            await serving.send_head(Head(200, (*reader.headers, *length)))
        if rest:
            await serving.send(rest)
        serving.end(reader.usage())

    async def _done(self, head: RequestHead, request: StandIn, server: Counterpart, started: Seconds) -> Reply:
        """Have the server load the model or let it go, if the request is for that. Raises StreamFailed."""
        try:
            resident: bool | None = await server.actor.resident.remote(request.wanted.model)
        except (ActorDiedError, ActorUnavailableError):
            raise StreamFailed("the agent is just starting to look at this model server again", "no-backend") from None
        if resident is None:
            return request.unknown()
        if (errand := request.errand(resident=resident)) is not None:
            answer = await self._post(head, server, errand.path, errand.body)
            try:
                failed = request.failed_errand(answer.status, await beginning(answer), errand)
            finally:
                answer.close()
            if failed is not None:
                return failed
            server.actor.poll.tell()
        return request.answered(self._now(started))

    async def _post(self, head: RequestHead, server: Counterpart, path: str, body: bytes) -> Answer:
        asked = onward(head, path, len(body), streamed=head.streamed)
        return await self._servers.exchange(server.base_url, asked, once(body))

    def _now(self, started: Seconds) -> Now:
        return Now(self._clock.wall(), Seconds(self._clock.monotonic() - started))
