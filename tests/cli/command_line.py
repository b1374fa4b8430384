"""Runs command lines that end by themselves, in this process."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from herd.cli.scripts import HERD, HERD_NODE, prepared

_SCRIPTS = {script.name: script for script in (HERD, HERD_NODE)}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@contextmanager
def _own_logging() -> Iterator[None]:
    """Commands set up the process's logging; what pytest had set up comes back."""
    handlers, level, factory = logging.root.handlers[:], logging.root.level, logging.getLogRecordFactory()
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        logging.setLogRecordFactory(factory)


class CommandLine:
    """A terminal with nothing set in its environment that would steer Herd."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, line: str, variables: Mapping[str, str] | None = None) -> Ended:
        """Run a line such as "herd --port x"; words are separated by single spaces, "" is an empty word."""
        script, *words = line.split(" ")
        self._monkeypatch.setattr(sys, "argv", [script, *("" if word == '""' else word for word in words)])
        with self._monkeypatch.context() as patch:
            for key, value in (variables or {}).items():
                patch.setenv(key, value)
            with _own_logging(), pytest.raises(SystemExit) as ended:
                prepared(_SCRIPTS[script])()
        captured = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, captured.out, captured.err)
