"""What both commands do around their event loop: logs, signals, exit codes."""

import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TextIO

from rich.console import Console

from herd.actors.log_context import logged_request
from herd.errors import ConfigError, HerdError
from herd.protocols.untrusted import shown
from herd.types import KiB

if sys.platform != "win32":  # it has neither
    import resource

    import uvloop

# Longer than any sentence of ours with a name or two in it.
MAX_MESSAGE = 1000

# macOS refuses more than kern.maxfilesperproc even where the limit says "unlimited"; 10,240 it has always granted.
MAX_FILES = 10_240

# Blocks from this size on go back to the system when they are freed: glibc's own first threshold, which it raises with
# each freed block unless it is told one. Then 400 bodies of a MiB that lie in files still cost 300 MB of freed heap.
MMAP_THRESHOLD = 128 * KiB
M_MMAP_THRESHOLD = -3  # malloc.h

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 and SIGINT's number, as shells count


# The levels that a person should notice, by their colours on a terminal.
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}


class LineFormatter(logging.Formatter):
    """One line a record, whatever strangers put into it: a log that can be forged or filled by them is none.

    Args:
        coloured: the level is, for a terminal.
    """

    def __init__(self, *, coloured: bool = False) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Time, level and message, without control characters and not endless; below it a traceback, set in."""
        level = f"{record.levelname:<7}"
        colour = _COLOURS.get(record.levelname, "") if self._coloured else ""
        shown = f"{colour}{level}\x1b[0m" if colour else level
        line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {shown} {printable(record.getMessage())}"
        return "\n    ".join([line, *_traceback(self, record)])


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    """The lines of a record's traceback, if it has one; strangers' words may be in it as well."""
    return list(map(printable, formatter.formatException(record.exc_info).split("\n"))) if record.exc_info else []


def printable(text: str) -> str:
    """`text` on one line, cut at MAX_MESSAGE characters, with control characters shown and not obeyed."""
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}... ({len(text)} characters)"
    return shown(text)


def iso_time(moment: float) -> str:
    """A moment in seconds since the Unix epoch, as `2026-11-30T09:15:00.123Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03}Z"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, logger and message; of which request it is, and a traceback, where there is one."""
        entry = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        if request_id := request_of(record):
            entry["request_id"] = request_id
        if traceback := _traceback(self, record):
            entry["traceback"] = "\n".join(traceback)
        return json.dumps(entry, ensure_ascii=False)


def _new_record(*args: Any, **named: Any) -> logging.LogRecord:
    """A record that says of which request it is, to every handler."""
    record = logging.LogRecord(*args, **named)
    record.request_id = logged_request() or None
    return record


def request_of(record: logging.LogRecord) -> str | None:
    """The id of the request that a record was born of; None where there is none."""
    return getattr(record, "request_id", None)


def formatter_for(stream: TextIO, style: str = "text") -> logging.Formatter:
    """How records look on `stream`: as JSON, or for a person; coloured only on a terminal that shows colours."""
    if style == "json":
        return JsonFormatter()
    console = Console(file=stream)
    colours = stream.isatty() and not console.no_color and not console.legacy_windows and not console.is_dumb_terminal
    return LineFormatter(coloured=colours)


def set_up_logs(level: str, style: str = "text", *further: logging.Handler) -> None:
    """Log to standard error, and to `further` handlers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter_for(sys.stderr, style))
    logging.setLogRecordFactory(_new_record)
    logging.basicConfig(level=level.upper(), handlers=[handler, *further], force=True)
    # No line shows any of it, and each record would look it up ("Optimization" in the logging HOWTO).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # The libraries' own chatter says nothing to the person at the terminal unless something is being debugged.
    for name in ("asyncio", "zeroconf", "pykka"):
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.ERROR)
    # What sends traces says with every batch that nobody takes them; ours says it once.
    logging.getLogger("opentelemetry").setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)
    # aiohttp logs a traceback for bytes that are not HTTP, and quotes them: strangers could fill the disk with those,
    # and a prompt may be in them.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)


def raise_file_limit() -> None:
    """Take all the file descriptors that the system grants: each connection is one, and macOS starts with 256."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_memory_back() -> None:
    """Let freed memory go back to the system, where the C library is glibc; others do so by themselves."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the process's event loop: uvloop's where there is one."""
    raise_file_limit()
    give_memory_back()
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        uvloop.run(main)


def spare_collector() -> None:
    """Have the garbage collector leave alone what start-up made; whoever says "I am up" calls this before.

    Modules and actors live as long as the process, and to walk through all of them again and again holds the loop for
    up to 150 ms at a time, while tokens wait.
    """
    gc.collect()
    gc.freeze()


def stop_signals() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets, from now on; whoever says "I am up" calls this first.

    A second signal ends the process at once: a person who presses Ctrl-C again does not want to wait for anything.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def tell() -> None:
        if told.is_set():
            os._exit(EXIT_INTERRUPTED)
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, tell)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(tell))
    return told


async def until_told(told: asyncio.Event, failed: "asyncio.Future[Any]") -> None:
    """Wait for a signal.

    Raises:
        HerdError: the process cannot go on: `failed` says why.
    """
    signalled: asyncio.Future[Any] = asyncio.create_task(told.wait())
    try:
        await asyncio.wait([signalled, failed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        signalled.cancel()
    if failed.done():
        raise HerdError(f"{failed.result()}; the log says more")


def guarded(app: Callable[[], None]) -> NoReturn:
    """Run a Typer app; errors of ours become one sentence on standard error and an exit code."""
    try:
        app()
    except ConfigError as error:
        _leave(f"error: {error}", EXIT_USAGE)
    except HerdError as error:
        _leave(f"error: {error}", EXIT_FAILED)
    except KeyboardInterrupt:
        _leave("", EXIT_INTERRUPTED)
    sys.exit(0)


def _leave(text: str, code: int) -> NoReturn:
    if text:
        print(text, file=sys.stderr)  # noqa: T201 - the one place where a command says why it ended
    sys.exit(code)
