"""What several commands say in the same words."""

import time
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from herd.cli.process import printable
from herd.types import GiB, Unit

# The colours of how a node stands; any other way is red.
STATES = {"ready": "green", "degraded": "yellow", "joining": "cyan", "paused": "yellow", "draining": "yellow"}

_OUTCOMES = {
    "served": ("served", "green"),
    "failed": ("failed", "red"),
    "cancelled": ("cancelled", "yellow"),
    "expired": ("given up", "red"),
    "rejected": ("refused", "red"),
    None: ("under way", "cyan"),
}

NEAR = 3  # names that somebody may have meant: more are a list to read


def clock_time(moment: float) -> str:
    """Local date and time of a moment in seconds since the Unix epoch; no year, for hardly anything lasts for one."""
    try:
        return time.strftime("%m-%d %H:%M:%S", time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return "at no time"


def hour(moment: float | None, now: float | None = None) -> str:
    """Local time of day, to the second; with `now`, to the minute, and with the date where that is another one."""
    try:
        then = time.localtime(moment if moment is not None else float("nan"))
        if now is None:
            return time.strftime("%H:%M:%S", then)
        today = time.localtime(now)[:3] == then[:3]
    except (OverflowError, ValueError, OSError):
        return "--:--:--" if now is None else "--:--"
    return time.strftime("%H:%M" if today else "%m-%d %H:%M", then)


def times_of(reason: dict[str, Any]) -> str:
    """` since 11-29 10:00:00 until 11-29 12:00:00`, as far as a reason has such times."""
    times = ((word, reason.get(word)) for word in ("since", "until"))
    return "".join(f" {word} {clock_time(moment)}" for word, moment in times if isinstance(moment, int | float))


def dated(text: str, times: str) -> str:
    """`is offline since 10:00:00: the link was lost`: a reason with its times, which are those of its beginning."""
    what, colon, cause = text.partition(": ")
    return f"{what}{times}{colon}{cause}"


def gib(size: int) -> str:
    """`8.0 GiB`, of bytes."""
    return f"{size / GiB:.1f} GiB"


def work(unit: str, amount: float) -> str:
    """`4.2 megapixel-steps`, `74 s of sound`: work that is not counted in tokens; `unit` as in JSON."""
    if unit == Unit.PIXEL_STEP:
        return f"{amount / 1000:.1f} megapixel-steps"
    return f"{amount / 100:.0f} s of sound" if unit == Unit.AUDIO_FRAME else f"{amount:.0f} {printable(unit)}s"


def work_speed(unit: str, rate: float) -> str:
    """`2.1 s per megapixel-step`, `14x real time`: how fast that is done, in units a second."""
    if unit == Unit.PIXEL_STEP:
        seconds = 1000 / rate
        return f"{seconds:.{2 if seconds < 1.0 else 1}f} s per megapixel-step"
    if unit == Unit.AUDIO_FRAME:
        times = rate / 100
        return f"{times:.{1 if times < 10.0 else 0}f}x real time"
    return f"{rate:.1f} {printable(unit)}s/s"


def reached(step: int, steps: int) -> str:
    """`, step 4 of 9`: how far a model is with an image; empty where it makes none."""
    return f", step {step} of {steps}" if steps else ""


def ended(outcome: str | None) -> tuple[str, str]:
    """How a request ended, and the colour of that; None: it has not."""
    return _OUTCOMES.get(outcome, (printable(str(outcome)), ""))


def asked_for(model: str, served: str | None) -> str:
    """`gpt-4o, by qwen3:32b` where another model serves a request than the one it asked for."""
    return f"{model}, by {served}" if served is not None else model


def count_of(number: int, thing: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def meant(name: str, known: Iterable[str]) -> str:
    """`: did you mean llama3.2:3b?`; empty where no name is near."""
    near = get_close_matches(name, list(known), NEAR)
    return f": did you mean {' or '.join(printable(each) for each in near)}?" if near else ""
