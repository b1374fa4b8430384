"""Small pictures of numbers, and numbers in a few letters."""

import math

from herd.cli.live.cells import Look, Piece
from herd.types import GiB

_ALMOST, _FULL = 0.85, 0.95  # of a memory, from where on it is worth a colour


def bar(share: float | None, width: int, look: Look) -> tuple[Piece, ...]:
    """A share from 0 to 1 as a bar, exactly `width` cells; dots where it is not known."""
    if share is None or not math.isfinite(share):
        return ((look.glyph("·", ".") * width, "dim"),)
    share = min(1.0, max(0.0, share))
    halves = round(share * 2 * width)
    full, half = divmod(halves, 2)
    if look.plain:
        full, half = full + half, 0
    done = look.glyph("━", "=") * full + "╸" * half
    role = "bad" if share >= _FULL else "warn" if share >= _ALMOST else "good"
    return ((done, role), (look.glyph("─", "-") * (width - full - half), "dim"))


def percent(share: float | None) -> str:
    """`80%`; `?` where it is not known."""
    if share is None or not math.isfinite(share):
        return "?"
    return f"{min(9.99, max(0.0, share)) * 100:.0f}%"


def figure(value: float | None) -> str:
    """A number in at most five letters: `9.3`, `120`, `12k`; `-` where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) < 99.95:
        return f"{value:.1f}"
    return f"{value:.0f}" if abs(value) < 9999.5 else f"{value / 1000:.0f}k" if abs(value) < 999_500 else "much"


def count(value: int | None) -> str:
    """`7`; `?` where it is not known."""
    return "?" if value is None else str(value)


def seconds(value: float | None) -> str:
    """A time in at most seven letters: `0.31 s`, `12.4 s`, `3m20s`, `2h05m`; `-` where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    if value < 9.995:
        return f"{max(0.0, value):.2f} s"
    if value < 99.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 6000:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m" if whole < 360_000 else f"{whole // 86_400}d"


def age(value: float) -> str:
    """How long ago something was, or for how long it has been: `12 s`, `3 min`, `2 h`, `4 d`."""
    if not math.isfinite(value):
        return "?"
    whole = max(0, int(value))
    if whole < 7200:
        return f"{whole} s" if whole < 120 else f"{whole // 60} min"
    return f"{whole // 3600} h" if whole < 172_800 else f"{whole // 86_400} d" if whole < 10**10 else "?"


def gib(size: int) -> str:
    """Bytes as GiB: `64G`; below ten with a digit more, if there is one: `7.6G`."""
    value = size / GiB
    return f"{f'{value:.1f}'.removesuffix('.0') if value < 9.95 else round(value)}G"
