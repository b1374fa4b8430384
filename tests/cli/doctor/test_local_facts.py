"""The files of Herd's on a machine, and what is wrong with them."""

import sys
from pathlib import Path

import pytest

from herd.cli.doctor.diagnosis import FileTrouble, ServerFacts
from herd.cli.doctor.local_facts import agent_of, files_of, settings_of_agent, tools_here
from herd.net.identity import open_identity
from tests.certificates import HOUSE
from tests.net.tools.speech import cache_with
from tests.net.tools.weights import put_weights

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@pytest.fixture(autouse=True)
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HERD_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(name="agent")
def directory_of_an_agent(tmp_path: Path) -> Path:
    with open_identity(tmp_path / "agent", "agent"):
        return tmp_path / "agent"


def only(troubles: tuple[FileTrouble, ...]) -> FileTrouble:
    (trouble,) = troubles
    return trouble


def test_what_is_not_there_is_no_trouble(tmp_path: Path, agent: Path) -> None:
    assert files_of(tmp_path / "nowhere") == ()
    assert files_of(agent) == ()


def test_a_directory_that_is_none_or_another_roles(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert only(files_of(tmp_path / "file")).what == f"{tmp_path / 'file'} is no directory"
    with open_identity(tmp_path / ".herd", "router"):
        assert files_of(tmp_path / "nowhere") == ()
        assert "is the data directory of another role (router)" in only(files_of(tmp_path / ".herd")).what


@posix
def test_a_directory_that_cannot_be_written(agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    trouble = only(files_of(agent))
    assert (trouble.grave, trouble.what) == (True, f"{agent} cannot be written by this user")
    assert "chown" in trouble.advice
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    assert "run herd doctor as the user who runs" in only(files_of(agent)).advice


def test_a_directory_that_is_another_users_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)  # root may read everywhere
    settings, flaw = settings_of_agent(tmp_path)
    assert (settings.data_dir, flaw) == (tmp_path, f"cannot read {tmp_path / 'herd.toml'}: Permission denied")
    assert agent_of(tmp_path, flaw, token=False).trouble == flaw


def test_files_that_are_damaged(agent: Path) -> None:
    (agent / "known-routers.json").write_text("[]")
    assert "known-routers.json is damaged" in only(files_of(agent)).what
    (agent / "known-routers.json").unlink()
    (agent / "herd.toml").write_text("port = ")
    assert "is not valid TOML" in only(files_of(agent)).what


@posix
@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ('[node]\njoin-token = "sesame"', 0o640, True),
        ('[node]\njoin-token = "sesame"', 0o604, True),
        ('[node]\njoin-token = "sesame"', 0o600, False),
        ('[node]\nname = "den"', 0o644, False),
        ('[herd]\nadmin-key = "sesame-and"', 0o644, False),  # what a router's section says is in its own file
    ],
)
def test_settings_with_secrets_are_for_their_owner_alone(agent: Path, text: str, mode: int, told: bool) -> None:
    file = agent / "herd.toml"
    file.write_text(text)
    file.chmod(mode)
    troubles = files_of(agent)
    assert bool(troubles) is told
    if told:
        assert (only(troubles).grave, only(troubles).advice) == (False, f"chmod 600 {file}")
        assert "sesame" not in only(troubles).what


@posix
def test_so_is_the_key_of_a_routers_certificate(tmp_path: Path) -> None:
    with open_identity(tmp_path / ".herd", "router"):
        key = tmp_path / "key.pem"
        key.write_bytes(Path(HOUSE).read_bytes())
        (tmp_path / ".herd" / "herd.toml").write_text(f'[herd]\ntls-key = "{key}"')
        key.chmod(0o644)
        assert only(files_of(tmp_path / "nowhere")).what.startswith(f"{key} holds secrets")
        key.chmod(0o600)
        assert files_of(tmp_path / "nowhere") == ()


@posix
def test_tools_that_an_agent_runs_are_found_with_what_is_on_the_disk(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, "Qwen/Qwen3-ASR-0.6B")
    put_weights(tmp_path / "hub", "z-image-turbo")
    assert tools_here(environ, "Linux", "x86_64") == (
        ServerFacts("mflux://local", kind="mflux", models=(("z-image-turbo", 3000),)),
        ServerFacts("mlx-qwen3-asr://local", kind="mlx-qwen3-asr", models=(("qwen3-asr:0.6b", 1019),)),
    )
    assert tools_here(environ, "Windows", "AMD64") == ()
