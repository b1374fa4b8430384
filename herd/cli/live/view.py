"""A picture on a terminal that is alive: it follows what happens and answers to keys."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from herd.cli.live.cells import Size
from herd.cli.live.keys import Keyboard
from herd.cli.live.screen import Row, Screen
from herd.cli.live.terminal import Terminal

# Between a key and its picture there is nothing that anybody notices, and ten pictures a second while a key is held.
KEY_PAUSE_S = 0.1

QUICK_S = 0.25  # between pictures that nobody has asked for by a key: a number that changes faster cannot be read
CALM_S = 1.0  # where each picture is much work

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


class Picture(Protocol):
    """What is shown, and what keys do."""

    @property
    def pause(self) -> float:
        """Seconds between two pictures, at least: QUICK_S or CALM_S."""

    def rows(self, size: Size) -> Sequence[Row]:
        """The picture as it is now."""

    def pressed(self, key: str) -> bool:
        """A key came; False to end."""


class LiveView:
    """Draws a picture when it has changed, after each key and resize, and at each new second: pictures hold ages.

    Args:
        terminal: it is closed at the end.
        picture: what is shown.
        interruptible: whether Ctrl-C ends it; else that is for another process on the terminal to know.
    """

    def __init__(self, terminal: Terminal, picture: Picture, *, interruptible: bool = True) -> None:
        self._terminal = terminal
        self._picture = picture
        self._interruptible = interruptible
        self._loop = asyncio.get_running_loop()
        self._screen = Screen(terminal, self._wake, self.end)
        self._keyboard = Keyboard(terminal, self._press, self.end)
        self._keys: deque[str] = deque()  # a wake-up goes through all of them, and each follows a bounded read
        self._news = asyncio.Event()
        self._changed = self._urgent = True
        self._ended = False
        self._signalled: signal.Signals | None = None
        self._drawn_at = self._loop.time() - CALM_S
        self._next_second = self._drawn_at

    def changed(self) -> None:
        """What is to be shown has changed."""
        self._changed = True
        self._wake()

    def end(self) -> None:
        """Stop showing it. Idempotent."""
        self._ended = True
        self._wake()

    async def run(self) -> signal.Signals | None:
        """Show it until it is to end: told so, by a key, by a signal, or since the terminal is gone.

        The signal, if one ended it. Raises OSError when the terminal cannot be taken.
        """
        try:
            with self._signals():
                self._take()
                while not self._ended:
                    await self._until_due()
                    self._answer_keys()
                    self._draw()
                self._leave()
        finally:
            self._keyboard.stop()
            self._screen.start_over()
            self._terminal.close()
        return self._signalled

    def _due(self) -> float:
        """When the next picture is due."""
        if self._urgent:
            return self._drawn_at + KEY_PAUSE_S
        pause = self._drawn_at + self._picture.pause
        return pause if self._changed else max(pause, self._next_second)

    async def _until_due(self) -> None:
        """Wait until a picture is due, or something has happened."""
        if self._keys:
            return
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(None if self._screen.busy else self._due()):
                await self._news.wait()

    def _draw(self) -> None:
        if self._ended or self._screen.busy or self._due() > self._loop.time():
            return
        size = self._terminal.size
        self._changed = self._urgent = False
        self._drawn_at = self._loop.time()
        self._next_second = self._drawn_at + 1.0 - time.time() % 1.0
        self._screen.draw(self._picture.rows(size), size)

    def _wake(self) -> None:
        self._news.set()

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _press(self, key: str) -> None:
        self._keys.append(key)
        self._wake()

    def _answer_keys(self) -> None:
        while self._keys and not self._ended:
            key = self._keys.popleft()
            self._urgent = True
            if key == "ctrl-l":
                self._screen.start_over()
            elif not self._picture.pressed(key):
                self.end()

    # --- the terminal, and who else wants it --------------------------------------------------------------------------

    def _take(self) -> None:
        self._terminal.take()
        self._keyboard.start()
        self._redraw()

    def _leave(self) -> None:
        self._keyboard.stop()
        self._screen.start_over()
        self._terminal.give_back()

    def _redraw(self) -> None:
        self._screen.start_over()
        self._urgent = True
        self._wake()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals are answered within the block."""
        answers: dict[str, Callable[[signal.Signals], None]] = dict.fromkeys(_ENDING, self._end_by)
        if not self._interruptible:
            answers["SIGINT"] = lambda _: None
        answers |= {"SIGWINCH": self._resized, "SIGTSTP": self._stop, "SIGCONT": self._go_on}
        known = [signal.Signals[name] for name in answers if hasattr(signal, name)]
        if sys.platform == "win32":
            for number in known:
                signal.signal(
                    number,
                    lambda *_, told=answers[number.name], number=number: self._loop.call_soon_threadsafe(told, number),
                )
            yield
            return
        for number in known:
            self._loop.add_signal_handler(number, answers[number.name], number)
        try:
            yield
        finally:
            for number in known:
                self._loop.remove_signal_handler(number)

    def _end_by(self, number: signal.Signals) -> None:
        self._signalled = number
        self.end()

    def _resized(self, _: signal.Signals) -> None:
        self._redraw()

    def _stop(self, _: signal.Signals) -> None:
        """Ctrl-Z: give the terminal back, then stop, with all that were started together with this process.

        SIGTTOU stops as SIGTSTP does, which others of the group may have put off until the terminal is given back.
        The system ignores it where no shell could continue us.
        """
        if sys.platform != "win32":
            self._leave()
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.killpg(os.getpgrp(), signal.SIGTTOU)
            self._go_on(signal.SIGCONT)

    def _go_on(self, _: signal.Signals) -> None:
        """Continued: take the terminal again, or end where it is another's now."""
        if not self._terminal.in_foreground:
            self._keyboard.stop()
            self._screen.start_over()
            self._terminal.forget()
            self.end()
        elif not self._ended:
            self._keyboard.stop()
            try:
                self._take()
            except OSError:
                self.end()
