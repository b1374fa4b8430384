"""mlx-qwen3-asr, a server of speech for Apple's chips: started when somebody asks, stopped when nobody has for long.

Its command line and its endpoints are those of https://pypi.org/project/mlx-qwen3-asr (0.4): it serves one model, loads
that before its port answers, wants a key, and lets nobody stop a job.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from herd.actors.ports import Headers
from herd.errors import StreamFailed
from herd.net.http_client import AiohttpAnswer, AiohttpServers
from herd.net.tools.asr_server import AsrServer
from herd.net.tools.hugging_face import weights_on_disk
from herd.net.tools.probe import search_path
from herd.protocols.messages import RequestHead
from herd.protocols.speech_servers import (
    HEALTH,
    LOAD_SECONDS,
    MODELS,
    QWEN_ASR,
    QWEN_ASR_HERE,
    QWEN_ASR_LOAD,
    QWEN_ASR_UNLOAD,
)
from herd.protocols.translation.speech import JOBS, read_job_id
from herd.protocols.untrusted import shown
from herd.types import Bytes, KiB, ModelName, Seconds

# As long as Ollama keeps a model that nobody asks.
IDLE_S = 300.0
_LAST_S = 5.0  # for what is being ended when all ends: a process group takes half a second
_MOST_OF_A_JOB = 4 * KiB  # of the answer that names one: some hundred bytes

logger = logging.getLogger(__name__)


class QwenAsr:
    """The port `ModelServers` for what is under `QWEN_ASR_HERE`. Use as an async context manager.

    At most one server runs, with one model. Whoever wants another waits until nobody uses the first.

    Args:
        program: the command `mlx-qwen3-asr`.
        environ: of this process, which the server gets too.
        idle_s: after which a server that nobody asks is stopped.
    """

    def __init__(self, program: str, environ: Mapping[str, str], *, idle_s: float = IDLE_S) -> None:
        self._program = program
        self._key = secrets.token_urlsafe(32)
        own = {name: value for name, value in environ.items() if not name.startswith("HERD_")}  # keys may be in those
        # It shall not fetch gigabytes because somebody asks for something. What is no WAV it has ffmpeg decode.
        own["PATH"] = search_path(environ)
        self._environ = {**own, "MLX_ASR_API_KEY": self._key, "HF_HUB_OFFLINE": "1"}
        self._http = AiohttpServers((("Authorization", f"Bearer {self._key}"),), whom="mlx-qwen3-asr")
        self._usual_idle_s = self._idle_s = idle_s
        self._server: AsrServer | None = None
        self._turn = asyncio.Lock()  # to start a server, or to stop one
        self._uses = 0  # requests that are with the server
        self._jobs: set[str] = set()  # that it has taken, and that are asked for; it takes ten at most
        self._unused = asyncio.Event()
        self._unused.set()
        self._stopping: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_LAST_S)
        await self._stop()
        await self._http.__aexit__(kind, error, trace)

    # --- the port -----------------------------------------------------------------------------------------------------

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        """What there is at `url`: the models, a job, or what came of a command. Raises StreamFailed."""
        path = url.removeprefix(QWEN_ASR_HERE)
        if path == MODELS:
            return 200, await self._models()
        if path == HEALTH:
            return 200, {"status": "ok", "queued_jobs": 0}
        if path in {QWEN_ASR_LOAD, QWEN_ASR_UNLOAD} and isinstance(body, dict):
            return await self._obey(path, body, timeout)
        if path.startswith(JOBS):
            return await self._job(path, timeout)
        return 404, None

    async def exchange(self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None) -> "_Answer | _Said":
        """Ask the server, which is started for it. `base_url` is `QWEN_ASR_HERE`.

        Raises:
            StreamFailed: it does not start, or has ended.
        """
        if base_url != QWEN_ASR_HERE:
            raise StreamFailed(f"mlx-qwen3-asr is not at {base_url}")
        if head.method == "DELETE" and head.path.startswith(JOBS):
            self._give_up(head.path.removeprefix(JOBS))
            return _Said(204)
        server, load_s = await self._use(self._repository(head.model))
        sent = _Sent(body)
        try:
            answer = await self._http.exchange(server.base_url, head, None if body is None else sent.pieces())
        except BaseException as error:
            if sent.whole and isinstance(error, asyncio.CancelledError):
                self._kill("nobody waits for its answer any more")
            self._unuse()
            if isinstance(error, StreamFailed):
                raise await server.explained(error) from error
            raise
        return _Answer(self, server, answer, load_s)

    # --- the models ---------------------------------------------------------------------------------------------------

    async def _models(self) -> dict[str, Any]:
        """Those whose weights are on the disk, in the form of OpenAI's list."""
        found = await asyncio.to_thread(self._on_disk)
        loaded = self._loaded if self._server is not None and self._server.ready else ""
        return {
            "object": "list",
            "owned_by": "mlx-qwen3-asr",
            "data": [
                {
                    "id": QWEN_ASR[repository],
                    "object": "model",
                    "owned_by": "mlx-qwen3-asr",
                    "capabilities": ["audio"],
                    "meta": {"size": size},
                    "status": {"value": "loaded" if repository == loaded else "unloaded"},
                }
                for repository, size in found.items()
            ],
        }

    @property
    def _loaded(self) -> str:
        """The repository of the model whose server runs, or is being started; empty: none does."""
        return self._server.repository if self._server is not None and not self._server.ended else ""

    def _on_disk(self) -> dict[str, Bytes]:
        sizes = {repository: weights_on_disk(repository, self._environ) for repository in QWEN_ASR}
        return {repository: size for repository, size in sizes.items() if size is not None}

    def _repository(self, model: str) -> str:
        """Of a model by its name in the fleet. Raises StreamFailed."""
        for repository, name in QWEN_ASR.items():
            if name == ModelName(model):
                return repository
        raise StreamFailed(f"mlx-qwen3-asr has no model {shown(model)}")

    # --- commands -----------------------------------------------------------------------------------------------------

    async def _obey(self, path: str, body: dict[str, Any], timeout: Seconds) -> tuple[int, Any]:
        try:
            async with asyncio.timeout(timeout):
                repository = self._repository(str(body.get("model", "")))
                if path == QWEN_ASR_UNLOAD:
                    if self._server is not None and self._server.repository == repository:
                        await self._unload()
                    return 200, {}
                if self._loaded not in {"", repository}:  # nobody has asked for this one yet, and the other may be
                    return 500, {"error": "mlx-qwen3-asr has one model at a time, and another one is loaded"}
                await self._use(repository)
                keep_alive = body.get("keep_alive", self._usual_idle_s)
                self._idle_s = float(keep_alive) if isinstance(keep_alive, int | float) else self._usual_idle_s
                self._unuse()
                return 200, {}
        except StreamFailed as error:
            return 500, {"error": str(error)}
        except TimeoutError:
            return 500, {"error": f"mlx-qwen3-asr has not done so within {timeout:g} s"}

    async def _unload(self) -> None:
        """Stop the server as soon as nobody uses it."""
        async with self._turn:
            await self._unused.wait()
            await self._stop()

    # --- the server's life --------------------------------------------------------------------------------------------

    async def _use(self, repository: str) -> tuple[AsrServer, float]:
        """A server with this model, which counts as used from here on, and the seconds that its start took."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            server, load_s = self._server, 0.0
            if server is not None and server.repository != repository and not server.ended:
                await self._unused.wait()
            if server is None or server.ended or server.repository != repository:
                await self._stop()
                self._idle_s, began = self._usual_idle_s, loop.time()
                server = self._server = AsrServer(self._words(repository), repository, self._environ)
                await server.start(self._http)
                load_s = loop.time() - began
            self._uses += 1
            self._unused.clear()
            if self._stopping is not None:
                self._stopping.cancel()
            return server, load_s

    def _words(self, repository: str) -> tuple[str, ...]:
        """The command line, but for the port. Limits are the router's, so that it is never the server that refuses."""
        limits = ("--rate-limit", "1000000", "--max-file-size", "4096")
        return (self._program, "serve", "--host", "127.0.0.1", "--model", repository, *limits)

    def _unuse(self) -> None:
        self._uses -= 1
        self._rest()

    def _rest(self) -> None:
        """If nobody uses the server any more, it is stopped in a while."""
        if self._uses or self._jobs:
            return
        self._unused.set()
        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = None
        if self._idle_s >= 0:  # a negative one means for ever, as in Ollama's API
            self._stopping = asyncio.get_running_loop().call_later(self._idle_s, self._stop_if_unused)

    def _stop_if_unused(self) -> None:
        if self._unused.is_set() and self._server is not None:
            logger.info("mlx-qwen3-asr is stopped: nobody has asked it for %g s", self._idle_s)
            self._spawn(self._stop_unused())

    async def _stop_unused(self) -> None:
        async with self._turn:
            if self._unused.is_set():
                await self._stop()

    def _kill(self, why: str) -> None:
        """End the server and what it computes: it has no other way to be told."""
        self._jobs.clear()
        if self._server is not None and not self._server.ended:
            logger.info("mlx-qwen3-asr is stopped: %s", why)
            self._spawn(self._server.stop())

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
        server, self._server = self._server, None
        self._jobs.clear()
        if server is not None:
            await server.stop()

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def _job(self, path: str, timeout: Seconds) -> tuple[int, Any]:
        server, job = self._server, path.removeprefix(JOBS)
        if server is None or job not in self._jobs:
            return 404, None
        try:
            status, value = await self._http.fetch(f"{server.base_url}{path}", timeout=timeout)
        except StreamFailed as error:
            explained = await server.explained(error)
            if server.ended:
                self._job_ended(job)
            raise explained from error
        if status != 200 or not isinstance(value, dict) or value.get("status") not in {"queued", "processing"}:
            self._job_ended(job)
        return status, value

    def job_began(self, job: str) -> None:
        """The server has taken a job, which is asked for until it has ended."""
        self._jobs.add(job)

    def _job_ended(self, job: str) -> None:
        self._jobs.discard(job)
        self._rest()

    def _give_up(self, job: str) -> None:
        """Nobody asks for the job any more."""
        if job in self._jobs:
            self._kill("nobody waits for its job any more")
            self._rest()

    def answered(self, *, whole: bool) -> None:
        """An answer has been read, or is not wanted any more."""
        if not whole:
            self._kill("nobody waits for its answer any more")
        self._unuse()


class _Sent:
    """A body, and whether all of it has gone."""

    def __init__(self, body: AsyncIterator[bytes] | None) -> None:
        self._body = body
        self.whole = body is None

    async def pieces(self) -> AsyncIterator[bytes]:
        if self._body is not None:
            async for piece in self._body:
                yield piece
        self.whole = True


class _Answer:
    """The port `Answer`: the server's, with an eye on its end."""

    def __init__(self, tool: QwenAsr, server: AsrServer, answer: AiohttpAnswer, load_s: float) -> None:
        self._tool: QwenAsr | None = tool
        self._server = server
        self._answer = answer
        self._whole = False
        self._job = bytearray() if answer.status == 202 else None
        self.status = answer.status
        self.headers: Headers = answer.headers
        if load_s > 0:
            self.headers = (*answer.headers, (LOAD_SECONDS, f"{load_s:.3f}"))

    async def read(self) -> bytes:
        try:
            data = await self._answer.read()
        except StreamFailed as error:
            raise await self._server.explained(error) from error
        self._whole = not data
        if self._job is not None:
            self._job += data[: _MOST_OF_A_JOB - len(self._job)]
            if self._whole and self._tool is not None:
                with suppress(StreamFailed):  # whoever reads it finds the same
                    self._tool.job_began(read_job_id(bytes(self._job)))
        return data

    def close(self) -> None:
        self._answer.close()
        tool, self._tool = self._tool, None
        if tool is not None:
            tool.answered(whole=self._whole or self.status >= 400)


class _Said:
    """The port `Answer`: one of this stand-in's own, without a body."""

    headers: Headers = ()

    def __init__(self, status: int) -> None:
        self.status = status

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        """There is nothing to give up."""
