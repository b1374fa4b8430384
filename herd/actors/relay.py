"""The agent's request flow: one stream of the link, served by a model server beside the agent."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from herd.actors.counterpart import Counterpart, once, onward, say
from herd.actors.interpreter import Interpreter
from herd.actors.painter import Painter
from herd.actors.ports import Clock, ModelServers, Serving
from herd.actors.stopwatch import Stopwatch
from herd.actors.transcriber import Transcriber
from herd.errors import BodyTooLarge, RequestError, StreamFailed
from herd.protocols import apis
from herd.protocols.answers import error_answer
from herd.protocols.headers import to_client, value_of
from herd.protocols.image_servers import NO_WORDS, ImageWords
from herd.protocols.media_usage import started_for_it
from herd.protocols.messages import Failure, Head, RequestHead
from herd.protocols.multipart import boundary_of, is_form
from herd.protocols.paths import LISTED_ANEW, normalised
from herd.protocols.session import UnsendableError
from herd.protocols.translation.edits import EditForm
from herd.protocols.translation.speech import WHISPERCPP
from herd.protocols.usage import UsageReader, measured
from herd.runtime import ActorHandle
from herd.types import Api, BackendId, BackendKind, Dialect


@dataclass(frozen=True, slots=True)
class _Server:
    """What a model server has said of itself."""

    kind: BackendKind
    stood_in_for: frozenset[str]  # paths
    words: ImageWords  # in which it is asked for images


class Relay:
    """Carries requests to model servers and their answers back.

    Bytes go through unchanged, unless the server does not have the endpoint that is asked for and the agent stands in.

    Args:
        base_urls: the model servers by id.
        backends: their Backend actors by id, told when one does not answer, or has other models than before.
        servers: the HTTP client.
        clock: what translated answers say of the time, and how long answers took that do not say it themselves.
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
        self._clock = clock
        self._interpreter = Interpreter(servers, clock)
        self._painter = Painter(servers, clock)
        self._transcriber = Transcriber(servers, clock)
        self._running: Counter[BackendId] = Counter()  # requests
        self._known: dict[BackendId, _Server] = {}

    def recognised(
        self,
        backend: BackendId,
        kind: BackendKind,
        translated: tuple[Api, ...],
        words: ImageWords = NO_WORDS,
    ) -> None:
        """A server has said which program it is: the agent stands in for it when one of `translated` is asked.

        One that is away is taken to come back as it was. It is asked for images in its own `words`.
        """
        self._known[backend] = _Server(kind, frozenset(translated), words)

    def busy(self, backend: BackendId) -> bool:
        """Whether a request is with that server."""
        return self._running[backend] > 0

    async def __call__(self, serving: Serving) -> None:
        """Serve one stream to its end. Cancelled when nobody waits for it any more: the server sees it closed."""
        backend = serving.head.backend
        self._running[backend] += 1
        try:
            await self._serve(serving)
        finally:
            self._running[backend] -= 1
            if not self._running[backend]:
                del self._running[backend]

    async def _serve(self, serving: Serving) -> None:
        head = serving.head
        base_url = self._base_urls.get(head.backend)
        if base_url is None:
            serving.reset(Failure("no-backend", f"this node has no model server {head.backend}"))
            return
        server = self._known.get(head.backend)
        path = normalised(head.path.partition("?")[0])
        if server is not None and server.kind is BackendKind.OLLAMA and _is_form_of_an_edit(path, head):
            await self._edit(serving, base_url)
        elif server is None or path not in server.stood_in_for:
            await self._pass_on(serving, base_url, head, serving.body())
        elif path in apis.elsewhere(server.kind):
            await self._pass_on(serving, base_url, replace(head, path=WHISPERCPP), serving.body())
        else:
            asked = Counterpart(base_url, server.kind, self._backends[head.backend], server.words)
            await self._translate(serving, Api(path), asked)

    async def _translate(self, serving: Serving, api: Api, server: Counterpart) -> None:
        try:
            if api is Api.GENERATE_IMAGE:
                await self._painter.serve(serving, server)
            elif api is Api.TRANSCRIBE:
                await self._transcriber.serve(serving, server)
            else:
                await self._interpreter.serve(serving, api, server)
        except StreamFailed as error:
            self._backends[serving.head.backend].suspect.tell()
            serving.reset(Failure(error.kind, str(error)))

    async def _edit(self, serving: Serving, base_url: str) -> None:
        """A picture to be changed, in a form, for a server that takes JSON alone; its answer is passed on."""
        head = serving.head
        try:
            form = EditForm(boundary_of(value_of(head.headers, "content-type")))
            async for piece in serving.body():
                form.feed(piece)
            body = form.body()
        except (RequestError, BodyTooLarge) as error:
            await say(serving, error_answer(Dialect.OPENAI, error))
            return
        await self._pass_on(serving, base_url, onward(head, head.path, len(body)), once(body))

    async def _pass_on(self, serving: Serving, base_url: str, asked: RequestHead, body: AsyncIterator[bytes]) -> None:
        """To the server, `asked` with this head and this body, and its answer back as it is."""
        head = serving.head
        watch = Stopwatch(self._clock) if measured(head.path) else None
        sent = body if asked.size else None
        try:
            if watch is None:
                answer = await self._servers.exchange(base_url, asked, sent)
            else:
                sent = watch.sending(body) if asked.size else None
                answer = await watch.waiting(self._servers.exchange(base_url, asked, sent))
        except StreamFailed as error:
            self._backends[head.backend].suspect.tell()
            # Who had the request and broke on it may have broken because of it.
            serving.reset(Failure(error.kind, str(error)))
            return
        try:
            await serving.send_head(Head(answer.status, to_client(answer.headers)))
            usage = UsageReader(head.path, head.streamed, answer.status)
            while data := await (answer.read() if watch is None else watch.waiting(answer.read())):
                usage.feed(data)
                await serving.send(data)
            if head.path in LISTED_ANEW:
                self._backends[head.backend].changed.tell()
            took = usage.usage()
            serving.end(took if watch is None else watch.measured(started_for_it(took, answer.headers)))
        except UnsendableError as error:  # a head of more than a MiB
            serving.reset(Failure("reset", f"the model server's answer cannot be passed on: {error}"))
        except StreamFailed as error:
            self._backends[head.backend].suspect.tell()
            serving.reset(Failure("reset", str(error)))
        finally:
            answer.close()


def _is_form_of_an_edit(path: str, head: RequestHead) -> bool:
    """Whether a picture is to be changed that comes in a form, which Ollama does not take."""
    return path == Api.IMAGE_EDITS and is_form(value_of(head.headers, "content-type"))
