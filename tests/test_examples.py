"""Every example runs."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_the_example_runs_and_says_something(example: Path) -> None:
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)

    assert done.returncode == 0, done.stderr
    assert done.stdout
    # A busy machine may take long over any handler, and the runtime says so.
    assert [line for line in done.stderr.splitlines() if "held the loop" not in line] == []
