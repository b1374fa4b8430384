"""A live view in a child process on this process's terminal: asyncio's subprocesses behind the port `View`.

The child's standard input is a pipe from here, whose end tells it that this process stops or was killed; it takes keys
from the terminal itself, and the same process group has it hear of Ctrl-C and of a resized window.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Self

from herd.errors import HerdError

if sys.platform != "win32":
    import termios

STANDARD_OUTPUT = 1

# A view puts the terminal in order and ends within milliseconds. One that is stopped by a debugger, or waits for a
# terminal on which Ctrl-S was pressed, is not waited for.
STOP_S = 2.0

_SAVE_CURSOR = b"\x1b7"
# What a killed view leaves behind: an update without an end, no line wrap, no cursor, a colour, and the alternate
# screen, whose end takes the cursor to where it was saved.
_RESTORE = b"\x1b[?2026l\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"


class ViewFailed(HerdError):
    """The view cannot be had, or is gone."""


def in_foreground() -> bool:
    """Whether this process may draw on the terminal that is its standard output: in the background it would be stopped
    for what its view does there.
    """
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(STANDARD_OUTPUT) == os.getpgrp()
    except OSError:  # no terminal, or not the one of this process's session
        return False


class _Lent:
    """The terminal, while a view has it."""

    def __init__(self) -> None:
        self.killed = False  # the view has put nothing in order

    def __enter__(self) -> Self:
        if sys.platform != "win32":
            try:
                self._modes = termios.tcgetattr(STANDARD_OUTPUT)
            except termios.error as error:
                raise ViewFailed(f"the terminal is gone: {error}") from error
            # Ctrl-Z is for the view to obey: it stops us both once it has given the terminal back.
            self._stops = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
            _write(_SAVE_CURSOR)  # a console of Windows may not obey it before the view has set it up
        return self

    def __exit__(self, *_: object) -> None:
        if sys.platform != "win32":
            signal.signal(signal.SIGTSTP, self._stops)
        if not in_foreground():  # a shell has the terminal
            return
        if sys.platform != "win32":
            with contextlib.suppress(termios.error):  # it is gone
                if self.killed:
                    termios.tcflow(STANDARD_OUTPUT, termios.TCOON)  # after Ctrl-S, a write would wait
                termios.tcsetattr(STANDARD_OUTPUT, termios.TCSANOW, self._modes)
        if self.killed:
            _write(_RESTORE)


def _write(codes: bytes) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        os.write(STANDARD_OUTPUT, codes)


class ViewProcess:
    """One view at a time.

    Args:
        command: to start it with.
        environment: of its process.
        aside: entered while a view is on: has what this process would print go elsewhere. May raise HerdError.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        aside: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._aside = aside
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ended: Callable[[int], None] | None = None

    async def open(self, ended: Callable[[int], None]) -> None:
        """Start it. Raises HerdError where there is no terminal for it, or no process to be had."""
        await self.close()
        if not in_foreground():
            raise ViewFailed("this process is not in the foreground of its terminal")
        with ExitStack() as stack:
            try:
                stack.enter_context(self._aside())
                lent = stack.enter_context(_Lent())
                process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, env=self._environment)
            except OSError as error:
                raise ViewFailed(error.strerror or str(error)) from error
            if process.stdin is not None:
                with contextlib.suppress(RuntimeError):  # uvloop's, of a view that has ended by now
                    process.stdin.transport.set_write_buffer_limits(high=0)  # `drain` waits until all is in the pipe
            self._process, self._ended = process, ended
            self._watching = asyncio.create_task(self._watch(process, lent, stack.pop_all()))

    async def _watch(self, process: Process, lent: _Lent, stack: ExitStack) -> None:
        with stack:
            status = await process.wait()
            lent.killed = status < 0
        if self._ended is not None:
            self._ended(status)

    async def send(self, line: bytes) -> None:
        """Hand it a line; one that is stopped has room for what its pipe holds. Raises ViewFailed when it is gone."""
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise ViewFailed("the view is gone")
        try:
            process.stdin.write(line)
            await process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:  # the latter is uvloop's
            raise ViewFailed("the view is gone") from error

    async def close(self) -> None:
        """End it, and wait until it is gone and the terminal as before."""
        process, watching, self._ended = self._process, self._watching, None
        if process is None or process.stdin is None or watching is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.shield(watching)
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
        await watching
