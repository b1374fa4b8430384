"""One run of mlx-qwen3-asr's server: started, waited for until it has loaded its model, and ended."""

import asyncio
import signal
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

from herd.errors import StreamFailed, TimedOut
from herd.net.http_client import AiohttpServers
from herd.net.tools.processes import GuardedProcess, Lines, ToolFailed
from herd.protocols.speech_servers import HEALTH
from herd.protocols.untrusted import shown
from herd.types import Seconds

# 3.4 GB from a slow disk take a minute; Ollama gives a load up after as long as this.
START_S = 300.0
# A server that loads its model answers nothing, and there is no event for its end that is more than a line in its log.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 1.0
LOOK_S = Seconds(5.0)

_END_S = 1.0

_LAST_LINES = 20  # of what it writes: a traceback's end
_LONGEST_WORDS = 300
_NOT_ITS_WORDS = ("INFO:", "ERROR:", "WARNING:")  # the web server's, after those that say why


class AsrServer:
    """One run of the server, on a port of its own. Started once.

    Args:
        words: its command line, but for the port.
        repository: of its model.
        environ: of its process.
    """

    def __init__(self, words: tuple[str, ...], repository: str, environ: Mapping[str, str]) -> None:
        port = _free_port()
        self.repository = repository
        self.base_url = f"http://127.0.0.1:{port}"
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        lines = Lines(self._said.append)
        self._process = GuardedProcess((*words, "--port", str(port)), err=lines, environment=environ)
        self._ended: asyncio.Task[int] | None = None
        self._doomed = False
        self._loaded = False

    @property
    def ready(self) -> bool:
        """It has its model in memory."""
        return self._loaded and not self.ended

    @property
    def ended(self) -> bool:
        """It does not run any more, whoever has ended it, or is about to."""
        return self._doomed or (self._ended is not None and self._ended.done())

    async def start(self, http: AiohttpServers) -> None:
        """Start it, and wait until it has loaded its model. Raises StreamFailed with its last words."""
        try:
            await self._process.start()
            self._ended = asyncio.create_task(self._process.wait())
            async with asyncio.timeout(START_S):
                await self._until_loaded(http)
            self._loaded = True
        except (ToolFailed, TimeoutError) as error:
            await self.stop()
            why = str(error) or f"it was not ready within {START_S:g} s"
            raise StreamFailed(f"mlx-qwen3-asr does not start: {why}") from error
        except BaseException:
            await self.stop()
            raise

    async def _until_loaded(self, http: AiohttpServers) -> None:
        ended, pause = self._ended, FIRST_LOOK_S
        while ended is not None:
            done, _ = await asyncio.wait((ended,), timeout=pause)
            if done:
                raise StreamFailed(f"mlx-qwen3-asr does not start: {self._last_words()}")
            pause = min(LONGEST_LOOK_S, 2 * pause)
            with suppress(StreamFailed):
                status, _ = await http.fetch(self.base_url + HEALTH, timeout=LOOK_S)
                if status == 200:
                    return

    async def stop(self) -> None:
        """End it and all its children, and wait until they are gone. Idempotent."""
        self._doomed = True
        await self._process.stop()

    async def explained(self, error: StreamFailed) -> StreamFailed:
        """Why it broke off: what it died of, if it has died."""
        if self._ended is None or isinstance(error, TimedOut):
            return error
        # Its connections break first: then its end is a matter of milliseconds.
        done, _ = await asyncio.wait((self._ended,), timeout=_END_S)
        return StreamFailed(f"mlx-qwen3-asr {self._end()}") if done else error

    def _last_words(self) -> str:
        own = [line for line in self._said if not line.startswith(_NOT_ITS_WORDS)]
        line = (own or list(self._said) or [""])[-1]
        return shown(line[:_LONGEST_WORDS]) or f"it {self._end()}"

    def _end(self) -> str:
        if self._ended is None or not self._ended.done():
            return "was stopped"
        return _told(self._ended.result())


def _told(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _free_port() -> int:
    """A port of loopback that nobody has, and that nobody is likely to take within the second that the server needs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
