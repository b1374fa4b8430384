"""Runs `herd` or `herd-node` and samples what it does with its processor time.

    python -m benchmarks.profiled FILE herd|herd-node ARGUMENT...

writes the samples (JSON) to FILE when the command ends. A tracing profiler such as cProfile makes this code several
times slower, and small functions more than others; a signal each few milliseconds of processor time does not. What a
C function takes counts for the Python function that calls it.
"""

import dis
import signal
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType

import msgspec

from benchmarks.profiling import LOOP, Function, Samples
from herd.cli import entry

# Of processor time. Systems round it up to their own tick, which is 1 to 10 ms.
INTERVAL_S = 0.001

# Loaded before sampling begins, so that imports do not show.
_COMMANDS: dict[str, tuple[str, Callable[[], None]]] = {
    "herd": ("herd.cli.router", entry.herd),
    "herd-node": ("herd.cli.node", entry.herd_node),
}

_RESUME = dis.opmap["RESUME"]  # where every function begins, and goes on after an await


class Sampler:
    """Counts the functions in which signals find the process."""

    def __init__(self) -> None:
        self.counts: Counter[Function] = Counter()

    def __call__(self, _number: int, frame: FrameType | None) -> None:
        """One signal."""
        if frame is not None:
            self.counts[_running(frame)] += 1


def _running(frame: FrameType) -> Function:
    """The function that was running when the signal came."""
    code = frame.f_code
    # The handler of a signal that came in C code waits for Python code to run.
    if _runs_loop(frame) or (_runs_loop(frame.f_back) and code.co_code[frame.f_lasti] == _RESUME):
        return LOOP
    if code.co_filename == "<string>" and frame.f_back is not None:  # what dataclasses write is wherever it is used
        maker = frame.f_back.f_code
        return maker.co_filename, maker.co_firstlineno, f"{maker.co_qualname}, making a dataclass"
    return code.co_filename, code.co_firstlineno, code.co_qualname


def _runs_loop(frame: FrameType | None) -> bool:
    """Whether this is the frame on which the event loop's C code runs."""
    return frame is not None and Path(frame.f_code.co_filename).parts[-2:] == ("asyncio", "runners.py")


def main(file: str, name: str, *arguments: str) -> None:
    """Run the command; it ends with SystemExit."""
    module, command = _COMMANDS[name]
    import_module(module)
    sys.argv = [name, *arguments]
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    try:
        command()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(file).write_bytes(msgspec.json.encode(Samples(list(sampler.counts.items()))))


if __name__ == "__main__":
    main(*sys.argv[1:])
