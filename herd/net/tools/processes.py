"""Commands as child processes that end as a whole: with all their own children, and never after this process.

Between this process and a command stands `guard`, which leads the group of both and notices when this process is gone.
"""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from herd.errors import HerdError
from herd.net.tools.guard import GRACE_S, PRIVATE
from herd.types import Seconds

_LONGEST_LINE = 4096  # characters; progress and the last line of a traceback are far shorter
# Who is not in the group any more but still holds the pipes is not waited for longer.
_LAST_WORDS_S = 0.5

Heard = Callable[[bytes], None]


class ToolFailed(HerdError):
    """A command could not be run, or did not do what was asked. The text holds nothing of what the client sent."""


def _unheard(_data: bytes) -> None:
    pass


class Lines:
    """Makes lines of what a command writes, ended by LF or, as progress bars do it, by CR. Call it with bytes.

    Args:
        said: told each line, without its end, cut to 4096 characters; empty ones are left out.
    """

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said = said
        self._begun = b""

    def __call__(self, data: bytes) -> None:
        """Take the next piece."""
        *whole, rest = re.split(rb"[\r\n]", self._begun + data)
        self._begun = rest[:_LONGEST_LINE]
        for line in whole:
            self._say(line)

    def end(self) -> None:
        """Nothing follows: what has no end is a line too."""
        line, self._begun = self._begun, b""
        self._say(line)

    @property
    def begun(self) -> str:
        """The line that has no end yet: a progress bar's newest is one until the next is drawn."""
        return self._begun.decode(errors="replace").strip()

    def _say(self, line: bytes) -> None:
        if text := line.decode(errors="replace").strip():
            self._said(text[:_LONGEST_LINE])


class GuardedProcess:
    """One run of a command, without standard input, in a session and process group of its own. Started once.

    Args:
        words: the command and its arguments; all users of the machine can see them.
        out: told what the command writes to its standard output, piece by piece.
        err: the same of its standard error.
        environment: of the command, instead of this process's.
        directory: in which it runs.
        private: the directory is its own, and goes with it when this process is gone.
    """

    def __init__(
        self,
        words: Sequence[str],
        out: Heard = _unheard,
        err: Heard = _unheard,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        *,
        private: bool = False,
    ) -> None:
        self._words = tuple(words)
        self._private = private
        self._heard = {1: out, 2: err}
        self._environment = environment
        self._directory = directory
        self._transport: asyncio.SubprocessTransport | None = None
        self._ended: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Start it. A command that is not there ends at once, with 127.

        Raises:
            ToolFailed: no process is to be had.
        """
        if sys.platform == "win32":
            raise ToolFailed("Windows has no process groups of the kind that tools are run in")
        # In a task, so that a cancellation halfway leaves nobody behind.
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(ToolFailed):
                await starting
                await self.stop()
            raise

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                lambda: _Ears(self._heard),
                *(sys.executable, "-m", "herd.net.tools.guard", *([PRIVATE] if self._private else []), *self._words),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=self._environment,
                cwd=self._directory,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolFailed(f"{self._words[0]} cannot be started: {error.strerror or error}") from error
        self._transport = transport
        self._ended = asyncio.create_task(_see_to_the_end(transport, protocol))

    @property
    def pid(self) -> int | None:
        """Of the guard, which is also the id of the process group; None before the start."""
        return self._transport.get_pid() if self._transport is not None else None

    async def wait(self) -> int:
        """Wait until it has ended, by `stop` or by itself, and all that it wrote has been told; its exit status,
        negative for a signal. Who is cancelled here has stopped nothing.
        """
        if self._ended is None:
            raise RuntimeError("wait() comes after start()")
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """End the whole group, and wait until it is gone: SIGTERM first, half a second later SIGKILL. Idempotent.

        A cancellation does not keep the group from ending.
        """
        transport, ended = self._transport, self._ended
        if transport is None or ended is None or ended.done():
            return
        group = transport.get_pid()
        _kill(group, signal.SIGTERM)
        killing = asyncio.get_running_loop().call_later(GRACE_S, _kill, group, signal.SIGKILL)
        ended.add_done_callback(lambda _: killing.cancel())
        await asyncio.shield(ended)


class _Ears(asyncio.SubprocessProtocol):
    """Hears what a process says, until it ends."""

    def __init__(self, heard: Mapping[int, Heard]) -> None:
        self._heard = heard
        self._open = set(heard)
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()  # nobody can write to either pipe any more

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._heard[fd](data)

    def pipe_connection_lost(self, fd: int, _error: Exception | None) -> None:
        heard = self._heard.get(fd)
        if isinstance(heard, Lines):
            heard.end()
        self._open.discard(fd)
        if not self._open:
            self.silent.set()

    def process_exited(self) -> None:
        self.exited.set()


async def _see_to_the_end(transport: asyncio.SubprocessTransport, ears: _Ears) -> int:
    group = transport.get_pid()
    try:
        await ears.exited.wait()
    except asyncio.CancelledError:
        # By nobody but the end of the loop, which uvloop's does not come to while a process of its runs.
        _kill(group, signal.SIGKILL)
        await ears.exited.wait()
        transport.close()
        raise
    _kill(group, signal.SIGKILL)  # what the command has left behind
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await ears.silent.wait()
    except TimeoutError:  # somebody else holds the pipes
        pass
    finally:
        transport.close()
    return transport.get_returncode() or 0


def _kill(group: int, number: signal.Signals) -> None:
    # A group keeps its id from being given to others for as long as anyone is in it.
    with suppress(ProcessLookupError, PermissionError):  # gone; on macOS, nobody but zombies is left
        os.killpg(group, number)


async def output_of(
    words: Sequence[str], *, most: int, timeout: Seconds, environment: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a command to its end; its exit status and the first `most` bytes of its standard output.

    Raises:
        ToolFailed: it could not be started, or has not ended within `timeout` seconds.
    """
    said = bytearray()

    def heard(data: bytes) -> None:
        said.extend(data[: most - len(said)])

    process = GuardedProcess(words, out=heard, environment=environment)
    await process.start()
    try:
        async with asyncio.timeout(timeout):
            status = await process.wait()
    except TimeoutError as error:
        raise ToolFailed(f"{words[0]} has not ended within {timeout:g} s") from error
    finally:
        await process.stop()
    return status, bytes(said)
