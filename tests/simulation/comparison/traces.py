"""A trace to compare policies over."""

from pathlib import Path


def trace_of(folder: Path, rows: int) -> Path:
    """A request a second; answers have one token more each time, so that a row is known by it."""
    path = folder / "trace.jsonl"
    line = '{"timestamp": %d, "input_length": 400, "output_length": %d}\n'
    path.write_text("".join(line % (1000 * number, 1 + number) for number in range(rows)))
    return path
