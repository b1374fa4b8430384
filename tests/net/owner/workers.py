"""A process that listens at a port and does as it is told."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What it is told, a line each, and answered with `done` after it: to use a processor for so many seconds itself, or
# through a child that comes and goes, or to hold so many bytes of memory.
WORKER = """
import socket, subprocess, sys, time
BURN = "import sys, time\\nwhile time.process_time() < float(sys.argv[1]): pass"
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
held = []
for line in sys.stdin:
    order, amount = line.split()
    if order == "burn":
        end = time.process_time() + float(amount)
        while time.process_time() < end:
            pass
    elif order == "child":
        subprocess.run([sys.executable, "-c", BURN, amount], check=True)
    elif order == "hold":
        held.append(b"x" * int(amount))
    print("done", flush=True)
"""


class Worker:
    """The process, from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.port = int(self._line())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def do(self, order: str, amount: float) -> None:
        """Returns once it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order} {amount}\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def end(self) -> None:
        """Returns once it has ended."""
        self.process.communicate(timeout=10)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def working(*command: str) -> Iterator[Worker]:
    """A worker; `command` runs it, where it is not to be a plain Python."""
    words = [*(command or (sys.executable,)), "-c", WORKER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()
