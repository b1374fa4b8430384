"""How policies stand to each other, and when an aim is met."""

import pytest

from herd.simulation.comparison import standings as module
from herd.simulation.comparison.figures import HEADLINE
from herd.simulation.comparison.resampling import Verdict
from herd.simulation.comparison.runs import Cell, Plan
from herd.simulation.comparison.standings import Outcome, Standing, aims, by_other, standings
from tests.simulation.comparison.made import LEAST, OURS, ROUND_ROBIN, runs_of

ALL = (OURS, ROUND_ROBIN, LEAST)


@pytest.fixture(autouse=True)
def _two_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever there are."""
    monkeypatch.setattr(module, "BASELINES", (ROUND_ROBIN, LEAST))


def found(ours: float, *, policies: tuple[str, ...] = ALL, spread: float = 0.01, seeds: int = 12) -> list[Standing]:
    """Of a policy that takes so much of what least connections takes, at 30 and 60 %; round robin takes twice as much.

    Args:
        ours: the ratio.
        policies: that ran.
        spread: by how much that differs from seed to seed, in turns up and down.
        seeds: so many.
    """
    plan = Plan(policies, (0.3, 0.6), seeds)
    shares = {ROUND_ROBIN: 2.0, LEAST: 1.0}

    def seconds(cell: Cell) -> float:
        share = shares.get(cell.policy, ours * (1 + (spread if cell.seed % 2 else -spread)))
        return 10 * cell.load * share * (1 + cell.seed)

    return standings(plan, runs_of(plan, seconds))


def outcomes(standing: list[Standing]) -> list[Outcome]:
    return [one.outcome for one in aims(standing, [HEADLINE])]


def test_the_best_baseline_is_that_with_the_least_mean_at_that_load() -> None:
    assert [one.best_baseline for one in found(1.0)] == [LEAST, LEAST]
    assert found(1.0, policies=(OURS, ROUND_ROBIN))[0].best_baseline == ROUND_ROBIN
    assert found(1.0, policies=(OURS,))[0].best_baseline is None


def test_a_loss_is_a_loss_and_a_win_a_win() -> None:
    cases = {case.group: case.ratio.verdict for case in by_other(found(1.5), OURS)}
    assert cases == {f"against `{LEAST}`": Verdict.WORSE, f"against `{ROUND_ROBIN}`": Verdict.BETTER}
    assert by_other(found(1.0, spread=0.3), OURS)[1].ratio.verdict is Verdict.OPEN


@pytest.mark.parametrize(
    ("ours", "spread", "first", "second"),
    [
        pytest.param(0.5, 0.01, Outcome.MET, Outcome.MET, id="far better"),
        pytest.param(0.8, 0.01, Outcome.NOT_MET, Outcome.MET, id="better, not by enough"),
        pytest.param(0.7, 0.1, Outcome.OPEN, Outcome.MET, id="at the edge of the first"),
        pytest.param(1.1, 0.1, Outcome.NOT_MET, Outcome.OPEN, id="at the edge of the second"),
        pytest.param(1.3, 0.01, Outcome.NOT_MET, Outcome.NOT_MET, id="worse"),
    ],
)
def test_an_aim_is_met_by_a_whole_interval_and_missed_by_a_whole_one(
    ours: float, spread: float, first: Outcome, second: Outcome
) -> None:
    assert outcomes(found(ours, spread=spread))[:2] == [first, second]


def test_an_aim_without_its_policies_is_not_run() -> None:
    # The best of some baselines would be too easy to beat.
    assert outcomes(found(0.1, policies=(OURS, ROUND_ROBIN)))[:2] == [Outcome.NOT_RUN, Outcome.NOT_RUN]


def test_the_number_of_an_aim_is_its_worst_one() -> None:
    second = aims(found(1.3), [HEADLINE])[1]
    assert second.number.startswith("at worst 1.30 (")
    assert f"of `{LEAST}`, generator at " in second.number


def test_one_that_knows_more_is_measured_by_how_near_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whichever policies there are: two of them stand in for the two that this aim is about.
    monkeypatch.setattr(module, "CANDIDATE", OURS)
    monkeypatch.setattr(module, "ORACLE", LEAST)
    assert [outcomes(found(ours))[2] for ours in (1.05, 1.2)] == [Outcome.MET, Outcome.NOT_MET]


def test_seeds_without_a_figure_are_left_out_in_pairs() -> None:
    standing = found(1.0, seeds=3)[0]
    jobs = [one.jobs for one in standing.runs[OURS]]
    assert jobs == [20.0] * 3
    some = Standing("generator", 0.3, standing.runs | {"none": []})
    assert some.ratio(OURS, "none") is None
    assert some.ratio("none", OURS) is None
