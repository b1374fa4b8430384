"""What ties a view to the process that started it: a pipe as its standard input, which ends when that process does.

Keys come from the terminal itself, so standard input is free for this: nothing else tells a process on every system,
and at once, that its parent was killed.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping

from herd.types import KiB, MiB

# In the environment of `herd top` where a router has started it: what its standard input is.
PARENT = "HERD_TOP_PARENT"

STANDARD_INPUT = 0
PIECE = 64 * KiB  # what a pipe holds on Linux
MAX_LINE = MiB  # an agent with 1,500 models tells a third of that; what is longer is not from an agent


def has_parent(environ: Mapping[str, str]) -> bool:
    """Whether this process is the view of a router that waits for its end."""
    return environ.get(PARENT) == "stdin"


def listen_to_parent(
    ended: Callable[[], None], line: Callable[[bytes], None] | None = None, *, descriptor: int = STANDARD_INPUT
) -> None:
    """Read standard input until it ends; both are called on the running loop.

    Args:
        ended: the parent stops, or was killed.
        line: takes what the parent says, one line at a time, without its end; where several have come at once, the last
            of them alone.
        descriptor: what is read.
    """
    loop = asyncio.get_running_loop()

    def call(function: Callable[..., None], *said: bytes) -> bool:
        try:
            loop.call_soon_threadsafe(function, *said)
        except RuntimeError:  # the loop has ended before the parent
            return False
        return True

    def read() -> None:
        rest = b""
        while len(rest) <= MAX_LINE and (data := _read_on(descriptor)):
            *lines, rest = (rest + data).split(b"\n")
            if lines and line is not None and not call(line, lines[-1]):
                return
        call(ended)

    # A thread, for Windows has no other way to wait for a pipe; as a daemon, for it waits as long as the parent lives.
    threading.Thread(target=read, name="lifeline", daemon=True).start()


def _read_on(descriptor: int) -> bytes:
    """Without `sys.stdin`, whose lock would keep the interpreter from ending while a read waits."""
    try:
        return os.read(descriptor, PIECE)
    except OSError:  # closed by whoever started this
        return b""
