"""The agent's request flow for `/api/transcribe`, which no model server has: the form goes on as another while it comes
in, and what was said comes back as one document.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from herd.actors.counterpart import Counterpart, beginning, onward, say
from herd.actors.ports import Answer, Clock, ModelServers, Serving
from herd.actors.stopwatch import Stopwatch
from herd.errors import BodyTooLarge, RequestError, StreamFailed, TimedOut
from herd.protocols.answers import error_answer
from herd.protocols.headers import value_of
from herd.protocols.media_usage import started_for_it
from herd.protocols.messages import Head, Headers, RequestHead, Usage
from herd.protocols.multipart import Rewriter, boundary_of
from herd.protocols.speech_servers import QWEN_ASR_HERE
from herd.protocols.translation.speech import (
    JOBS,
    SpeechForm,
    Transcript,
    read_job,
    read_job_id,
    read_transcript,
    refused,
    speech_form,
)
from herd.types import Dialect, MiB, Seconds, Tokens

# Whisper says some 1.5 KB of each few seconds: of the longest recording that servers take, 8 hours, 9 MB.
MAX_ANSWER = 64 * MiB

# A job has no event for its end. Short ones last about as long as the first pause; of long ones the last is a trifle.
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.25, 2.0, 1.5
ASK_S = Seconds(5.0)
SILENCES = 3  # questions about a job in a row to which no answer came in time, until the server is given up
LET_GO_S = 2.0  # to end a job that nobody waits for: the tool's own grace is half a second

_FINE = (200, 202)


class Transcriber:
    """Serves streams whose answers are what somebody said.

    Args:
        servers: the HTTP client.
        clock: how long that took.
    """

    def __init__(self, servers: ModelServers, clock: Clock) -> None:
        self._servers = servers
        self._clock = clock
        self._letting_go: set[asyncio.Task[None]] = set()  # of jobs, for `LET_GO_S` each

    async def serve(self, serving: Serving, server: Counterpart) -> None:
        """Serve one stream to its end.

        Raises:
            StreamFailed: the server cannot be reached, or its answer breaks or has no text.
        """
        try:
            upload = _Upload(serving, speech_form(server.kind), Stopwatch(self._clock))
            try:
                transcript, headers = await self._transcript(upload, server)
            except StreamFailed:
                if upload.refused is not None:  # the client's form broke, and with it the request to the server
                    raise upload.refused from None
                raise
        except (RequestError, BodyTooLarge) as error:
            await say(serving, error_answer(Dialect.OLLAMA, error, request_id=str(serving.head.request_id)))
            return
        body = transcript.answer(upload.model)
        kind = ("Content-Type", "application/json; charset=utf-8")
        await serving.send_head(Head(200, (kind, ("Content-Length", str(len(body))))))
        await serving.send(body)
        usage = Usage(completion=Tokens(transcript.frames), complete=True)
        serving.end(upload.stopwatch.measured(started_for_it(usage, headers)))

    async def _transcript(self, upload: "_Upload", server: Counterpart) -> tuple[Transcript, Headers]:
        """What was said, and the server's headers. Raises StreamFailed, or RequestError for a refusal."""
        answer = await upload.stopwatch.waiting(self._servers.exchange(server.base_url, upload.head, upload.body()))
        try:
            if answer.status not in _FINE:
                raise refused(upload.model, answer.status, answer.headers, await beginning(answer))
            body = await _whole(answer, upload.stopwatch)
        finally:
            answer.close()
        if not upload.form.job:
            return read_transcript(body), answer.headers
        return await upload.stopwatch.waiting(self._job(upload.head, server, read_job_id(body))), answer.headers

    async def _job(self, head: RequestHead, server: Counterpart, job_id: str) -> Transcript:
        """Wait for a job. Raises StreamFailed: the server is gone, and the job with it; RequestError: it failed."""
        url, pause, silences = f"{server.base_url}{JOBS}{job_id}", FIRST_PAUSE_S, 0
        ended = False
        try:
            while True:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * GROWTH)
                try:
                    status, value = await self._servers.fetch(url, timeout=ASK_S)
                except TimedOut:
                    silences += 1
                    if silences >= SILENCES:
                        raise
                    continue
                silences = 0
                if status != 200:  # it was started again, and knows nothing of it
                    raise StreamFailed(f"the model server has lost the job that it took: it answered {status}")
                job = read_job(value)
                ended = job.ended
                if job.failed is not None:
                    raise RequestError(job.failed, status=500)
                if job.transcript is not None:
                    return job.transcript
        finally:
            # Nobody can stop a job of a server that is not the agent's own.
            if not ended and server.base_url == QWEN_ASR_HERE:
                self._let_go(replace(head, method="DELETE", path=f"{JOBS}{job_id}", headers=(), size=0), server)

    def _let_go(self, head: RequestHead, server: Counterpart) -> None:
        task = asyncio.create_task(self._end_job(head, server), name=f"end {head.path}")
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _end_job(self, head: RequestHead, server: Counterpart) -> None:
        try:
            async with asyncio.timeout(LET_GO_S):
                (await self._servers.exchange(server.base_url, head, None)).close()
        except (StreamFailed, TimeoutError):  # it has ended by itself, or with the server
            return


class _Upload:
    """The client's form on its way to the server, of which nothing is held but the piece that passes.

    Attributes:
        form: that the server wants.
        stopwatch: of the server's work.
        refused: why the client's form is none, once that has shown.
    """

    def __init__(self, serving: Serving, form: SpeechForm, stopwatch: Stopwatch) -> None:
        self._serving = serving
        self._type = value_of(serving.head.headers, "content-type")
        self._rewriter = Rewriter(boundary_of(self._type), names=form.names, added=form.added)
        self.form = form
        self.stopwatch = stopwatch
        self.refused: RequestError | None = None

    @property
    def head(self) -> RequestHead:
        """Of the request to the server: how long its body will be is not known beforehand."""
        return onward(self._serving.head, self.form.path, -1, content_type=self._type)

    @property
    def model(self) -> str:
        """Whom the client asked, once it has said so."""
        return self._rewriter.fields.get("model") or self._serving.head.model

    def body(self) -> AsyncIterator[bytes]:
        """The form for the server."""
        return self.stopwatch.sending(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            if self._serving.head.size:
                async for piece in self._serving.body():
                    if out := self._rewriter.feed(piece):
                        yield out
            yield self._rewriter.end()
        except RequestError as error:
            self.refused = error
            raise


async def _whole(answer: Answer, stopwatch: Stopwatch) -> bytes:
    """The server's document. Raises StreamFailed: it breaks, or is too long."""
    body = bytearray()
    while data := await stopwatch.waiting(answer.read()):
        body += data
        if len(body) > MAX_ANSWER:
            raise StreamFailed(f"the model server's answer is longer than {MAX_ANSWER // MiB} MiB")
    return bytes(body)
