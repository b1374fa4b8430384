"""A small live view for tests: `python -m tests.cli.a_view`. It shows its size and the keys that were pressed."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style

from herd.cli.live.cells import Size
from herd.cli.live.screen import Row
from herd.cli.live.terminal import open_terminal
from herd.cli.live.view import QUICK_S, LiveView

RED = Style(color="red", bold=True)


class Keys:
    """A picture of keys, and of the time: `!` breaks it, `f` fills the screen anew each time, `q` ends it."""

    pause = QUICK_S

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.filled = False
        self.drawn = 0

    def rows(self, size: Size) -> Sequence[Row]:
        self.drawn += 1
        words = " ".join("space" if key == " " else key for key in self.keys[-5:])
        head = [
            [Segment(f"{size.width} x {size.height}", RED), Segment(f" at {int(time.time())}")],
            [Segment(f"keys: {words}.")],
        ]
        letter = chr(ord("a") + self.drawn % 26) if self.filled else " "
        body = [[Segment(letter * size.width)] for _ in range(size.height - len(head) - 1)]
        return [*head, *body, [Segment("─" * size.width)]]

    def pressed(self, key: str) -> bool:
        if key == "!":
            raise RuntimeError("this picture cannot be drawn")
        self.filled = self.filled or key == "f"
        self.keys.append(key)
        return key != "q"


async def main(*, interruptible: bool) -> None:
    terminal = open_terminal(os.environ)
    if terminal is None:
        sys.stdout.write("no terminal to draw on\n")
        return
    ended_by = await LiveView(terminal, Keys(), interruptible=interruptible).run()
    if "quiet" not in sys.argv:
        sys.stdout.write(f"ended by {ended_by.name if ended_by else 'itself'}\n")


if __name__ == "__main__":
    asyncio.run(main(interruptible="deaf" not in sys.argv))
