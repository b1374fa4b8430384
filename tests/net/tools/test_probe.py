"""Which machines have tools that Herd can run."""

from pathlib import Path

import pytest

from herd.net.tools.probe import Tools, find_tools


@pytest.fixture(name="home")
def home_with_tools(tmp_path: Path) -> Path:
    """A home into which both tools are installed, as `uv tool install` does it."""
    commands = tmp_path / ".local" / "bin"
    commands.mkdir(parents=True)
    for name in ("mflux-capabilities", "mlx-qwen3-asr"):
        (commands / name).touch(mode=0o755)
    return tmp_path


def test_tools_are_found_on_apple_s_chips_also_where_the_path_does_not_lead(home: Path) -> None:
    commands = home / ".local" / "bin"
    found = Tools(str(commands / "mflux-capabilities"), str(commands / "mlx-qwen3-asr"))
    assert find_tools({"HOME": str(home), "PATH": "/nowhere"}, "Darwin", "arm64") == found
    assert find_tools({"PATH": str(commands)}, "Darwin", "arm64") == found


def test_on_linux_they_need_a_card_of_nvidia(home: Path) -> None:
    environ = {"HOME": str(home), "PATH": str(home)}
    assert find_tools(environ, "Linux", "x86_64") == Tools()
    (home / "nvidia-smi").touch(mode=0o755)
    assert find_tools(environ, "Linux", "x86_64").mflux is not None


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "x86_64"), ("Windows", "AMD64"), ("FreeBSD", "amd64")])
def test_elsewhere_there_are_none(home: Path, system: str, machine: str) -> None:
    assert find_tools({"HOME": str(home)}, system, machine) == Tools()


def test_a_machine_without_tools_has_none(tmp_path: Path) -> None:
    assert find_tools({"HOME": str(tmp_path), "PATH": str(tmp_path)}, "Darwin", "arm64").mflux is None
