"""A week as a picture: what the owner of a machine is expected to take of it, hour by hour."""

from collections.abc import Sequence

from herd.cli.live.cells import Line, Look, Piece, Row

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS = 24

# The owner's load in five steps of a fifth of the machine; two letters an hour make the picture about as wide as long.
_SHADES, _PLAIN_SHADES, _ROLES = "·░▒▓█", ".-+*#", ("good", "good", "warn", "bad", "bad")
UNKNOWN = "?"
_LITTLE = 0.05  # confidence: with less an hour is as good as unknown

_MARGIN = 6  # cells: a sign for today, and the name of the day
WIDE, NARROW = _MARGIN + 2 * HOURS, _MARGIN + HOURS  # of the picture
ROWS = 1 + len(DAYS)


def shade(load: float | None, confidence: float, look: Look) -> Piece:
    """An hour as a letter, and its role."""
    if load is None or confidence < _LITTLE:
        return UNKNOWN, "dim"
    shades = look.glyph(_SHADES, _PLAIN_SHADES)
    step = max(0, min(int(load * len(shades)), len(shades) - 1))
    return shades[step], _ROLES[step]


def legend(look: Look, between: str = "  ") -> str:
    """What the letters mean."""
    shades = look.glyph(_SHADES, _PLAIN_SHADES)
    return between.join(f"{letter} {20 * step}-{20 * step + 20}%" for step, letter in enumerate(shades))


def week_rows(
    load: Sequence[float | None], confidence: Sequence[float], now: int | None, width: int, look: Look
) -> list[Row]:
    """The picture: a row of hours, in which the one that it is now is marked, and a row for each day.

    Args:
        load: of each hour of the week, 0 to 1; None where it is not known.
        confidence: in that.
        now: the hour of the week.
        width: two letters an hour where `WIDE` fits, else one.
        look: of the terminal.
    """
    letters = 2 if width >= WIDE else 1
    today, this_hour = divmod(now, HOURS) if now is not None else (None, None)
    head = Line(look, width).add(" " * _MARGIN)
    for hour in range(0, HOURS, 3):
        if this_hour is not None and hour <= this_hour < hour + 3:
            head.add(" " * letters * (this_hour - hour)).add(look.glyph("▾", "v") * letters, "title")
            head.add(" " * letters * (hour + 2 - this_hour))
        else:
            head.add(f"{hour:<{3 * letters}}", "dim")
    rows = [head.row()]
    for day, name in enumerate(DAYS):
        line = Line(look, width).add(f"{'>' if day == today else ' '} {name} ", "bold" if day == today else "")
        for hour in range(day * HOURS, (day + 1) * HOURS):
            letter, role = shade(load[hour], confidence[hour], look)
            line.add(letter * letters, "cursor" if hour == now else role)
        rows.append(line.row())
    return rows
