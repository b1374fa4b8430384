"""The processes of a run: started with a home directory of their own, and ended by their pids whatever happens."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]

START_S = 40.0  # a process starts in half a second; a machine that compiles something else may take many times that
STOP_S = 15.0  # nothing runs any more when they are told to stop: whoever takes longer is killed
LOOK_EVERY_S = 0.02  # a program says on its standard output that it is up, and nothing tells when a file has grown
SHOWN_LINES = 15  # of the log of a program that failed

_SCRIPTS = {"herd": "herd", "herd-node": "herd_node"}


class BenchmarkFailed(Exception):
    """The run found something wrong, or could not be carried out; the text is for a person."""


def script(name: str) -> list[str]:
    """The words that run `herd` or `herd-node` with this interpreter, whether or not the scripts are installed."""
    return [sys.executable, "-c", f"from herd.cli import entry; entry.{_SCRIPTS[name]}()"]


def module(name: str) -> list[str]:
    """The words that run a module of this package."""
    return [sys.executable, "-m", f"benchmarks.{name}"]


class Program:
    """A running process. What it prints, logs included, is in the file `log`."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def says(self, pattern: str) -> str:
        """Wait until it has printed a line with `pattern`: its first group. Raises BenchmarkFailed."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            running = self.process.poll() is None
            if match := re.search(pattern, self.log.read_text(errors="replace")):
                return match[1]
            if not running:
                raise BenchmarkFailed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(LOOK_EVERY_S)
        raise BenchmarkFailed(f"{self.name} did not say {pattern!r} within {START_S:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])

    def stop(self) -> None:
        """Tell it to stop, and wait; kill it if it does not. Idempotent."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Programs:
    """Starts programs; leaving the block ends them all, the latest first.

    Args:
        home: the directory that they run in, take for the home directory, and log to.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _undisturbed():
            for program in reversed(self._started):
                program.stop()

    def start(self, name: str, words: Sequence[str]) -> Program:
        """Start a command line in a session of its own, so that Ctrl-C comes to this process alone."""
        log = self.home / f"{len(self._started)}-{name}.log"
        with _undisturbed(), log.open("wb") as file:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env=self._environment(),
                start_new_session=True,
            )
            program = Program(name, process, log)
            self._started.append(program)
        return program

    def run(self, name: str, words: Sequence[str], timeout: float) -> str:
        """Run a command line to its end: what it printed. Raises BenchmarkFailed."""
        program = self.start(name, words)
        try:
            code = program.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkFailed(f"{name} took longer than {timeout:.0f} s") from error
        if code:
            raise BenchmarkFailed(f"{name} ended with {code}:\n{program.tail()}")
        return program.log.read_text()

    def tails(self) -> str:
        """The ends of the logs of what still runs, for whoever wonders why a run failed."""
        running = [program for program in self._started if program.process.poll() is None]
        return "\n".join(f"--- {program.name}\n{program.tail()}" for program in running)

    def _environment(self) -> dict[str, str]:
        """This process's environment without what would steer Herd, and with this checkout's modules.

        Agents have no owner: they would take the load that measures them for one.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HERD_", "OLLAMA_"))}
        own = {"HOME": str(self.home), "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
        return kept | own | {"HERD_NODE_DEDICATED": "1"}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back: a process that is started must be noted, and those that are noted must end."""
    noted: list[int] = []
    handlers = {
        number: signal.signal(number, lambda came, _: noted.append(came)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for came in noted:
            signal.raise_signal(came)
