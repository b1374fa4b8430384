import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from herd.errors import ConfigError
from herd.net.identity import flaw_of_identity, open_identity
from herd.types import RouterId

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    with open_identity(tmp_path / "new" / "dir", "agent") as first:
        assert re.fullmatch("[0-9a-f]{16}", first.id)
        assert first.router_id == ""
    with open_identity(tmp_path / "new" / "dir", "agent") as second:
        assert second.id == first.id


def test_two_directories_are_two_identities(tmp_path: Path) -> None:
    with open_identity(tmp_path / "a", "agent") as a, open_identity(tmp_path / "b", "agent") as b:
        assert a.id != b.id


def test_the_router_that_an_agent_joined_is_remembered(tmp_path: Path) -> None:
    with open_identity(tmp_path, "agent") as identity:
        identity.remember_router(RouterId("0f3c9a5e11d2b768"))
        own_id = identity.id
    with open_identity(tmp_path, "agent") as identity:
        assert identity.router_id == "0f3c9a5e11d2b768"
        assert identity.id == own_id


@posix
def test_only_the_owner_can_read_a_new_directory(tmp_path: Path) -> None:
    with open_identity(tmp_path / "data", "router"):
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_second_process_on_the_directory_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom herd.net.identity import open_identity\n"
        "identity = open_identity(Path(sys.argv[1]), 'agent')\nprint(identity.id, flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        held = holder.stdout.readline().strip()
        with pytest.raises(ConfigError, match=r"Another process of Herd is already running .* --data-dir"):
            open_identity(tmp_path, "agent")
        holder.kill()  # no goodbye: the lock must not outlive the process
        holder.wait()
    with open_identity(tmp_path, "agent") as identity:
        assert identity.id == held


def test_closing_gives_the_identity_back(tmp_path: Path) -> None:
    identity = open_identity(tmp_path, "agent")
    with pytest.raises(ConfigError, match="Another process of Herd"):
        open_identity(tmp_path, "agent")
    identity.close()
    identity.close()
    open_identity(tmp_path, "agent").close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 64,
        b"{",
        b"[]",
        b"null",
        b'{"role": "agent"}',
        b'{"role": "agent", "id": 7, "router_id": ""}',
        b'{"role": "agent", "id": "short", "router_id": ""}',
        b'{"role": "agent", "id": "0f3c9a5e11d2b768", "router_id": null}',
    ],
)
def test_a_damaged_identity_is_reported_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "identity.json"
    file.write_bytes(content)
    for _ in range(2):  # the lock is not kept either
        with pytest.raises(ConfigError, match=r"identity\.json is damaged\. Restore it .* or delete it"):
            open_identity(tmp_path, "agent")
    assert file.read_bytes() == content


def test_a_router_does_not_take_an_agents_directory(tmp_path: Path) -> None:
    open_identity(tmp_path, "agent").close()
    with pytest.raises(ConfigError, match=r"another role \(agent\): use --data-dir"):
        open_identity(tmp_path, "router")


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot use the data directory"):
        open_identity(tmp_path / "file" / "data", "agent")


def test_a_write_that_fails_leaves_the_old_identity_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with open_identity(tmp_path, "agent") as identity:
        before = json.loads((tmp_path / "identity.json").read_bytes())
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space left"):
            identity.remember_router(RouterId("other"))
        assert json.loads((tmp_path / "identity.json").read_bytes()) == before
        assert identity.router_id == "other"


def test_the_flaw_of_an_identity_is_what_would_keep_a_process_from_starting(tmp_path: Path) -> None:
    assert flaw_of_identity(tmp_path, "agent") == ""  # there is none yet
    with open_identity(tmp_path, "agent"):
        assert flaw_of_identity(tmp_path, "agent") == ""  # however taken it is
    assert "is the data directory of another role (agent)" in flaw_of_identity(tmp_path, "router")
    (tmp_path / "identity.json").write_text("{")
    assert "is damaged" in flaw_of_identity(tmp_path, "agent")
    (tmp_path / "identity.json").unlink()
    (tmp_path / "identity.json").mkdir()
    assert "Cannot read" in flaw_of_identity(tmp_path, "agent")
