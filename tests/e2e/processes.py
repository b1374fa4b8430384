"""`herd` and `herd-node` as a person starts them: real processes, on free ports, with directories of their own.

What they print goes to the test's standard output line by line, so pytest shows it where a test fails.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import herd

ROOT = Path(herd.__file__).parents[1]

# A process starts in half a second; a machine that compiles something else beside the tests may take many times that.
PATIENCE_S = 40.0

_SCRIPTS = {"herd": "herd", "herd-node": "herd_node"}


def command(script: str, *arguments: str) -> list[str]:
    """The command line of `herd` or `herd-node`, with this interpreter, whether or not the scripts are installed.

    As where Herd alone is installed there is no numpy, which sqlite-utils would take: a sixth of a router's start.
    """
    start = f"import sys; sys.modules['numpy'] = None; from herd.cli import entry; entry.{_SCRIPTS[script]}()"
    return [sys.executable, "-c", start, *arguments]


def environment(home: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer Herd or its output, with `home` as the home directory.

    Agents have no owner: the machine that tests run on is busy with the tests. The authorities of the world's web
    sites, of which each of some hundred starts would read a list, sign for nothing here.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HERD_", "OLLAMA_", "COV_", "FORCE_COLOR", "PYTHONWARNINGS"))
    }
    own = {"HOME": str(home), "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(ROOT)}
    own |= {"HERD_NODE_DEDICATED": "1", "SSL_CERT_FILE": os.devnull}
    return kept | own | dict(variables or {})


class Program:
    """A running command, and every line it has printed."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    async def says(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """Wait for a line that matches `pattern`: the first since the start, or the second, and so on."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = [match for line in self.lines if (match := re.search(pattern, line))]
                if len(found) >= times:
                    return found[times - 1]
                if self._reading.done():
                    raise AssertionError(f"{self.name} ended and never said {pattern!r}: {self.lines[-20:]}")
                self._news.clear()
                await self._news.wait()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.tell(number)
        return await self.ended()

    async def close(self) -> None:
        """Kill it if it still runs. Whatever happened to it, it must not have shown a traceback or a warning."""
        if self.running:
            self.tell(signal.SIGKILL)
        await self.ended()
        signs = r"Traceback|\w+Warning:|dead letter(?! \(cancelled)|never retrieved"  # whose caller left is no loss
        bad = [line for line in self.lines if re.search(signs, line)]
        assert not bad, f"{self.name} printed {bad}"

    async def _read(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        while line := await stdout.readline():
            text = line.decode(errors="replace").rstrip()
            sys.stdout.write(f"{self.name} | {text}\n")
            self.lines.append(text)
            self._news.set()
        self._news.set()


class Programs:
    """Starts programs; leaving the block ends them all, by their process ids.

    Args:
        home: the directory that they take for the home directory.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[Program] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complaints = await asyncio.gather(*(program.close() for program in self._started), return_exceptions=True)
        for complaint in complaints:
            if complaint is not None and error is None:
                raise complaint

    async def start(
        self, name: str, words: Sequence[str], variables: Mapping[str, str] | None = None, *, stdin: int | None = None
    ) -> Program:
        """Start a command line; standard output and standard error are one stream here."""
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.home,
            env=environment(self.home, variables),
        )
        program = Program(name, process)
        self._started.append(program)
        return program

    async def herd(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Program:
        """`herd ...`."""
        return await self.start("herd", command("herd", *arguments), variables)

    async def herd_node(
        self, *arguments: str, name: str = "herd-node", variables: Mapping[str, str] | None = None
    ) -> Program:
        """`herd-node ...`; `name` is only for the log."""
        return await self.start(name, command("herd-node", *arguments), variables)
