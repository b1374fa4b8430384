"""What is imported for a command line: the command that it names, and no other."""

import subprocess
import sys

import pytest

from herd.cli.scripts import HERD

LOOK = """
import sys
from herd.cli.scripts import HERD
HERD.app({words!r}, {environ!r})
print(*sorted(name.removeprefix("herd.cli.") for name in sys.modules if name.startswith("herd.cli.")))
"""


def imported(words: list[str], **environ: str) -> set[str]:
    program = LOOK.format(words=words, environ=environ)
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


@pytest.mark.parametrize("words", [["nodes", "studio", "--json"], ["nodes"], ["nodes", "--help"]])
def test_a_small_command_brings_in_neither_the_router_nor_the_simulator(words: list[str]) -> None:
    assert imported(words) & {"remote.nodes", "router", "simulate", "demo", "remote.stories"} == {"remote.nodes"}


def test_a_bare_line_brings_in_the_router_alone() -> None:
    assert imported(["--port", "1"]) & {"remote.nodes", "router", "simulate", "demo"} == {"router"}


@pytest.mark.parametrize("words", [["--help"], ["bogus"], ["--install-completion"]])
def test_a_line_that_names_no_command_may_list_them_all(words: list[str]) -> None:
    assert imported(words) >= {"remote.nodes", "router", "simulate", "demo"}


def test_a_line_that_the_shell_wants_completed_is_read_as_one_that_is_run() -> None:
    asked = {"_HERD_COMPLETE": "complete_bash", "COMP_WORDS": "herd nodes stu", "COMP_CWORD": "2"}
    assert imported([], **asked) & {"remote.nodes", "router"} == {"remote.nodes"}
    asked["COMP_WORDS"] = "herd no"
    assert imported([], **asked) >= {"remote.nodes", "router"}


def test_every_command_is_where_it_is_said_to_be() -> None:
    names = [command.name for command in HERD.app().registered_commands]
    assert names == list(HERD.commands)
