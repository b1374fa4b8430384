"""`herd simulate --from-history`: what a router was asked is asked again, of another fleet, by nobody in particular."""

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from herd.runtime.testing import run_virtual
from herd.simulation.clock import EPOCH
from herd.simulation.fleet.house import house
from herd.store.database import DATABASE, Database
from herd.types import Seconds
from tests.cli.command_line import CommandLine, Ended
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, chat

ANN, BOB = "ann@example.org", "bob@example.org"
SECRET = "an old secret of the family"
STEP, DAY = 100.0, 86_400.0


async def _served(path: Path) -> None:
    """A production router serves two people, and writes down what it always writes down."""

    async def ask(at: float, client: str, model: str, tokens: int) -> None:
        await asyncio.sleep(at)
        headers = (("X-OpenWebUI-User-Id", client),)
        await home.ask(CHAT, chat(model, tokens=tokens, text=SECRET * 9), headers)

    async with house(seed=99, open_store=partial(Database, path)) as home:
        await home.node("studio", [LLAMA, QWEN])
        asked = [ask(STEP * number, (ANN, ANN, BOB)[number % 3], LLAMA, 10 + number) for number in range(12)]
        await asyncio.gather(*asked, ask(2 * STEP, BOB, QWEN, 30), ask(3 * STEP, ANN, "nobody-has-it", 5))


@pytest.fixture(name="recorded", scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("router") / DATABASE
    run_virtual(_served(path))
    return path


@pytest.fixture(autouse=True)
def days_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of whoever looks, whenever and wherever that is."""
    monkeypatch.setattr("herd.cli.simulate.recorded.SystemClock.wall", lambda _: Seconds(EPOCH + 2 * DAY))
    monkeypatch.setattr("herd.cli.simulate.recorded.time.localtime", time.gmtime)


@pytest.fixture(name="home")
def home_of_a_router(tmp_path: Path, recorded: Path) -> Iterator[Path]:
    """Where `herd` keeps its data, in the home directory of `run`."""
    directory = tmp_path / ".herd"
    directory.mkdir()
    shutil.copy(recorded, directory / DATABASE)
    before = (directory / DATABASE).read_bytes()
    yield directory
    assert (directory / DATABASE).read_bytes() == before
    assert [path.name for path in directory.iterdir()] == [DATABASE]


def told(ended: Ended) -> dict[str, Any]:
    """What a run says in JSON, and nothing else."""
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    return found


LINE = "herd simulate --from-history --nodes 2 --no-owners"


def test_what_the_router_was_asked_is_asked_again(run: CommandLine, home: Path) -> None:
    document = told(run(f"{LINE} --json"))
    assert document["history"] == {
        "requests": 13,
        "clients": 2,
        "played": {},
        "assumed_lengths": 0,
        "left_out": {"unknown_model": 1, "vectors": 0},
    }
    counts = document["summary"]["counts"]
    assert (counts["requests"], counts["served"]) == (13, 13)
    assert counts["tokens"] == sum(10 + number for number in range(12)) + 30
    assert {name: each["requests"] for name, each in document["summary"]["models"].items()} == {LLAMA: 12, QWEN: 1}
    assert document["summary"]["fairness"]["clients"] == 2
    assert 11 * STEP < document["ended_s"] < 12 * STEP


def test_whoever_reads_tables_is_told_what_was_made_of_it(run: CommandLine, home: Path) -> None:
    ended = run(LINE)
    assert ended.code == 0
    assert " ".join(ended.err.split()) == (
        "requests left out: for models that no machine has had: 1; which requests belong to a conversation, and how "
        "long their clients wait, no router keeps: it is drawn"
    )
    assert "13 requests: 13 served" in ended.out


def test_neither_names_nor_text_nor_ids_are_told(run: CommandLine, home: Path) -> None:
    with closing(sqlite3.connect(f"{(home / DATABASE).as_uri()}?immutable=1", uri=True)) as connection:
        (ids,) = zip(*connection.execute("select id from traces"), strict=True)
    assert len(ids) == 14
    said = ""
    for line in (LINE, f"{LINE} --json", f"{LINE} --decisions log", f"{LINE} --what-if +rtx-4090 --seeds 1"):
        ended = run(line)
        assert ended.code == 0
        said += ended.out + ended.err
    said += (home.parent / "log").read_text()
    assert "client-2" in said
    for secret in (ANN, BOB, SECRET, "nobody-has-it", *ids):
        assert secret not in said


def test_the_week_begins_where_the_history_does(run: CommandLine, home: Path) -> None:
    line = "herd simulate --from-history --nodes 5 --json"
    monday_midnight = told(run(line))["decisions"]  # the simulation's epoch
    assert told(run(f"{line} --start-hour 0"))["decisions"] == monday_midnight
    assert told(run(f"{line} --start-hour 20"))["decisions"] != monday_midnight


def test_a_history_is_cut_and_stretched_as_a_trace_is(run: CommandLine, home: Path) -> None:
    assert told(run(f"{LINE} --json --days 0.004"))["summary"]["counts"]["requests"] == 5  # those of 345 s
    assert told(run(f"{LINE} --json --rate 1"))["ended_s"] < 60
    ended = run(f"{LINE} --requests 5")
    assert ended.err.endswith("only 5 requests of the history are taken: --requests takes more\n")
    assert "5 requests: 5 served" in ended.out


@pytest.mark.parametrize("how", ["flag", "variable", "file"])
def test_another_data_directory_is_named(run: CommandLine, recorded: Path, tmp_path: Path, how: str) -> None:
    line = "herd simulate --from-history --nodes 1 --json"
    directory = recorded.parent
    if how == "flag":
        ended = run(f"{line} --data-dir {directory}", {"HERD_DATA_DIR": "nowhere"})
    elif how == "variable":
        ended = run(line, {"HERD_DATA_DIR": str(directory)})
    else:
        (tmp_path / "my.toml").write_text(f'[herd]\ndata-dir = "{directory}"\n')
        ended = run(line, {"HERD_CONFIG": "my.toml"})
    assert told(ended)["history"]["requests"] == 13


def test_what_would_be_otherwise_for_ones_own_traffic(run: CommandLine, home: Path) -> None:
    document = told(run(f"{LINE} --what-if -gaming-pc --what-if +rtx-4090 --seeds 2 --json"))
    assert document["history"]["requests"] == 13
    assert [row["requests"] for row in document["rows"]] == [26, 24, 2]  # no row for people: they are everybody


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "there is no {home}/.herd/herd.db: name the data directory of a router that was asked something"),
        ("--trace t.csv", "a history has requests, models and clients of its own: leave --trace out"),
        ("--models 3", "a history has requests, models and clients of its own: leave --models out"),
        ("--clients 3", "a history has requests, models and clients of its own: leave --clients out"),
    ],
)
def test_what_makes_no_run_is_refused_in_a_sentence(
    run: CommandLine, tmp_path: Path, words: str, sentence: str
) -> None:
    ended = run(f"herd simulate --from-history {words}".strip())
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {sentence.format(home=tmp_path)}\n")


def test_a_data_directory_without_a_history_to_replay_is_refused(run: CommandLine) -> None:
    ended = run("herd simulate --data-dir x")
    assert (ended.code, ended.err) == (
        2,
        "error: --data-dir says whose history is replayed: it goes with --from-history\n",
    )


def test_a_router_that_was_asked_nothing_has_no_history(run: CommandLine, tmp_path: Path) -> None:
    Database(tmp_path / DATABASE).close()
    ended = run(f"herd simulate --from-history --data-dir {tmp_path}")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: nothing that was asked of the router can be asked again")
