"""How far the simulator's generated workload is from a trace, and the figures that would fit it to that trace.

    python benchmarks/workload_fit.py TRACE [--runs N] [--swing]

TRACE is a file of the Azure Public Dataset (CSV) or of Mooncake (JSON lines). The figures in `herd/simulation` are
those of Azure's AzureLLMInferenceTrace_conv.csv. The generator is given the trace's rate, even hours, many clients and
no jobs, so that what is compared is what was fitted: lengths, gaps, and how uneven the counts are.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import correlation, mean, stdev, variance

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

from benchmarks.talk import progress
from herd.errors import ConfigError
from herd.simulation.workload.arrivals import EVEN_WEEK, Swing
from herd.simulation.workload.generator import WorkloadSettings, generate
from herd.simulation.workload.lengths import CONVERSATION, LEAST_TO_FIT, Lengths, fit, quantiles
from herd.simulation.workload.traces import read_trace, stretched
from herd.types import Seconds

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)

# Windows that hold so many requests on average, as long as there are so many windows: fewer say little of a variance.
WINDOW_REQUESTS = (5, 10, 25, 50, 150, 300, 600, 1500)
LEAST_WINDOWS = 10

SHORT_ANSWER = 20  # tokens: a title, a yes or no

# A service has so many clients that no one of them is seen in its rate, and one model with room for every prompt.
CLIENTS = 2000
MODEL = "llama3.2:3b"

SWINGS = tuple(Swing(depth, Seconds(dwell)) for depth, dwell in product((0.1, 0.2, 0.3, 0.4, 0.5), (250, 500, 1000)))


@dataclass(frozen=True, slots=True)
class Load:
    """Requests as they are compared: when, in order and since the beginning, and (prompt, answer) of each."""

    times: Sequence[float]
    lengths: Sequence[tuple[int, int]]

    @property
    def rate(self) -> float:
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="workload_fit.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trace", type=Path, metavar="TRACE", help="a trace's file")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="generated runs to take the mean of (5)")
    parser.add_argument("--swing", action="store_true", help="search for the swing that fits best, too: some minutes")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs needs a number from 1 on")
    try:
        trace = load(options.trace)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    fitted = fit(trace.lengths)
    progress(f"generating {2 * options.runs} times {len(trace.times):,} requests")
    shipped = [generated(seed, trace, CONVERSATION, Swing()) for seed in range(options.runs)]
    own = [generated(seed, trace, fitted, Swing()) for seed in range(options.runs)]
    print(f"{len(trace.times):,} requests in {trace.times[-1]:,.0f} s, {trace.rate:.2f} a second", end="\n\n")
    print(table(trace, {"generator": shipped, "fitted to this trace": own}), end="\n\n")
    print(f"lengths that fit: {fitted}")
    if options.swing:
        print(f"swing that fits: {best_swing(trace, fitted, options.runs)}")
    return 0


def load(path: Path) -> Load:
    """A trace, at its own pace. Raises ConfigError if it cannot be read, or is too short to fit anything to."""
    rows = read_trace(path)
    if len(rows) < LEAST_TO_FIT or rows[-1].at <= 0:
        raise ConfigError(f"{path} has {len(rows)} requests, too few: take a trace of {LEAST_TO_FIT} or more")
    rows = stretched(rows, rate=len(rows) / rows[-1].at)
    return Load([row.at for row in rows], [(row.prompt, row.completion) for row in rows])


def generated(seed: int, like: Load, lengths: Lengths, swing: Swing) -> Load:
    """A run as long as that load, at its rate."""
    settings = WorkloadSettings(
        Seconds(like.times[-1]),
        len(like.times),
        {MODEL: 1.0},
        CLIENTS,
        batch=0.0,
        embedding=0.0,
        week=EVEN_WEEK,
        lengths=lengths,
        swing=swing,
    )
    requests = generate(seed, settings)
    return Load([request.at for request in requests], [(request.prompt, request.completion) for request in requests])


def best_swing(trace: Load, lengths: Lengths, runs: int) -> Swing:
    """Of `SWINGS` the one whose counts are uneven as the trace's: least squares of the logarithms, over all windows."""

    def miss(swing: Swing) -> float:
        progress(f"trying {swing}")
        loads = [generated(seed, trace, lengths, swing) for seed in range(runs)]
        found = [mean(dispersion(load.times, window) for load in loads) for window in windows]
        return sum((math.log(one) - math.log(other)) ** 2 for one, other in zip(found, wanted, strict=True))

    windows = [requests / trace.rate for requests in window_requests(trace)]
    wanted = [dispersion(trace.times, window) for window in windows]
    return min(SWINGS, key=miss)


# --- What is compared -------------------------------------------------------------------------------------------------


def table(trace: Load, others: dict[str, list[Load]]) -> str:
    """Every figure of the trace beside the means of the others."""
    figures: list[tuple[str, Callable[[Load], float]]] = [
        *((f"prompt, {level:.0%}", quantile(0, level)) for level in LEVELS),
        *((f"answer, {level:.0%}", quantile(1, level)) for level in LEVELS),
        (f"share of answers up to {SHORT_ANSWER} tokens", short_answers),
        ("rank correlation of prompt and answer", lambda load: rank_correlation(load.lengths)),
        ("gaps: coefficient of variation", lambda load: variation(load.times)),
        *((f"dispersion of counts, {each} a window", spread(each / trace.rate)) for each in window_requests(trace)),
    ]
    rows = ["| | trace | " + " | ".join(others) + " |", "|---|---:|" + "---:|" * len(others)]
    for name, figure in figures:
        cells = [figure(trace), *(mean(map(figure, loads)) for loads in others.values())]
        rows.append(
            f"| {name} | " + " | ".join(f"{cell:,.0f}" if cell >= 100 else f"{cell:.2f}" for cell in cells) + " |"
        )
    return "\n".join(rows)


def quantile(part: int, level: float) -> Callable[[Load], float]:
    return lambda load: float(quantiles([pair[part] for pair in load.lengths], [level])[0])


def spread(window: float) -> Callable[[Load], float]:
    return lambda load: dispersion(load.times, window)


def short_answers(load: Load) -> float:
    return mean(answer <= SHORT_ANSWER for _, answer in load.lengths)


def window_requests(load: Load) -> list[int]:
    """Of `WINDOW_REQUESTS` those of which the load has enough windows."""
    return [requests for requests in WINDOW_REQUESTS if len(load.times) / requests >= LEAST_WINDOWS]


def variation(times: Sequence[float]) -> float:
    """The coefficient of variation of the gaps: 1 for a Poisson process."""
    gaps = [after - before for before, after in pairwise(times)]
    return stdev(gaps) / mean(gaps)


def dispersion(times: Sequence[float], window: float) -> float:
    """The index of dispersion of counts in windows of so many seconds, variance over mean: 1 for a Poisson process."""
    counts = [0] * int(times[-1] // window)
    for time in times:
        if time < len(counts) * window:
            counts[min(int(time // window), len(counts) - 1)] += 1
    return variance(counts) / mean(counts)


def rank_correlation(pairs: Sequence[tuple[int, int]]) -> float:
    """Spearman's, equal ones ranked in their order."""
    columns = list(zip(*pairs, strict=True))
    return correlation(_ranks(columns[0]), _ranks(columns[1]))


def _ranks(values: Sequence[int]) -> list[float]:
    ranks = [0.0] * len(values)
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        ranks[index] = float(rank)
    return ranks


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
