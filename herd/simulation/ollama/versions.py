"""Which versions of Ollama make pictures, and which understand speech (https://github.com/ollama/ollama/releases)."""

import re

_PAINTS_SINCE, _EDITS_SINCE, _PAINTS_UNTIL = (0, 14, 3), (0, 15, 0), (0, 32, 5)
_HEARS_SINCE = (0, 20, 0)


def knows_painters(version: str) -> bool:
    """It has heard of models for images; a later one than those that run them refuses them by name."""
    return _number(version) >= _PAINTS_SINCE


def paints(version: str) -> bool:
    """It makes pictures."""
    return _PAINTS_SINCE <= _number(version) <= _PAINTS_UNTIL


def edits(version: str) -> bool:
    """It changes pictures."""
    return _EDITS_SINCE <= _number(version) <= _PAINTS_UNTIL


def hears(version: str) -> bool:
    """It writes down what is said in a recording."""
    return _number(version) >= _HEARS_SINCE


def _number(version: str) -> tuple[int, ...]:
    """The three numbers that a version begins with."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
