"""`herd-node pause`, `resume` and `status`: people at a node's own machine, and its agent."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from herd.actors.desk import AgentStatus, HandPause, ShownModel
from herd.net.agent_files import AgentFiles
from herd.net.identity import open_identity
from herd.policy.values import Reason
from herd.types import BackendId, ModelName, NodeName, RouterId, Seconds
from tests.cli.agents import CUPBOARD, STUDIO
from tests.cli.command_line import CommandLine
from tests.cli.fleets import NOW

MEETING = Reason("meeting", "is in a meeting: its camera is in use", Seconds(86_400.0))
BY_HAND = Reason("manual", "is paused by hand on the machine itself", Seconds(86_400.0), Seconds(90_000.0))
STATUS = AgentStatus(
    linked=True,
    router_id=RouterId("r1"),
    name=NodeName("mac-2"),
    models=(
        ShownModel(ModelName("llama3.2:3b"), BackendId("ollama"), resident=True),
        ShownModel(ModelName("qwen3:8b"), BackendId("ollama"), resident=False),
    ),
    pauses=(BY_HAND, MEETING),
    workload="light",
    thermal="nominal",
)


def at(moment: float) -> str:
    """Where the person is."""
    return time.strftime("%m-%d %H:%M:%S", time.localtime(moment))


@pytest.fixture(name="agent")
def a_running_agent(run: CommandLine, tmp_path: Path) -> Iterator[AgentFiles]:
    """On the usual data directory."""
    home = tmp_path / ".herd-node"
    about = {"wanted_name": "mac", "version": "1"}
    with open_identity(home, "agent"), closing(AgentFiles(home, about)) as files:
        files.show(AgentStatus())
        yield files


def asked(agent: AgentFiles) -> HandPause | None:
    return asyncio.run(agent.pause())


def test_a_pause_lasts_until_it_is_taken_back(run: CommandLine, agent: AgentFiles) -> None:
    before = time.time()
    ended = run("herd-node pause")
    assert (ended.code, ended.out, ended.err) == (0, "mac is paused by hand until herd-node resume\n", "")
    pause = asked(agent)
    assert pause is not None
    assert before <= pause.since <= time.time()
    assert pause.until is None
    ended = run("herd-node resume")
    assert (ended.code, ended.out, ended.err) == (0, "mac is not paused by hand any more\n", "")
    assert asked(agent) is None


def test_a_pause_for_some_time_says_when_it_ends(run: CommandLine, agent: AgentFiles) -> None:
    ended = run("herd-node pause --for 1h30m")
    pause = asked(agent)
    assert pause is not None
    assert pause.until == pause.since + 5400.0
    assert ended.out == f"mac is paused by hand until {at(pause.until)}\n"


def test_what_still_pauses_a_machine_that_is_resumed_is_said(run: CommandLine, agent: AgentFiles) -> None:
    agent.show(STATUS)
    ended = run("herd-node resume")
    assert ended.out == (
        f"mac-2 is not paused by hand any more, but is in a meeting since {at(86_400.0)}: its camera is in use\n"
    )


def test_the_status_is_for_people(run: CommandLine, agent: AgentFiles) -> None:
    agent.show(STATUS)
    ended = run("herd-node status")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "mac-2",
        "  router  r1, connected",
        "  models  llama3.2:3b (in memory)",
        "          qwen3:8b",
        "  owner   light",
        "  heat    nominal",
        f"  pauses  is paused by hand on the machine itself since {at(86_400.0)} until {at(90_000.0)}",
        f"          is in a meeting since {at(86_400.0)}: its camera is in use",
    ]


def test_the_status_has_all_that_the_dashboard_has(run: CommandLine, agent: AgentFiles) -> None:
    agent.show(STUDIO)
    ended = run("herd-node status")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    week = lines.index("what its owner takes, by the hour of the week in the node's own time")
    assert lines[: week - 1] == [
        "studio-2",
        f"  router  http://192.168.1.10:11435 (8a1d), connected since {at(NOW - 7500)}",
        f"          last lost at {at(NOW - 7512)}: the router is shutting down",
        "  servers ollama 0.33.0 at http://127.0.0.1:11434",
        "  models  llama3.3:70b-instruct-q4_K_M (in memory, 48.0 GiB)",
        "          qwen3:8b (in memory, 6.0 GiB)",
        *(f"          gemma{number}:27b" for number in range(12)),
        f"  running 01JCS3Q8000000000000000001: llama3.3:70b-instruct-q4_K_M, /api/chat since {at(NOW - 12.3)}",
        f"          01JCS3Q8000000000000000002: qwen3:8b, /v1/chat/completions since {at(NOW - 0.4)}",
        "  done    1204 served, 3 failed, 17 cancelled; 43.2 tokens/s",
        "  machine 42% of its processor in use, memory: 20.0 GiB of 64.0 GiB free",
        "          NVIDIA GeForce RTX 4090: memory: 3.0 GiB of 24.0 GiB free",
        "  owner   moderate, takes 23% of the machine",
        "  heat    nominal",
        f"  pauses  is in a meeting since {at(NOW - 900)}: its camera is in use",
        f"  as of   {at(NOW)}",
    ]
    assert len(lines) == week + 1 + 1 + 7 + 2
    agent.show(CUPBOARD)
    lines = run("herd-node status").out.splitlines()
    assert lines[1].endswith("looking for it (no router on link port 11436 (192.168.1.10: Connection refused))")
    assert "          http://127.0.0.1:8080 does not answer: connection refused" in lines


@pytest.mark.parametrize(
    "content",
    [
        '{"work": 5, "machine": [], "servers": {}, "week": "x", "at": "now"}',
        '{"work": {"running": [{"since": 1e300}], "served": "many", "tokens_per_s": "x"}, "at": 1e300}',
        '{"machine": {"cpu": "hot", "memory_free": 1e400, "gpus": [{"name": 5}]}, "owner_load": "x", "at": true}',
        '{"week": {"load": [2], "confidence": [1]}, "week_slot": 5, "lost": 7, "lost_at": "x"}',
        pytest.param(
            json.dumps({"week": {"load": ["x"] * 168, "confidence": [1] * 168}, "week_slot": 5}), id="a week of words"
        ),
    ],
)
def test_a_status_that_makes_no_sense_is_shown_as_far_as_it_does(
    run: CommandLine, agent: AgentFiles, tmp_path: Path, content: str
) -> None:
    (tmp_path / ".herd-node" / "status.json").write_text(content)
    ended = run("herd-node status")
    assert (ended.code, ended.err) == (0, "")
    assert "  heat    unknown\n" in ended.out


def test_an_agent_that_has_just_begun_and_a_dedicated_one_say_so(run: CommandLine, agent: AgentFiles) -> None:
    assert run("herd-node status").out.splitlines() == [
        "mac",
        "  router  none yet: looking for it",
        "  models  none",
        "  owner   unknown",
        "  heat    unknown",
        "  pauses  none",
    ]
    agent.show(AgentStatus(router_id=RouterId("r1"), dedicated=True))
    lines = run("herd-node status").out.splitlines()
    assert lines[1] == "  router  r1, away: looking for it"
    assert lines[3] == "  owner   has none (--dedicated)"


def test_the_status_says_how_far_an_image_is(run: CommandLine, agent: AgentFiles) -> None:
    drawing = ShownModel(ModelName("z-image-turbo"), BackendId("mflux"), resident=True, step=4, steps=9)
    agent.show(AgentStatus(models=(drawing,)))
    assert "  models  z-image-turbo (in memory, step 4 of 9)\n" in run("herd-node status").out
    (shown,) = json.loads(run("herd-node status --json").out)["models"]
    assert (shown["step"], shown["steps"]) == (4, 9)


def test_names_that_a_terminal_would_obey_are_shown_and_not_obeyed(run: CommandLine, agent: AgentFiles) -> None:
    agent.show(AgentStatus(models=(ShownModel(ModelName("m\x1b[2J[red]"), BackendId("b"), resident=False),)))
    assert "  models  m\\x1b[2J[red]\n" in run("herd-node status").out


@pytest.mark.parametrize("time", ["1e300", "Infinity", "NaN", "-1e300", '"soon"', "[]"])
def test_a_status_with_times_that_are_none_is_shown_all_the_same(
    run: CommandLine, agent: AgentFiles, tmp_path: Path, time: str
) -> None:
    pause = f'{{"kind": "manual", "text": "is paused by hand", "since": {time}, "until": {time}}}'
    content = f'{{"wanted_name": "mac", "models": 5, "pauses": [{pause}]}}'
    (tmp_path / ".herd-node" / "status.json").write_text(content)
    for command in ("status", "resume"):
        ended = run(f"herd-node {command}")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("mac")


def test_the_status_is_json_for_programs(run: CommandLine, agent: AgentFiles) -> None:
    agent.show(STATUS)
    shown = json.loads(run("herd-node status --json").out)
    assert (shown["name"], shown["wanted_name"], shown["version"]) == ("mac-2", "mac", "1")
    assert shown["pauses"][1] == {
        "kind": "meeting",
        "text": "is in a meeting: its camera is in use",
        "since": 86_400.0,
        "until": None,
    }


def test_the_data_directory_is_named_as_for_the_agent(run: CommandLine, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    with open_identity(home, "agent"), closing(AgentFiles(home, {"wanted_name": "mac"})) as files:
        files.show(AgentStatus())
        assert run(f"herd-node pause --data-dir {home}").code == 0
        assert run("herd-node pause", {"HERD_NODE_DATA_DIR": str(home)}).code == 0
        assert asked(files) is not None
    assert not (tmp_path / ".herd-node").exists()


@pytest.mark.parametrize("command", ["pause", "pause --for 2h", "resume", "status", "status --json"])
def test_without_an_agent_they_say_so_and_leave_nothing_behind(run: CommandLine, tmp_path: Path, command: str) -> None:
    ended = run(f"herd-node {command}")
    home = tmp_path / ".herd-node"
    sentence = f"error: no agent runs on the data directory {home}: start herd-node, or name its own with --data-dir\n"
    assert (ended.code, ended.out, ended.err) == (1, "", sentence)
    assert not home.exists()


@pytest.mark.parametrize("line", ["pause --for soon", "pause --for 2", "pause --for -1h", "status studio"])
def test_wrong_usage_asks_for_nothing(run: CommandLine, agent: AgentFiles, line: str) -> None:
    ended = run(f"herd-node {line}")
    assert (ended.code, ended.out, asked(agent)) == (2, "", None)
    assert "Error" in ended.err
