"""What is imported for a command line: the command that it names, and no other."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest

from herd.cli.application import Script
from herd.cli.scripts import HERD, HERD_NODE

Imported = Callable[..., set[str]]
LOOK = """
import sys
from herd.cli.scripts import HERD
HERD.app([{word!r}], {{}})
print(*sys.modules)
"""
# What a router, an agent or a simulation takes, and a question does not.
HEAVY = {
    "herd.actors.router", "herd.actors.agent", "herd.net.http_server", "herd.runtime", "herd.simulation", "herd.store",
    "aiohttp.web", "opentelemetry", "prometheus_client", "psutil", "pykka", "sqlite_utils", "zeroconf",
}  # fmt: skip


@pytest.fixture(name="imported")
def what_a_line_imports(monkeypatch: pytest.MonkeyPatch) -> Imported:
    def imported(words: list[str], **environ: str) -> set[str]:
        asked: set[str] = set()

        def imports(name: str) -> ModuleType:
            asked.add(name.removeprefix("herd.cli."))
            return import_module(name)

        monkeypatch.setattr("herd.cli.application.import_module", imports)
        HERD.app(words, environ)
        return asked

    return imported


@pytest.mark.parametrize("words", [["nodes", "studio", "--json"], ["nodes"], ["nodes", "--help"]])
def test_a_line_brings_in_the_command_that_it_names(imported: Imported, words: list[str]) -> None:
    assert imported(words) == {"remote.nodes"}


def test_a_bare_line_brings_in_the_router_alone(imported: Imported) -> None:
    assert imported(["--port", "1"]) == imported([]) == {"router"}


@pytest.mark.parametrize("words", [["--help"], ["bogus"], ["--install-completion"]])
def test_a_line_that_names_no_command_may_list_them_all(imported: Imported, words: list[str]) -> None:
    assert imported(words) >= {"remote.nodes", "router", "simulate.command", "demo"}


def test_a_line_that_the_shell_wants_completed_is_read_as_one_that_is_run(imported: Imported) -> None:
    asked = {"_HERD_COMPLETE": "complete_bash", "COMP_WORDS": "herd nodes stu", "COMP_CWORD": "2"}
    assert imported([], **asked) == {"remote.nodes"}
    asked["COMP_WORDS"] = "herd no"
    assert imported([], **asked) >= {"remote.nodes", "router"}


@pytest.mark.parametrize("word", ["top", "nodes", "pull"])
def test_a_question_takes_nothing_that_only_a_router_needs(word: str) -> None:
    look = [sys.executable, "-c", LOOK.format(word=word)]
    found = set(subprocess.run(look, check=True, capture_output=True, text=True).stdout.split())
    assert f"herd.cli.{HERD.commands[word].partition(':')[0]}" in found
    assert not found & HEAVY


@pytest.mark.parametrize("script", [HERD, HERD_NODE], ids=lambda script: script.name)
def test_every_command_is_where_it_is_said_to_be(script: Script) -> None:
    names = [command.name for command in script.app().registered_commands]
    assert names == list(script.commands)
