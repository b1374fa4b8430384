"""The benchmark of the runtime runs and finds something of everything. No time is asserted here."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.runtime_contenders import BareActor, Contender, Herd, Kind, Tally
from benchmarks.runtime_figures import Figures
from benchmarks.runtime_guests import CONTENDERS, Pykka

RUNTIME = Path(__file__).parent.parent / "benchmarks" / "runtime.py"

PATIENCE_S = 50  # the command takes a few seconds; a machine that compiles something else may take many times that

OWN = {"bare", "herd"}
OF_ALL = {"ask", "in-flight", "tell", "create", "stop"}


def runtime(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, as a person runs it."""
    words = [sys.executable, str(RUNTIME), *arguments]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_quick_run_compares_all_contenders_in_all_measures() -> None:
    run = runtime("--quick", "--json")

    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    rows = report["rows"]
    shape: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        shape.setdefault((row["measure"], row["size"]), set()).add(row["contender"])
    present = {each.name for each in CONTENDERS} - set(report["left_out"])
    assert present >= OWN | {"pykka"}
    awaiting = present - {"pykka"}
    expected = {(name, size): present for name in OF_ALL for size in (10, 200)}
    expected |= {("ask-async", size): awaiting for size in (10, 200)}
    assert shape == expected | {("memory", 200): present}
    assert all(row["ratio"] > 0 and row["median"] > 0 and len(row["values"]) == 1 for row in rows)
    assert {row["ratio"] for row in rows if row["contender"] == "bare"} == {1.0}
    assert len(report["virtual_day_s"]) == report["rounds"] == 1
    assert report["loop"] == "asyncio"


@pytest.mark.slow
def test_a_run_prints_a_table_of_what_is_named(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    run = runtime("--quick", "--only", "tell", "--rounds", "2", "--json", str(file))

    assert run.returncode == 0, run.stderr
    assert "tell, `def` handler (aim for herd: at most 2.5x)\n   actors" in run.stdout
    assert "virtual day" not in run.stdout
    report = json.loads(file.read_bytes())
    assert {row["measure"] for row in report["rows"]} == {"tell"}
    assert all(len(row["values"]) == 2 for row in report["rows"])


def test_a_ratio_is_taken_round_by_round() -> None:
    figures = Figures()
    for bare, herd in [(1e-6, 2e-6), (10e-6, 15e-6), (2e-6, 6e-6)]:
        figures.add("tell", 10, "bare", 10, bare)
        figures.add("tell", 10, "herd", 10, herd)

    herd_row = next(row for row in figures.rows() if row.contender == "herd")

    assert herd_row.ratio == pytest.approx(2.0)  # where the ratio of the medians is 3
    assert herd_row.median == pytest.approx(6.0)


def test_what_the_bare_way_has_no_figure_for_has_no_ratio() -> None:
    figures = Figures()
    figures.add("memory", 10, "ray", 4, 50e6)

    (row,) = figures.rows()

    assert row.ratio is None
    assert "50,000,000 B" in figures.table(["bare", "ray"])


@pytest.mark.parametrize("kind", ["def", "async"])
@pytest.mark.parametrize("contender", [next(each for each in CONTENDERS if each.name == "bare"), Herd])
async def test_every_call_is_handled(contender: Callable[[], Contender], kind: Kind) -> None:
    subject = contender()
    actors = await subject.create(3, kind)
    subject.take(actors)
    await subject.ask(7)
    await subject.ask_together(100)
    await subject.tell(1000)
    await subject.stop(actors)

    assert subject.tally.count == 3 + 7 + 100 + 1000 + 1  # and the ask that proves the tells


async def test_tells_to_threads_are_all_handled() -> None:
    subject = Pykka()
    actors = await subject.create(3, "def")
    subject.take(actors)
    await subject.tell(30)
    counts = [actor.add(0).get() for actor in actors]
    await subject.stop(actors)

    assert counts == [1 + 10 + 1] * 3
    assert not any(actor.actor_ref.is_alive() for actor in actors)


async def test_tells_are_not_proved_before_all_of_them_are_handled() -> None:
    class Late(Herd):
        asked = 0

        async def ask(self, calls: int) -> None:
            self.asked += calls
            self.tally.count += calls + (5 if self.asked == 3 else 0)  # what was told comes with the third

    subject = Late()
    await subject.prove(5)

    assert subject.asked == 3


async def test_the_bare_actor_answers() -> None:
    actor = BareActor(Tally())
    actor.queue.put_nowait((4, None))
    answer = actor.task.get_loop().create_future()
    actor.queue.put_nowait((1, answer))

    assert await answer == 5

    actor.task.cancel()


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--loop", "trio"), "invalid choice"), (("--json", "/"), "/ cannot be written")],
    ids=["a loop that is unknown", "a file that cannot be written"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(words: tuple[str, ...], text: str) -> None:
    run = runtime("--quick", *words)

    assert run.returncode == 2
    assert text in run.stderr
    assert "round" not in run.stderr.replace("--rounds", "")
