"""The contenders' processes: started, told what to do, and ended whatever happens."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.programs import ROOT, SHOWN_LINES, BenchmarkFailed
from benchmarks.runtime_contenders import Contender

# The longest step, a hundred thousand actors of the slowest contender, takes some ten seconds. A machine that compiles
# something else may take many times that.
STEP_S = 300.0
END_S = 15.0  # Ray takes two seconds


class ContenderProcess:
    """One contender. Leaving the block ends it."""

    def __init__(self, contender: type[Contender], loop: str, home: Path) -> None:
        self.contender = contender
        self._log = home / f"{contender.name}.log"
        words = [sys.executable, "-m", "benchmarks.runtime_worker", contender.name, loop]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=home,
                env=_environment(home),
                start_new_session=True,  # Ctrl-C comes to this process alone, which ends the others
            )

    def do(self, step: str, **arguments: Any) -> dict[str, float]:
        """Carry out a step of `runtime_worker.Worker`: what it found. Raises BenchmarkFailed."""
        timer = threading.Timer(STEP_S, self._process.kill)
        timer.start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([step, arguments]).encode() + b"\n")
            self._process.stdin.flush()
            reply = self._process.stdout.readline()
        except BrokenPipeError:
            reply = b""
        finally:
            timer.cancel()
        if not reply:
            raise BenchmarkFailed(f"{self.contender.name} ended at {step} {arguments}:\n{self._tail()}")
        found: dict[str, float] = json.loads(reply)
        return found

    def end(self) -> None:
        """Nothing more is to be done. Kills it if it does not end."""
        try:
            self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _environment(home: Path) -> dict[str, str]:
    """This process's environment without what would steer Herd, and with this checkout's modules.

    Ray does not listen on other interfaces than loopback when it is told to be a cluster of one machine.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HERD_", "RAY_"))}
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    return kept | ray | {"HOME": str(home), "PYTHONPATH": str(ROOT)}
