"""Tables that do not grow for ever."""

from typing import Any


def keep_latest(table: dict[Any, Any], most: int) -> None:
    """Forget the oldest entries of a table that is longer than it may be."""
    while len(table) > most:
        del table[next(iter(table))]
