"""The agent's request flow for `/api/generate-image`, which no model server has: asked in the server's words, answered
with the picture alone.
"""

from herd.actors.counterpart import Counterpart, beginning, once, onward, read, say
from herd.actors.ports import Answer, Clock, ModelServers, Serving
from herd.actors.stopwatch import Stopwatch
from herd.errors import BodyTooLarge, HerdError, RequestError
from herd.protocols.answers import error_answer
from herd.protocols.headers import value_of
from herd.protocols.messages import Head, Headers, RequestHead, Usage
from herd.protocols.translation import refusals
from herd.protocols.translation.images import IGNORED, ImageAsked, ImageRequest, asked, read_image_request
from herd.protocols.translation.pictures import Figures, PictureReader
from herd.types import Api, Bytes, Dialect, MiB, Tokens

# Nothing but words are in it: whoever wants a picture edited asks at another endpoint.
MAX_BODY = Bytes(MiB)

_PIXELS = 1_000  # in the unit of an image's work


class Painter:
    """Serves streams whose answers are pictures.

    Args:
        servers: the HTTP client.
        clock: how long pictures took.
    """

    def __init__(self, servers: ModelServers, clock: Clock) -> None:
        self._servers = servers
        self._clock = clock

    async def serve(self, serving: Serving, server: Counterpart) -> None:
        """Serve one stream to its end.

        Raises:
            StreamFailed: the server cannot be reached, or its answer breaks or has no picture.
        """
        try:
            request = read_image_request(await read(serving, MAX_BODY))
            await self._paint(serving, request, asked(request, server.words), server)
        except HerdError as error:
            if not isinstance(error, RequestError | BodyTooLarge):
                raise
            await say(serving, error_answer(Dialect.OLLAMA, error, request_id=str(serving.head.request_id)))

    async def _paint(self, serving: Serving, request: ImageRequest, wanted: ImageAsked, server: Counterpart) -> None:
        """Have the server make the picture. Raises StreamFailed, or RequestError before the first byte."""
        watch = Stopwatch(self._clock)
        answer = await watch.waiting(self._post(serving.head, server, wanted))
        try:
            if answer.status != 200:
                body = await beginning(answer)
                status, text = refusals.refused(Api.GENERATE_IMAGE, request.model, answer.status, body)
                raise RequestError(text, status=status)
            reader = PictureReader(wanted.key, lines=wanted.lines)
            begun = False
            while data := await watch.waiting(answer.read()):
                if picture := reader.feed(data):
                    if not begun:
                        await serving.send_head(Head(200, _headers(reader, wanted, answer)))
                        begun = True
                    await serving.send(picture)
            figures = reader.end()
        finally:
            answer.close()
        serving.end(watch.measured(_usage(reader, figures, wanted)))

    async def _post(self, head: RequestHead, server: Counterpart, wanted: ImageAsked) -> Answer:
        asked = onward(head, wanted.path, len(wanted.body), streamed=wanted.lines)
        return await self._servers.exchange(server.base_url, asked, once(wanted.body))


def _headers(reader: PictureReader, wanted: ImageAsked, answer: Answer) -> Headers:
    """Of the answer: what was not heeded is known in part here, and in part by a tool that the agent runs itself."""
    told = [name.strip() for name in value_of(answer.headers, IGNORED).split(",")]
    ignored = dict.fromkeys([*wanted.ignored, *filter(None, told)])
    return (("Content-Type", reader.content_type), *([(IGNORED, ", ".join(ignored))] if ignored else []))


def _usage(reader: PictureReader, figures: Figures, wanted: ImageAsked) -> Usage:
    """The work, where it is known: the size of the picture as it came, and the steps that were told."""
    steps = figures.steps or wanted.steps
    return Usage(
        completion=Tokens(figures.kilopixel_steps or -(-reader.width * reader.height * steps // _PIXELS)),
        load_s=figures.load_s,
        decode_s=figures.decode_s,
        complete=True,
    )
