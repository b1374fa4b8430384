"""A comparison as a page of Markdown, losses as prominent as wins; and as a document for JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from herd.simulation.comparison import prose
from herd.simulation.comparison.figures import COLUMNS, HEADLINE, NOTHING, Column
from herd.simulation.comparison.policies import POLICIES
from herd.simulation.comparison.resampling import FEWEST, Estimate, Verdict
from herd.simulation.comparison.runs import GENERATOR, Plan, Run, percent
from herd.simulation.comparison.standings import (
    CANDIDATE,
    ORACLE,
    REFERENCE,
    Aim,
    Case,
    Standing,
    aims,
    by_figure,
    by_other,
    times,
)
from herd.simulation.runs.households import Household

# Aims are for the headline; what the mean over the served alone and the whole answer say of them stands beside it.
AIMED = tuple(one for one in COLUMNS if one.key in {"first_token_counted", "first_token", "answer_counted"})
# What a policy may lose by while it wins by the headline.
FURTHER = tuple(
    one
    for one in COLUMNS
    if one.key
    in {"first_token", "answer_counted", "everybody", "jobs", "slowdown", "not_served", "cold_loads", "in_the_way"}
)


def command(plan: Plan, report: str = "") -> str:
    """The line that gives this comparison again. Files by their names alone: where they lie is the reader's affair."""
    words = ["herd simulate --compare", "all" if plan.policies == tuple(POLICIES) else ",".join(plan.policies)]
    words.append(f"--load {','.join(f'{100 * load:.4g}' for load in plan.loads)}")
    words.append(f"--seeds {plan.seeds} --seed {plan.first_seed} --hours {plan.hours:g}")
    usual = Household()
    for name in ("nodes", "models", "clients", "parallel"):
        own = getattr(plan.size, name)
        words += [f"--{name} {own}"] * (own != getattr(usual, name))
    words += ["--no-owners"] * (not plan.size.owners)
    words += [f"--trace {plan.trace.name}"] if plan.trace is not None else []
    return " ".join(words + ([f"--report {report}"] if report else []))


def markdown(plan: Plan, found: Sequence[Standing], *, report: str = "", plots: Sequence[tuple[str, str]] = ()) -> str:
    """The page.

    Args:
        plan: what was compared.
        found: how the policies stand.
        report: the page's file, for the command.
        plots: what each picture shows, and its file.
    """
    parts = [
        "# Routing quality",
        "This page is the output of one command, and is not edited:",
        f"    {command(plan, report)}",
        _scope(plan),
        *_summary(plan, found),
    ]
    for workload in plan.workloads:
        parts.append(f"## {_title(plan, workload)}")
        for one in found:
            if one.workload == workload:
                parts += [f"### {one}", _offered(one), _table(one), *_ratios(one)]
    parts += ["## Aims", prose.AIMS, _aims_table(aims(found, AIMED))]
    if plots:
        parts.append("## Plots")
        parts += [f"![{what}]({file})\n\n{what}." for what, file in plots]
    parts += ["## How it is measured", prose.METHOD, _policies(plan), prose.CAPACITY, prose.FIGURES, prose.INTERVALS]
    if plan.trace is not None:
        parts.append(prose.TRACE)
    return "\n\n".join(parts) + "\n"


def document(plan: Plan, runs: Sequence[Run], found: Sequence[Standing]) -> dict[str, Any]:
    """Everything, for JSON: the same to the letter for the same plan."""
    size = plan.size
    return {
        "command": command(plan),
        "policies": {name: POLICIES[name].what for name in plan.policies},
        "loads": sorted(plan.loads),
        "seeds": {"first": plan.first_seed, "count": plan.seeds},
        "hours": plan.hours,
        "fleet": {key: getattr(size, key) for key in ("nodes", "models", "clients", "parallel", "owners")},
        "trace": plan.trace.name if plan.trace is not None else None,
        "runs": [asdict(one.cell) | _rounded(asdict(one.figures)) for one in in_reading_order(plan, runs)],
        "ratios": [
            {"workload": one.workload, "load": one.load, "policy": own, "to": other, "figure": HEADLINE.key}
            | _estimate(one.ratio(own, other))
            for one in found
            for other in _references(one)
            for own in one.runs
            if own != other
        ],
        "aims": [{"aim": one.text, "outcome": one.outcome.value, "number": one.number} for one in aims(found, AIMED)],
    }


def in_reading_order(plan: Plan, runs: Sequence[Run]) -> list[Run]:
    """By workload, load, seed and policy, whichever ended first."""
    places = {name: place for place, name in enumerate(plan.policies)}
    return sorted(runs, key=lambda one: (one.cell.workload, one.cell.load, one.cell.seed, places[one.cell.policy]))


def _estimate(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {"ratio": None, "low": None, "high": None, "verdict": None}
    known = {"ratio": estimate.value, "low": estimate.low, "high": estimate.high}
    return _rounded(known) | {"verdict": estimate.verdict.value}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, which the interval of a single seed has: it is null."""
    return {
        key: (round(value, 6) if abs(value) < float("inf") else None) if isinstance(value, float) else value
        for key, value in values.items()
    }


# --- In short ---------------------------------------------------------------------------------------------------------


def _scope(plan: Plan) -> str:
    size = plan.size
    last = plan.first_seed + plan.seeds - 1
    seeds = f"seeds {plan.first_seed} to {last}" if plan.seeds > 1 else f"seed {last}"
    owners = "their owners" if size.owners else "no owners"
    count = "1 seed is" if plan.seeds == 1 else f"{plan.seeds} seeds are"
    few = "" if plan.seeds >= FEWEST else f" **{count} too few for any conclusion.**"
    return (
        f"{len(plan.policies)} policies, {seeds}, {plan.hours:g} hours from Monday 9:00 each: {size.nodes} machines "
        f"with {owners}, {size.models} models, {size.clients} people and half as many programs.{few}"
    )


def _summary(plan: Plan, found: Sequence[Standing]) -> Iterator[str]:
    yield "## In short"
    yield prose.HEADLINE
    yield "\n".join(["So long people waited for the first token, counted, on average:", "", *map(_waited, found)])
    lines = [f"- **{one.outcome}**: {one.text}: {one.number}" for one in aims(found, [HEADLINE])]
    yield "\n".join(["[Aims](#aims), by this figure:", "", *lines])
    for own in (REFERENCE, CANDIDATE):
        if own in plan.policies and len(plan.policies) > 1:
            yield from _lists(f"`{own}`", by_other(found, own))
    if REFERENCE in plan.policies and any(one.best_baseline for one in found):
        yield from _lists(f"`{REFERENCE}` by other figures, beside the best baseline,", by_figure(found, FURTHER))


def _waited(one: Standing) -> str:
    best = one.best_baseline
    names = [name for name in dict.fromkeys((REFERENCE, CANDIDATE, best, ORACLE)) if name in one.runs]
    told = [
        f"{HEADLINE.over(one.runs[name])} s with `{name}`" + (" (the best baseline)" if name == best else "")
        for name in names or one.runs
    ]
    return f"- {one}: {', '.join(told)}"


def _lists(who: str, cases: Sequence[Case]) -> Iterator[str]:
    """What a policy loses, wins and leaves open, in this order."""
    for verdict, title in (
        (Verdict.WORSE, f"Where {who} loses"),
        (Verdict.BETTER, f"Where {who} wins"),
        (Verdict.OPEN, f"Where it is open for {who.rstrip(',')}"),
    ):
        # The greatest first, of losses and wins alike.
        own = sorted((one for one in cases if one.ratio.verdict is verdict), key=lambda one: -abs(one.ratio.value - 1))
        lines = [f"### {title}", "", f"{len(own)} of {len(cases)} comparisons{':' if own else '.'}", ""]
        for group in dict.fromkeys(one.group for one in cases):
            told = [f"{one.where} {times(one.ratio)}" for one in own if one.group == group]
            lines += [f"- {group}: {'; '.join(told)}"] * bool(told)
        yield "\n".join(lines).rstrip()


# --- Tables -----------------------------------------------------------------------------------------------------------


def _title(plan: Plan, workload: str) -> str:
    if workload == GENERATOR or plan.trace is None:
        return "The generator's requests"
    return f"The trace `{plan.trace.name}`"


def _offered(one: Standing) -> str:
    real = one.offered
    requests = [figures.requests for figures in next(iter(one.runs.values()))]
    return (
        f"The requests came to {percent(fmean(real))} of the capacity ({percent(min(real))} to {percent(max(real))} "
        f"from seed to seed), {fmean(requests):.0f} a run ({min(requests)} to {max(requests)}). Means over the seeds:"
    )


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + ("---:|" if numbers else "---|") * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _table(one: Standing) -> str:
    rows = [[f"`{name}`", *(column.over(runs) for column in COLUMNS)] for name, runs in one.runs.items()]
    return _grid(["policy", *(column.name for column in COLUMNS)], rows)


def _references(one: Standing) -> list[str]:
    wanted = (REFERENCE, one.best_baseline, ORACLE)
    return list(dict.fromkeys(name for name in wanted if name is not None and name in one.runs))


def _ratios(one: Standing) -> Iterator[str]:
    references = _references(one)
    if not references or len(one.runs) < 2:
        return
    best = one.best_baseline
    names = [f"to `{name}`" + (" (the best baseline)" if name == best else "") for name in references]
    rows = [
        [f"`{own}`", *(NOTHING if own == other else _cell(one.ratio(own, other)) for other in references)]
        for own in one.runs
    ]
    yield f"Ratios of the means of the {HEADLINE.label}, with 95 % intervals:"
    yield _grid(["policy", *names], rows)
    if REFERENCE in one.runs:
        yield f"Ratios to `{REFERENCE}` by other figures:"
        yield _grid(
            ["policy", *(column.label for column in FURTHER)],
            [_further(one, own, FURTHER) for own in one.runs if own != REFERENCE],
        )


def _further(one: Standing, own: str, columns: Sequence[Column]) -> list[str]:
    return [f"`{own}`", *(_cell(one.ratio(own, REFERENCE, column)) for column in columns)]


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    verdict = estimate.verdict
    return f"{times(estimate)} " + (verdict.value if verdict is Verdict.OPEN else f"**{verdict.value}**")


def _aims_table(wanted: Sequence[Aim]) -> str:
    rows = [[one.text, f"**{one.outcome}**", one.number] for one in wanted]
    return _grid(["aim", "outcome", "number"], rows, numbers=False)


def _policies(plan: Plan) -> str:
    rows = [[f"`{name}`", POLICIES[name].what] for name in plan.policies]
    return _grid(["policy", "what it does"], rows, numbers=False)
