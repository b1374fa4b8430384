"""Asking what may hang: a driver's library, or a file, in a thread of its own; a program in a process of its own."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from herd.errors import HerdError
from herd.types import KiB, Seconds

T = TypeVar("T")

# NVIDIA's driver takes some 3 s to wake a card that nobody uses; whoever answers later than this is not waited for.
ANSWER_S = Seconds(5.0)
# From SIGKILL to the end of a process; one that is stuck in a driver does not end, and is left behind.
END_S = 0.5
# What a program may say: 64 GPUs take 6 KiB.
MAX_OUTPUT = 64 * KiB


class SensorAbsent(HerdError):
    """There is no such thing on this machine."""


class SensorFailed(HerdError):
    """It is there, but does not answer, or says what cannot be."""


class Aside:
    """Runs blocking calls in a thread, one at a time.

    A thread for each call, and a daemon: the threads of a pool are awaited when the process ends, and a driver, or a
    disk in the network, may hang for ever.

    Args:
        name: of the threads.
        timeout: seconds that a caller waits.
    """

    def __init__(self, name: str, timeout: Seconds = ANSWER_S) -> None:
        self._name = name
        self._timeout = timeout
        self._busy = False  # set here, cleared by the thread

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns, or raises.

        Raises:
            SensorFailed: it takes too long, the one before still runs, or the system has no thread left.
        """
        if self._busy:
            raise SensorFailed("it has not answered since it was last asked")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Callable[[], T]] = loop.create_future()

        def work() -> None:
            outcome = _outcome(call)
            self._busy = False
            with suppress(RuntimeError):  # the loop has ended meanwhile, and with it everybody who wanted to know
                loop.call_soon_threadsafe(_settle, ended, outcome)

        try:
            self._busy = True
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._busy = False
            raise SensorFailed(f"it cannot be asked: {error}") from error
        try:
            async with asyncio.timeout(self._timeout):
                outcome = await ended
        except TimeoutError:
            raise SensorFailed(f"it does not answer within {self._timeout:g} s") from None
        return outcome()


def _outcome(call: Callable[[], T]) -> Callable[[], T]:
    """Call, and keep what came of it: something that returns or raises it."""
    try:
        value = call()
    except Exception as error:  # noqa: BLE001 - whoever asked gets it
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: value


def _settle(ended: "asyncio.Future[T]", outcome: T) -> None:
    if not ended.done():
        ended.set_result(outcome)


class Tool:
    """A program that answers on its standard output; one run at a time.

    Args:
        path: of the program.
        timeout: seconds that a run may take.
        most: bytes that a run may say.
    """

    def __init__(self, path: str, timeout: Seconds = ANSWER_S, most: int = MAX_OUTPUT) -> None:
        self._path = path
        self._timeout = timeout
        self._most = most
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Its exit code, and what it said.

        Raises:
            SensorFailed: it cannot be run, takes too long, says too much, or one before is still stuck.
        """
        if self._process is not None and self._process.returncode is None:
            raise SensorFailed(f"{self._path} has not ended since it was last run")
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                self._path,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise SensorFailed(f"{self._path} cannot be run: {error.strerror or error}") from error
        try:
            async with asyncio.timeout(self._timeout):
                said = await _read(process.stdout, self._most)
                return await process.wait(), said.decode("utf-8", "replace")
        except TimeoutError:
            raise SensorFailed(f"{self._path} does not end within {self._timeout:g} s") from None
        finally:
            await _end(process)


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    said = b""
    while stream is not None and (more := await stream.read(MAX_OUTPUT)):
        said += more
        if len(said) > most:
            raise SensorFailed(f"it says more than {most} bytes")
    return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process, if it still runs, and close its pipe: asyncio itself does so at the pipe's end, which does not
    come while nobody reads it, or while a child of the process holds it.
    """
    try:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await process.wait()
    finally:
        process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 - there is no public way
