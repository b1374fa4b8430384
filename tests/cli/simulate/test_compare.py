"""`herd simulate --compare`: its options, its report, and how it ends."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from herd.simulation.comparison.policies import POLICIES
from tests.cli.command_line import CommandLine
from tests.simulation.comparison.traces import trace_of

SMALL = "--compare seven-signals,round-robin --load 30 --seeds 2 --hours 0.02 --nodes 2 --models 2"
PATIENCE_S = 50.0  # for a process that takes a second, on a machine that compiles something else
drawn = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib: pip install -e '.[plots]'"
)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What processes change is tested with `measured`."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def test_the_report_goes_to_standard_output_and_progress_does_not(run: CommandLine) -> None:
    ended = run(f"herd simulate {SMALL} --seed 7 --clients 3 --no-owners")

    assert ended.code == 0
    line = "herd simulate --compare seven-signals,round-robin --load 30 --seeds 2 --seed 7 --hours 0.02"
    assert f"    {line} --nodes 2 --models 2 --clients 3 --no-owners\n" in ended.out
    assert "\n## Aims\n" in ended.out
    assert [one.partition(",")[0] for one in ended.err.splitlines()] == [f"{number} of 4" for number in (1, 2, 3, 4)]
    assert ended.err.endswith("to go: seed 8, generator at 30 %, round-robin\n")


def test_json_is_all_that_is_printed_and_the_same_every_time(run: CommandLine, tmp_path: Path) -> None:
    line = f"herd simulate {SMALL} --trace {trace_of(tmp_path, 200)} --json"
    first, again = run(line), run(line)

    assert (first.code, first.err, again.out) == (0, "", first.out)
    told = json.loads(first.out)
    assert [one["workload"] for one in told["runs"]] == ["generator"] * 4 + ["trace"] * 4
    assert {one["policy"] for one in told["runs"]} == set(told["policies"]) == {"seven-signals", "round-robin"}


@drawn
def test_the_report_and_its_pictures_are_the_same_every_time(run: CommandLine, tmp_path: Path) -> None:
    def files() -> dict[str, bytes]:
        ended = run(f"herd simulate {SMALL} --report page.md")
        assert (ended.code, ended.out) == (0, "")
        return {path.name: path.read_bytes() for path in sorted(tmp_path.glob("page*"))}

    found = files()

    assert files() == found
    assert list(found) == ["page-generator-ratios.svg", "page-generator.svg", "page.md"]
    text = found["page.md"].decode()
    assert "--report page.md\n" in text
    assert all(f"]({name})" in text for name in list(found)[:2])


def test_without_matplotlib_there_is_a_report_and_how_to_get_plots(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = run(f"herd simulate {SMALL} --report page.md --json")

    assert (ended.code, ended.err) == (0, "no plots without matplotlib: pip install 'herd-fleet[plots]'\n")
    assert json.loads(ended.out)["seeds"] == {"first": 0, "count": 2}
    assert "## Plots" not in (tmp_path / "page.md").read_text()
    assert not list(tmp_path.glob("*.svg"))


def test_a_matplotlib_that_does_not_start_costs_the_plots_alone(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('it was built for another Python')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "herd.simulation.comparison.plots", raising=False)
    ended = run(f"herd simulate {SMALL} --report page.md --json")

    sentence = "no plots, for matplotlib does not start: ImportError: it was built for another Python\n"
    assert (ended.code, ended.err) == (0, sentence)
    assert "## Plots" not in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(("more", "begins"), [("", "# Routing quality\n"), (" --json", "{\n")])
def test_a_report_that_cannot_be_written_in_the_end_goes_to_standard_output(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, more: str, begins: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    ended = run(f"herd simulate {SMALL} --report page.md{more}")

    assert (ended.code, ended.out.startswith(begins)) == (1, True)
    assert ended.err.endswith("error: cannot write page.md: No space left on device\n")


def test_where_a_report_lies_is_not_in_it(run: CommandLine, tmp_path: Path) -> None:
    run(f"herd simulate {SMALL} --report {tmp_path}/page.md --trace {trace_of(tmp_path, 200)}")
    text = (tmp_path / "page.md").read_text()
    assert " --trace trace.jsonl --report page.md\n" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--compare fastest", f"there is no policy fastest: take all, or some of {', '.join(POLICIES)}"),
        ("--compare all --load 30,x", "--load x is no number: give percents, as 30,60,90,110"),
        ("--compare all --load 0", "a load makes no sense: take 1 to 300, in percent of the capacity"),
        ("--compare all --hours 0", "0 hours make no sense: take more than none and at most a week's 168"),
        (
            "--compare random --seeds 1 --hours 0.0001 --load 60",
            "seed 0, generator at 60 %, random: nobody asks for anything in 0.0001 hours: take more --hours",
        ),
        ("--compare all --nodes 0", "no household has 0 nodes: take 1 to 100"),
        (
            "--compare all --report nowhere/page.md",
            "cannot write nowhere/page.md: name a file in a directory that exists",
        ),
        ("--compare all --report .", "cannot write .: name a file in a directory that exists"),
        ("--compare all --trace nowhere.csv", "nowhere.csv is no file, and each process reads the trace"),
        ("--compare all --requests 5", "--compare has hours and requests of its own: leave --requests out"),
        ("--compare all --days 5", "--compare has hours and requests of its own: leave --days out"),
        ("--compare all --wall-clock", "--compare has hours and requests of its own: leave --wall-clock out"),
        ("--compare all --decisions log", "--compare has hours and requests of its own: leave --decisions out"),
        ("--compare all --chaos 5", "--chaos has houses and requests of its own: leave --compare out"),
        ("--compare all --what-if -air", "--compare has hours and requests of its own: leave --what-if out"),
        ("--compare all --scorer completion-time", "--compare has hours and requests of its own: leave --scorer out"),
        ("--load 30", "--load, --hours and --report go with --compare"),
        ("--what-if -air --report page.md", "--load, --hours and --report go with --compare"),
    ],
)
def test_what_makes_no_comparison_is_refused_in_a_sentence(run: CommandLine, words: str, sentence: str) -> None:
    ended = run(f"herd simulate {words}")
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {sentence}\n")


def test_a_report_does_not_write_over_the_trace(run: CommandLine, tmp_path: Path) -> None:
    trace = trace_of(tmp_path, 200)
    ended = run(f"herd simulate {SMALL} --trace {trace} --report trace.jsonl")
    assert (ended.code, ended.err) == (2, f"error: --report would write over the trace {trace}: name another file\n")
    assert trace == trace_of(tmp_path, 200)


@pytest.mark.slow  # processes start, to be interrupted
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize(("end", "code"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_every_process_ends_with_the_command(tmp_path: Path, end: str, code: int) -> None:
    words = "--compare seven-signals,round-robin --load 30 --seeds 500 --hours 0.02 --nodes 2 --models 2"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HERD_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "herd", "simulate", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"HOME": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("1 of 1000")

    if end == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    else:
        process.kill()
    # It returns when nobody holds the other end any more: not a single process is left.
    out, err = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, out) == (code, "")
    # Python itself says what a process that was killed has left behind.
    assert end == "SIGKILL" or all(" of 1000, some " in line for line in err.splitlines())
    assert "Traceback" not in err
