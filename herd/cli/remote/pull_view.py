"""What a pull says of itself, as a person reads it: a bar for each part on a terminal, lines on a pipe."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from herd.cli.process import printable
from herd.types import MiB

# A line for each of these shares is enough to see on a pipe that it goes on.
_STEP = 0.1
# A model has a handful of parts: what says more is not believed.
MAX_PARTS = 64
_SHOWN_DIGEST = 12  # digits that tell one part from another, as Ollama shows them


class View(Protocol):
    """Shows how far a pull is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, line: Mapping[str, Any]) -> None:
        """Take one line of the stream."""


class Lines:
    """On a pipe: a line for each thing that is done, and one for each tenth of a part."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, int] = {}  # by part, the steps that were told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def show(self, line: Mapping[str, Any]) -> None:
        """Say it, unless it has been said."""
        part, done, total = what_of(line), *amounts_of(line)
        step = int(done / total / _STEP) if total else 0
        if not part or self._said.get(part, -1) >= step or (part not in self._said and len(self._said) >= MAX_PARTS):
            return
        self._said[part] = step
        share = f" {step * _STEP:.0%} of {total / MiB:.0f} MiB" if total else ""
        self._console.print(f"{part}{share}", markup=False, soft_wrap=True)


class Bars:
    """On a terminal: a bar for each part, and above them what has been done."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
        self._progress = Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console)
        self._tasks: dict[str, TaskID] = {}
        self._said = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, line: Mapping[str, Any]) -> None:
        """Move a bar, or say what is being done."""
        part, done, total = what_of(line), *amounts_of(line)
        if total:
            if part not in self._tasks and len(self._tasks) < MAX_PARTS:
                self._tasks[part] = self._progress.add_task(escape(part), total=total)
            if part in self._tasks:
                self._progress.update(self._tasks[part], completed=done, total=total)
        elif part and part != self._said:
            self._said = part
            self._progress.console.print(part, markup=False, highlight=False)


def what_of(line: Mapping[str, Any]) -> str:
    """What a line tells of: `pulling dde5aa3fc5ff`, `verifying sha256 digest`."""
    status, digest = line.get("status"), line.get("digest")
    if isinstance(digest, str) and digest:
        return f"pulling {printable(digest.removeprefix('sha256:')[:_SHOWN_DIGEST])}"
    return printable(status) if isinstance(status, str) else ""


def amounts_of(line: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes that are there, and bytes in all; 0 in all where it tells of none."""
    total, done = line.get("total"), line.get("completed")
    if not isinstance(total, int) or isinstance(total, bool) or total <= 0:
        return 0, 0
    return (min(max(done, 0), total) if isinstance(done, int) else 0), total
