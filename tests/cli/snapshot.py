"""Pictures that are kept beside the tests. To make them anew: SNAPSHOTS=write python -m pytest tests/cli -k snapshot"""

import os
from collections.abc import Iterable
from pathlib import Path

from rich.segment import Segment

KEPT = Path(__file__).parent / "snapshots"


def text_of(rows: Iterable[Iterable[Segment]]) -> str:
    """Rows of a screen without their colours."""
    return "".join(f"{''.join(segment.text for segment in row).rstrip()}\n" for row in rows)


def matches_snapshot(name: str, text: str) -> None:
    """Hold a picture against the one that is kept under its name."""
    file = KEPT / f"{name}.txt"
    if os.environ.get("SNAPSHOTS") == "write":
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"there is no {file.name}: run with SNAPSHOTS=write, and look at it"
    assert text == file.read_text(encoding="utf-8"), f"{file.name} differs: if that is meant, run with SNAPSHOTS=write"
