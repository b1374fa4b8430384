"""Actors in twenty lines: a plain class, started by name, asked, told, and stopped.

python examples/counter.py
"""

import asyncio

from herd.runtime import context, get_actor, remote, stop


class Counter:
    """Counts what it is told. Between two awaits nothing else of it runs, so it needs no lock."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> int:
        """A `def` handler runs at once and undivided."""
        self.total += number
        return self.total

    async def report_after(self, seconds: float) -> str:
        """An `async def` handler runs in a task: others go on while it waits."""
        await asyncio.sleep(seconds)
        return f"{context(self).name} stands at {self.total}"


async def main() -> list[str]:
    """Start, ask, tell, stop; what was said."""
    counter = remote(Counter).options(name="visits").remote()
    said = [f"asked: {await counter.add.remote(2)}"]
    report = counter.report_after.remote(0.01)
    get_actor("visits").add.tell(3)
    said.append(f"reported: {await report}")
    await stop(counter)
    return said


if __name__ == "__main__":
    print("\n".join(asyncio.run(main())))
