"""Word that an agent and the people at its machine leave each other as files."""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from herd.actors.desk import AgentStatus, HandPause, ShownModel
from herd.errors import ConfigError, HerdError
from herd.net.agent_files import AgentFiles, agent_status, ask_for_pause, take_pause_back
from herd.net.identity import is_held, open_identity
from herd.policy.values import Reason
from herd.types import BackendId, ModelName, NodeName, RouterId, Seconds

STATUS = AgentStatus(
    linked=True,
    router_id=RouterId("r1"),
    name=NodeName("mac"),
    models=(ShownModel(ModelName("m"), BackendId("ollama"), resident=True),),
    pauses=(Reason("meeting", "is in a meeting", Seconds(1.0)),),
)


@pytest.fixture(name="files")
def files_of_a_running_agent(tmp_path: Path) -> Iterator[AgentFiles]:
    with open_identity(tmp_path, "agent") as identity, closing(AgentFiles(tmp_path, {"id": identity.id})) as files:
        yield files


@pytest.mark.parametrize("until", [None, Seconds(60.5)])
async def test_a_pause_that_is_asked_for_is_found_until_it_is_taken_back(
    tmp_path: Path, files: AgentFiles, until: Seconds | None
) -> None:
    assert await files.pause() is None
    for since in (1.0, 2.5):
        ask_for_pause(tmp_path, HandPause(Seconds(since), until))
        assert await files.pause() == HandPause(Seconds(since), until)
    for _ in range(2):
        take_pause_back(tmp_path)
        assert await files.pause() is None


async def test_a_pause_outlives_the_agent(tmp_path: Path) -> None:
    with closing(AgentFiles(tmp_path, {})):
        ask_for_pause(tmp_path, HandPause(Seconds(1.0)))
    assert await AgentFiles(tmp_path, {}).pause() == HandPause(Seconds(1.0))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00" * 9, b"\xff\xfe", b"[]", b"{}", b'{"since": "now", "until": null}', b'{"since": 1}',
        b'{"since": true, "until": null}', b'{"since": 1, "until": NaN}', b'{"since": 1, "until": 1e400}',
        b'{"since": 1, "until": 1e300}', b'{"since": -1, "until": null}',
        pytest.param(b'{"since": 1%s, "until": null}' % (b"0" * 400), id="a number that is too large for a float"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"x": ' * 100_000, id="deep in a field that nobody reads"),
    ],
)  # fmt: skip
async def test_a_damaged_pause_pauses_nothing_and_is_said_once(
    tmp_path: Path, files: AgentFiles, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pause.json").write_bytes(content)
    for _ in range(3):
        assert await files.pause() is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == f"{tmp_path / 'pause.json'} is damaged and pauses nothing: herd-node pause writes it anew"
    ask_for_pause(tmp_path, HandPause(Seconds(1.0)))
    assert await files.pause() == HandPause(Seconds(1.0))


async def test_a_pause_that_cannot_be_read_for_a_while_stays_what_it_was(
    tmp_path: Path, files: AgentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    pause, aside = tmp_path / "pause.json", tmp_path / "aside"
    for since in (1.0, 2.0):
        ask_for_pause(tmp_path, HandPause(Seconds(since)))
        assert await files.pause() == HandPause(Seconds(since))
        pause.rename(aside)
        pause.mkdir()
        for _ in range(2):
            assert await files.pause() == HandPause(Seconds(since))
        pause.rmdir()
    assert await files.pause() is None
    assert caplog.messages == [f"cannot read {pause}, so nothing changes: Is a directory"] * 2, "each time it began"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that hangs")
async def test_a_directory_that_hangs_keeps_no_agent_from_ending(tmp_path: Path, files: AgentFiles) -> None:
    os.mkfifo(tmp_path / "pause.json")
    asking = asyncio.create_task(files.pause())
    with await asyncio.to_thread((tmp_path / "pause.json").open, "wb") as writer:
        (reader,) = [thread for thread in threading.enumerate() if thread.name == "pause"]
        assert reader.daemon, "else the process would wait for it"
        writer.write(b'{"since": 1.0, "until": null}')
    assert await asking == HandPause(Seconds(1.0))


def test_what_an_agent_shows_is_seen_whole_and_the_latest_counts(tmp_path: Path, files: AgentFiles) -> None:
    files.show(AgentStatus())
    files.show(STATUS)
    shown = agent_status(tmp_path)
    assert len(shown["id"]) == 16
    assert (shown["linked"], shown["router_id"], shown["name"]) == (True, "r1", "mac")
    (model,) = shown["models"]
    assert (model["name"], model["backend"], model["resident"], model["size"]) == ("m", "ollama", True, 0)
    assert shown["pauses"] == [{"kind": "meeting", "text": "is in a meeting", "since": 1.0, "until": None}]
    assert [path.name for path in tmp_path.glob("*.new")] == []


def test_an_agent_that_has_ended_shows_nothing_however_it_ended(tmp_path: Path) -> None:
    with open_identity(tmp_path, "agent"):
        AgentFiles(tmp_path, {}).show(STATUS)
        assert agent_status(tmp_path)["name"] == "mac"
    with pytest.raises(HerdError, match=r"no agent runs on the data directory .*: start herd-node, or name its own"):
        agent_status(tmp_path)
    with open_identity(tmp_path, "agent"):
        AgentFiles(tmp_path, {})  # and the next one has not shown anything yet
        with pytest.raises(HerdError, match="shows no status: is it an agent that has only just begun, or a router"):
            agent_status(tmp_path)


def test_an_agent_that_ends_in_order_leaves_no_status(tmp_path: Path) -> None:
    with closing(AgentFiles(tmp_path, {})) as files:
        files.show(STATUS)
    assert not (tmp_path / "status.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", pytest.param(b"[" * 100_000, id="deep")])
def test_a_status_that_is_none_is_said_in_a_sentence(tmp_path: Path, files: AgentFiles, content: bytes) -> None:
    files.show(STATUS)
    (tmp_path / "status.json").write_bytes(content)
    with pytest.raises(HerdError, match=r"cannot read .*status\.json"):
        agent_status(tmp_path)


def test_a_directory_that_cannot_be_written_stops_no_agent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    files = AgentFiles(gone, {})
    gone.rmdir()
    files.show(STATUS)
    assert f"cannot write {gone / 'status.json'}: No such file or directory" in caplog.text
    with pytest.raises(HerdError, match=r"cannot write .*pause\.json: No such file or directory"):
        ask_for_pause(gone, HandPause(Seconds(1.0)))


def test_a_pause_that_cannot_be_taken_back_is_said(tmp_path: Path) -> None:
    (tmp_path / "pause.json").mkdir()
    with pytest.raises(HerdError, match=r"cannot remove .*pause\.json"):
        take_pause_back(tmp_path)


def test_whether_somebody_runs_on_a_directory_is_seen_without_disturbing_who_does(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "none")
    with open_identity(tmp_path, "agent"):
        assert is_held(tmp_path)
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    open_identity(tmp_path, "agent").close()  # nor was it taken


def test_a_lock_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(ConfigError, match=r"Cannot use the data directory .*: Is a directory"):
        is_held(tmp_path)


def test_a_pause_is_on_the_disk_when_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    ask_for_pause(tmp_path, HandPause(Seconds(1.0), Seconds(2.0)))
    assert synced
    assert json.loads((tmp_path / "pause.json").read_bytes()) == {"since": 1.0, "until": 2.0}
