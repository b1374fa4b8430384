"""The tables of what is learned: which record each holds, under which key, for how long and how many.

A table whose records have a key holds the latest of each key; the traces have none, and are a log.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec

from herd.store.records import (
    KnownCalibration,
    KnownEstimate,
    KnownKeep,
    KnownLimit,
    KnownResidency,
    KnownService,
    KnownSlot,
    KnownTrace,
    KnownUnload,
)
from herd.types import Seconds

DAY_S = 86_400.0
# A machine that comes back after longer is another one, mostly, and is known anew within some tens of requests.
LEARNED_S = Seconds(180 * DAY_S)
# An hour of it matters (`PAGE_CACHE_S`), a day of it (`FORGOTTEN_S`): clocks may be wrong by some more.
UNLOADS_S, SERVICES_S = Seconds(DAY_S), Seconds(2 * DAY_S)
# They halve each day: what is older than ten of them weighs less than a thousandth of an answer.
CALIBRATIONS_S = Seconds(10 * DAY_S)
# As the product promises.
TRACES_S = Seconds(30 * DAY_S)

# Bounds against a fleet, or strangers in it, that makes up names. A house of ten nodes with twenty models each has some
# 2,400 estimates (twelve of a pair), and 200 rows or 1,680 slots in the others: each bound is ten times that, and all
# tables that are full to it take 8 MB together.
MAX_ESTIMATES = 24_000
MAX_PAIRS = 2_000
MAX_SLOTS = 168 * 100
# Of some 350 bytes each, their index included: 35 MB (`benchmarks/store.py`). 30 days of 3,300 requests, more than
# twenty people who work with it all day make of it; a busier fleet remembers fewer days.
MAX_TRACES = 100_000


@dataclass(frozen=True)
class Table:
    """One table."""

    name: str
    kind: type[Any]  # of its records, whose fields are its columns
    key: tuple[str, ...]  # empty for a log
    age: Seconds  # what is older goes
    rows: int  # of more, the oldest go
    time: str = "at"  # the column that says how old a record is

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self.kind))

    @cached_property
    def values(self) -> Any:
        """From a record to its row."""
        return attrgetter(*self.columns)

    @cached_property
    def names(self) -> str:
        """The columns, as SQL; some of them are words of that language."""
        return ", ".join(f'"{column}"' for column in self.columns)

    def records(self, rows: Iterable[tuple[object, ...]]) -> Iterator[Any]:
        """From rows to their records. What is no record is none of ours: a disk that loses bits made it."""
        for row in rows:
            with suppress(msgspec.ValidationError):
                yield msgspec.convert(dict(zip(self.columns, row, strict=True)), self.kind, strict=False)

    @cached_property
    def insert(self) -> str:
        """Takes the place of the record with the same key."""
        return f'insert or replace into "{self.name}" ({self.names}) values ({", ".join("?" * len(self.columns))})'  # noqa: S608


ESTIMATES = Table("estimates", KnownEstimate, ("node", "model", "what", "streams"), LEARNED_S, MAX_ESTIMATES)
CALIBRATIONS = Table("calibrations", KnownCalibration, ("node", "model"), CALIBRATIONS_S, MAX_PAIRS)
RESIDENCIES = Table("residencies", KnownResidency, ("model",), LEARNED_S, MAX_PAIRS)
UNLOADS = Table("unloads", KnownUnload, ("node", "model"), UNLOADS_S, MAX_PAIRS)
LIMITS = Table("limits", KnownLimit, ("node", "model"), LEARNED_S, MAX_PAIRS)
SERVICES = Table("services", KnownService, ("node", "model"), SERVICES_S, MAX_PAIRS)
KEEPS = Table("keeps", KnownKeep, ("node", "model"), LEARNED_S, MAX_PAIRS)
SLOTS = Table("slots", KnownSlot, ("node", "slot"), LEARNED_S, MAX_SLOTS)
TRACES = Table("traces", KnownTrace, (), TRACES_S, MAX_TRACES, time="arrived")

KEYED = (ESTIMATES, CALIBRATIONS, RESIDENCIES, UNLOADS, LIMITS, SERVICES, KEEPS, SLOTS)
TABLES = {table.kind: table for table in (*KEYED, TRACES)}
