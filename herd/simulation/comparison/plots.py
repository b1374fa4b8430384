"""Pictures of a comparison, as SVG. Needs the extra `plots`; the same comparison gives the same bytes."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from herd.simulation.comparison.figures import COUNTED_S
from herd.simulation.comparison.resampling import FEWEST
from herd.simulation.comparison.runs import Plan, percent
from herd.simulation.comparison.standings import REFERENCE, Standing

# Letters stay letters, and ids follow from what is drawn, not from chance.
_STYLE = {"svg.hashsalt": "herd", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
_COLOURS = [mpl.colormaps["tab20"](number) for number in range(20)]
_MARKERS = "osD^v<>PX*"


def draw(plan: Plan, found: Sequence[Standing], report: Path) -> Iterator[tuple[str, str]]:
    """Write the pictures beside the report; what each shows, and its file's name.

    Raises:
        OSError: a file cannot be written.
    """
    with mpl.rc_context(_STYLE):
        for workload in plan.workloads:
            own = [one for one in found if one.workload == workload]
            wanted = [("by load", f"{workload}", _by_load(plan, own))]
            if REFERENCE in plan.policies and len(plan.policies) > 1:
                wanted.append(("seed by seed", f"{workload}-ratios", _by_seed(plan, own)))
            for what, name, figure in wanted:
                path = report.with_name(f"{report.stem}-{name}.svg")
                FigureCanvasSVG(figure)
                figure.savefig(path, metadata={"Date": None, "Creator": None})
                text = (
                    "Mean time to the first token, counted" if what == "by load" else f"The same over `{REFERENCE}`'s"
                )
                band = "bands are 95 % intervals" if what == "by load" else "a dot a seed, lines are 95 % intervals"
                yield f"{text}, {workload}, {what}: {band}", path.name


def _by_load(plan: Plan, found: Sequence[Standing]) -> Figure:
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for number, policy in enumerate(plan.policies):
        known = [(100 * one.load, estimate) for one in found if (estimate := one.mean(policy)) is not None]
        loads = [load for load, _ in known]
        colour = _COLOURS[number % len(_COLOURS)]
        means = [estimate.value for _, estimate in known]
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(loads, means, color=colour, marker=marker, markersize=4, label=policy)
        if plan.seeds >= FEWEST:
            lows, highs = [estimate.low for _, estimate in known], [estimate.high for _, estimate in known]
            axes.fill_between(loads, lows, highs, color=colour, alpha=0.1, linewidth=0)
    axes.set_xlabel("load (% of the fleet's capacity)")
    axes.set_ylabel(f"mean time to first token (s), not served = {COUNTED_S:g} s")
    axes.set_yscale("log")
    _few_ticks(axes.yaxis)
    axes.set_xticks([100 * one.load for one in found])
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _by_seed(plan: Plan, found: Sequence[Standing]) -> Figure:
    others = [name for name in plan.policies if name != REFERENCE]
    figure = Figure(figsize=(3 + 2.4 * len(found), 1.2 + 0.32 * len(others)), layout="constrained")
    row = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    for axes, one in zip(row, found, strict=True):
        _dots(axes, one, others)
    row[0].set_yticks(range(len(others)), others)
    row[0].set_ylim(len(others) - 0.5, -0.5)
    text = f"mean time to first token over that of {REFERENCE} (right of 1: {REFERENCE} is better)"
    figure.supxlabel(text, fontsize="medium")
    return figure


def _dots(axes: Axes, one: Standing, others: Sequence[str]) -> None:
    axes.axvline(1.0, color="0.6", linewidth=1)
    for place, name in enumerate(others):
        ratios = one.ratios(name, REFERENCE)
        axes.plot(ratios, [place] * len(ratios), "o", color="0.35", alpha=0.45, markersize=3, linewidth=0)
        estimate = one.ratio(name, REFERENCE)
        if estimate is not None:
            axes.plot([estimate.value], [place], "|", color="C3", markersize=11, markeredgewidth=2)
            if math.isfinite(estimate.low):
                axes.plot([estimate.low, estimate.high], [place, place], color="C3", linewidth=1.5)
    axes.set_xscale("log")
    _few_ticks(axes.xaxis)
    axes.tick_params(axis="x", labelsize="small")
    axes.set_title(percent(one.load), fontsize="medium")


def _few_ticks(axis: Axis) -> None:
    """Plain numbers, at 1, 2 and 5 of each power of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
