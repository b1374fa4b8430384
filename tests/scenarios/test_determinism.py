"""The same seed gives the same decisions, byte for byte, whatever Python's own hashing does."""

import asyncio
import os
import sys
from pathlib import Path

from tests.scenarios import seeded

ROOT = Path(__file__).parents[2]


async def told_by_a_process(seed: int, hash_seed: int) -> bytes:
    """The story as another interpreter tells it, with its own order of sets."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenarios.seeded", str(seed)),
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return told


async def test_the_same_seed_decides_the_same_under_every_hash_seed() -> None:
    first, second = await asyncio.gather(told_by_a_process(7, hash_seed=1), told_by_a_process(7, hash_seed=2))
    assert first.count(b"served by") > 40
    assert b"failed: status" in first
    assert first == second


def test_another_seed_decides_otherwise() -> None:
    assert seeded.tell(1) != seeded.tell(2)
