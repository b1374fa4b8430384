"""Processes that run simulations end with the command that started them, however that ends."""

import signal
from multiprocessing import parent_process
from multiprocessing.connection import wait
from threading import Thread


def end_with_the_parent() -> None:
    """In a worker: when the parent is gone, without a word to it, so is this; else it would wait for work for ever."""
    Thread(target=_watch_the_parent, daemon=True).start()


def _watch_the_parent() -> None:
    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGTERM)
