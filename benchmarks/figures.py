"""The tables: medians over the rounds, and ratios to the aiohttp hop."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.load import Found
from benchmarks.measures import Measure, Memory
from benchmarks.targets import DIRECT, HERD, HOP

WAYS = (DIRECT, HOP, HERD)
OWN = ("hop", "router", "agent")  # the processes that a hop adds; the others are the ends of the way

Rounds = Mapping[str, Sequence[Found]]  # by way


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a run has found."""

    measures: Sequence[Measure]
    found: Mapping[str, Rounds]  # by measure
    memory: Sequence[Memory] = ()

    def markdown(self) -> str:
        """The table for the README, then the details."""
        sections = [self._summary(), self._details()] if self.found else []
        if self.memory:
            sections.append(_memory_table(self.memory))
        return "\n\n".join(sections)

    # --- the README's table -------------------------------------------------------------------------------------------

    def _summary(self) -> str:
        rows = [row for measure in self.measures for row in _rows(measure, self.found[measure.name])]
        if self.memory:
            drifts = " / ".join(f"{memory.process} {memory.drift:.1%}" for memory in self.memory)
            rows.append(f"| drift of resident memory over all small requests | | | {drifts} | |")
        return _table("| | direct | aiohttp hop | herd + herd-node | herd / hop |", "|---|---:|---:|---:|---:|", rows)

    # --- the details --------------------------------------------------------------------------------------------------

    def _details(self) -> str:
        head = "| CPU µs per | way | load | backend | hop | router | agent | per second | lowest to highest |"
        rows = []
        for measure in self.measures:
            for way, rounds in self.found[measure.name].items():
                cells = [
                    f"{median(_cpu(found, (process,)) for found in rounds):.1f}" if process in rounds[0].cpu else ""
                    for process in ("load", "backend", *OWN)
                ]
                rates = sorted(found.units / found.seconds for found in rounds)
                spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
                cells += [f"{median(rates):,.0f}", spread]
                rows.append(f"| {measure.unit}, {measure.title} | {way} | " + " | ".join(cells) + " |")
        return _table(head, "|---|---|---:|---:|---:|---:|---:|---:|---:|", rows)


def _rows(measure: Measure, rounds: Rounds) -> Iterable[str]:
    """What the README says of one measure."""
    title, unit = measure.title, measure.unit
    paced = measure.plan.rate > 0
    if paced:
        yield _row(f"{title}: broken", rounds, lambda found: found.broken, "{:,.0f}")
    yield _row(f"{title}: {unit}s/s", rounds, lambda found: found.units / found.seconds, "{:,.0f}")
    if paced:
        yield _row(f"{title}: gap p50 (ms)", rounds, lambda found: found.p50 * 1e3, "{:.1f}")
        yield _row(f"{title}: gap p99 (ms)", rounds, lambda found: found.p99 * 1e3, "{:.1f}")
    elif unit == "request" and measure.plan.connections <= 32:
        yield _added(f"{title}: added latency p50 (ms)", rounds, lambda found: found.p50 * 1e3)
        yield _added(f"{title}: added latency p99 (ms)", rounds, lambda found: found.p99 * 1e3)
    through = {way: found for way, found in rounds.items() if way != DIRECT}
    yield _row(f"{title}: CPU per {unit} (µs)", through, lambda found: _cpu(found, OWN), "{:.1f}")


def _cpu(found: Found, processes: Iterable[str]) -> float:
    """Microseconds of these processes for each request or token."""
    return sum(found.cpu.get(process, 0.0) for process in processes) / max(1, found.units) * 1e6


def _row(title: str, rounds: Rounds, value: Callable[[Found], float], style: str) -> str:
    values = {way: [value(found) for found in rounds[way]] for way in WAYS if way in rounds}
    return _line(title, values, style)


def _added(title: str, rounds: Rounds, value: Callable[[Found], float]) -> str:
    """What a way takes more than the direct one in the same round."""
    base = [value(found) for found in rounds[DIRECT]]
    values = {
        way: [value(found) - direct for found, direct in zip(rounds[way], base, strict=True)] for way in (HOP, HERD)
    }
    return _line(title, values, "{:.2f}")


def _line(title: str, values: Mapping[str, Sequence[float]], style: str) -> str:
    cells = [style.format(median(values[way])) if way in values else "" for way in WAYS]
    compared = ""
    if min(values[HOP]) > 0:
        # Round by round, so that what else the machine did weighs on both.
        compared = f"{median(herd / hop for herd, hop in zip(values[HERD], values[HOP], strict=True)):.2f}"
    return f"| {title} | " + " | ".join([*cells, compared]) + " |"


def _memory_table(memory: Sequence[Memory]) -> str:
    rows = [
        f"| {each.process} | {each.resident[0]:.1f} | {', '.join(f'{value:.1f}' for value in each.resident[1:])} "
        f"| {each.drift:.1%} |"
        for each in memory
    ]
    head = "| resident MiB | before | after each tenth of the requests | farthest from the first tenth |"
    return _table(head, "|---|---:|---|---:|", rows)


def _table(head: str, rule: str, rows: Iterable[str]) -> str:
    return "\n".join([head, rule, *rows])
