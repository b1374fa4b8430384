"""The page of a comparison."""

import json
import re
from pathlib import Path

from herd.simulation.comparison.figures import COLUMNS
from herd.simulation.comparison.policies import POLICIES
from herd.simulation.comparison.report import command, document, markdown
from herd.simulation.comparison.runs import Cell, Plan, Run
from herd.simulation.comparison.standings import standings
from herd.simulation.runs.households import Household
from tests.simulation.comparison.made import LEAST, OURS, ROUND_ROBIN, runs_of

PLAN = Plan((OURS, ROUND_ROBIN, LEAST), (0.3, 0.6), seeds=12, first_seed=5)


def seconds(cell: Cell) -> float:
    """Ours loses to round robin at 60 %, wins at 30 %, and is even with least connections, more or less."""
    noise = (1.2 if cell.seed % 2 else 0.8) if cell.policy == LEAST else 1.0
    return noise * ({0.3: 20.0, 0.6: 5.0}[cell.load] if cell.policy == ROUND_ROBIN else 10.0)


RUNS = runs_of(PLAN, seconds)


def page(runs: list[Run] = RUNS, plan: Plan = PLAN) -> str:
    return markdown(plan, standings(plan, runs), report="docs/page.md")


def part(text: str, title: str) -> str:
    """What stands under a title."""
    return text.partition(f"# {title}\n")[2].partition("\n#")[0]


def test_losses_stand_first_and_look_like_wins() -> None:
    text = page()
    titles = [f"Where `{OURS}` loses", f"Where `{OURS}` wins", f"Where it is open for `{OURS}`"]

    lost, won, unknown = (part(text, title).strip() for title in titles)

    assert lost == f"1 of 4 comparisons:\n\n- against `{ROUND_ROBIN}`: generator at 60 % 2.00 (2.00 to 2.00)"
    assert won == f"1 of 4 comparisons:\n\n- against `{ROUND_ROBIN}`: generator at 30 % 0.50 (0.50 to 0.50)"
    assert unknown.startswith(f"2 of 4 comparisons:\n\n- against `{LEAST}`: generator at ")
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    assert re.search(r"`round-robin` \| 0\.50 \(0\.50 to 0\.50\) \*\*better\*\*", text)
    assert re.search(r"`round-robin` \| 2\.00 \(2\.00 to 2\.00\) \*\*worse\*\*", text)


def test_what_people_waited_is_said_in_seconds() -> None:
    text = part(page(), "In short")
    assert f"\n- generator at 30 %: 10.0 s with `{OURS}`, 10.0 s with `{LEAST}` (the best baseline)\n" in text
    assert f"\n- generator at 60 %: 10.0 s with `{OURS}`, 5.00 s with `{ROUND_ROBIN}` (the best baseline)\n" in text


def test_nothing_lost_is_said_too() -> None:
    text = page(runs_of(PLAN, lambda cell: 1.0 if cell.policy == OURS else 2.0))
    assert part(text, f"Where `{OURS}` loses").strip() == "0 of 4 comparisons."


def test_every_policy_figure_and_load_is_in_the_tables() -> None:
    text = page()
    for column in COLUMNS:
        assert f"| {column.name} |" in text
    for load in ("30 %", "60 %"):
        table = part(text, f"generator at {load}")
        assert [table.count(f"\n| `{name}` |") for name in PLAN.policies] == [2, 3, 3]
        assert f"The requests came to {int(load[:2]) + 1.05:g} % of the capacity" in table


def test_the_page_says_what_was_run_and_with_what_command() -> None:
    text = page()
    assert f"\n    {command(PLAN, 'docs/page.md')}\n" in text
    assert "seeds 5 to 16, 4 hours from Monday 9:00 each: 5 machines with their owners, 6 models, 8 people" in text
    assert "too few" not in text
    for name in PLAN.policies:
        assert f"| `{name}` | {POLICIES[name].what} |" in text


def test_the_command_names_what_is_not_usual_and_no_folder(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.touch()
    plan = Plan(tuple(POLICIES), (0.125,), 1, 0, 0.5, Household(nodes=3, parallel=2, owners=False), trace)
    assert command(plan) == (
        "herd simulate --compare all --load 12.5 --seeds 1 --seed 0 --hours 0.5 --nodes 3 --parallel 2 --no-owners "
        "--trace trace.csv"
    )


def test_the_command_names_the_policies_where_they_are_not_all() -> None:
    line = f"herd simulate --compare {OURS},{LEAST} --load 60,30 --seeds 20 --seed 0 --hours 4 --report docs/page.md"
    assert command(Plan((OURS, LEAST), (0.6, 0.3)), "docs/page.md") == line


def test_few_seeds_are_called_few() -> None:
    plan = Plan((OURS, LEAST), (0.3,), seeds=1)
    text = page(runs_of(plan, lambda cell: 1.0), plan)
    assert "**1 seeds are too few" not in text
    assert "**1 seed is too few for any conclusion.**" in text
    assert "1.00 (too few seeds) open" in text


def test_the_page_and_the_document_do_not_depend_on_which_run_ended_first() -> None:
    mixed = [*RUNS[::3], *RUNS[1::3], *RUNS[2::3]]
    assert page(mixed) == page()
    assert document(PLAN, mixed, standings(PLAN, mixed)) == document(PLAN, RUNS, standings(PLAN, RUNS))


def test_the_document_has_all_runs_and_what_json_can_say() -> None:
    told = json.loads(json.dumps(document(PLAN, RUNS, standings(PLAN, RUNS)), allow_nan=False))
    assert len(told["runs"]) == len(RUNS)
    assert told["runs"][0] | {"load": 0.3, "seed": 5, "policy": OURS, "requests": 100} == told["runs"][0]
    lost = [one for one in told["ratios"] if one["verdict"] == "worse" and one["to"] == ROUND_ROBIN]
    assert [(one["policy"], one["load"], one["ratio"]) for one in lost if one["policy"] == OURS] == [(OURS, 0.6, 2.0)]

    plan = Plan((OURS, LEAST), (0.3,), seeds=1)
    runs = runs_of(plan, lambda cell: 1.0)
    single = json.dumps(document(plan, runs, standings(plan, runs)), allow_nan=False)
    assert json.loads(single)["ratios"][0]["low"] is None
