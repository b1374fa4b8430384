"""What the shell completes: commands, flags, and the names of a running router."""

import shutil
import sys
from pathlib import Path

import pytest

from herd.cli.shells import rejoined
from tests.cli.command_line import CommandLine
from tests.cli.statuses import model, node, status
from tests.cli.stub_router import Reply, StubRouter
from tests.e2e.processes import ROOT, Programs

FLEET = status(
    node("studio", model("llama3.2:3b"), model("qwen3:8b")), node("attic", model("llama3.2:3b"), model("llama3.2:1b"))
)


@pytest.fixture(name="router")
def a_router(stub: StubRouter) -> StubRouter:
    stub.tells("/herd/v1/status", FLEET)
    stub.tells("/herd/v1/requests?limit=50", {"requests": [{"id": "req_1"}, {"id": "req_2"}, {"id": "other\x1b[2J"}]})
    return stub


def completions(run: CommandLine, line: str, url: str = "http://127.0.0.1:9", *, shell: str = "bash") -> list[str]:
    """What may come in place of the last word of a line, which has single spaces."""
    script, words = line.split(" ", maxsplit=1)[0], line.split(" ")
    variables = {
        f"_{script.upper().replace('-', '_')}_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "HERD_ROUTER_URL": url,
    }
    ended = run(script, variables)
    assert (ended.code, ended.err) == (0, "")
    return [word.strip() for word in ended.out.splitlines() if word.strip()]


def test_the_first_word_is_a_command_or_a_flag_of_the_bare_form_too(run: CommandLine) -> None:
    assert completions(run, "herd dra") == ["drain"]
    assert {"serve", "status", "doctor", "pull"} <= set(completions(run, "herd "))
    assert completions(run, "herd --vers") == ["--version"]
    assert completions(run, "herd --link") == ["--link-port"]
    assert completions(run, "herd --port 1 --link") == ["--link-port"]
    assert completions(run, "herd serve --link") == ["--link-port"]
    assert "pause" in completions(run, "herd-node ")
    assert completions(run, "herd-node --back") == ["--backend-url"]
    assert completions(run, "herd-node pause --f") == ["--for"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("herd drain ", ["studio", "attic"]),
        ("herd resume a", ["attic"]),
        ("herd pause x", []),
        ("herd nodes st", ["studio"]),
        ("herd pull m --node s", ["studio"]),
        ("herd pin ll", ["llama3.2:3b", "llama3.2:1b"]),
        ("herd unpin q", ["qwen3:8b"]),
        ("herd pull q", ["qwen3:8b"]),
        ("herd story req", ["req_1", "req_2"]),
        ("herd story o", []),  # nobody could type it, and no terminal should be sent it
    ],
)
def test_names_are_those_of_the_running_router(
    run: CommandLine, router: StubRouter, line: str, found: list[str]
) -> None:
    assert completions(run, line, router.url) == found


def test_the_router_and_the_key_on_the_line_are_heeded(run: CommandLine, router: StubRouter) -> None:
    assert completions(run, f"herd drain --admin-key sesame --router-url {router.url} a") == ["attic"]
    assert router.asked[0][3]["authorization"] == "Bearer sesame"


def test_zsh_and_fish_get_them_too(run: CommandLine, router: StubRouter) -> None:
    zsh = completions(run, "herd drain a", router.url, shell="zsh")
    assert "attic" in " ".join(zsh)
    assert any("studio" in each for each in completions(run, "herd drain s", router.url, shell="fish"))


def test_a_router_that_is_away_or_odd_completes_nothing_and_says_nothing(run: CommandLine, stub: StubRouter) -> None:
    assert completions(run, "herd drain ") == []
    assert completions(run, "herd drain ", "no url") == []
    for body in (b"<html>", b"[]", b'{"nodes": 5}', b'{"nodes": [{"name": 5}]}'):
        stub.replies["/herd/v1/status"] = Reply(body)
        assert completions(run, "herd drain ", stub.url) == []


@pytest.mark.parametrize(
    ("words", "current", "whole", "index", "kept"),
    [
        ("herd pin lla", 2, "herd pin lla", 2, ""),
        ("herd pin llama3.2 :", 3, "herd pin llama3.2:", 2, "llama3.2:"),
        ("herd pin llama3.2 : 3", 4, "herd pin llama3.2:3", 2, "llama3.2:"),
        ("herd pin llama3.2 : 3b ", 5, "herd pin llama3.2:3b ", 3, ""),
        ("herd pin llama3.2 : ", 4, "herd pin llama3.2: ", 3, ""),
        ("herd pin llama3.2 : --js", 4, "herd pin llama3.2: --js", 3, ""),
        ("herd drain --router-url http : //h : 1 st", 8, "herd drain --router-url http://h:1 st", 4, ""),
        (": x", 1, ":x", 0, ":"),
    ],
)
def test_what_bash_takes_apart_is_put_together(words: str, current: int, whole: str, index: int, kept: str) -> None:
    assert rejoined(words.split(" "), current) == (whole.split(" "), index, kept)


def test_in_bash_a_model_is_completed_behind_its_colon(run: CommandLine, router: StubRouter) -> None:
    assert completions(run, "herd pin llama3.2 : ", router.url) == []
    assert completions(run, "herd pin llama3.2 :", router.url) == ["3b", "1b"]
    assert completions(run, "herd pin llama3.2 : 3", router.url) == ["3b"]


@pytest.mark.parametrize("script", ["herd", "herd-node"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_is_shown(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, script: str, shell: str
) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    ended = run(f"{script} --show-completion")
    assert (ended.code, ended.err) == (0, "")
    assert f"_{script.upper().replace('-', '_')}_COMPLETE=complete_{shell}" in ended.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
async def test_bash_itself_completes_with_the_script_that_is_installed(
    run: CommandLine, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    ended = run("herd --install-completion")
    assert (ended.code, ended.err) == (0, "")
    herd = tmp_path / "herd"
    start = "from herd.cli import entry; entry.herd()"
    herd.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "{start}"\n')
    herd.chmod(0o755)
    asking = f"""
        export PATH={tmp_path}:$PATH
        source ~/.bashrc
        complete -p herd
        COMP_WORDS=(herd dra) COMP_CWORD=1
        _herd_completion herd
        echo "${{COMPREPLY[*]}}"
    """
    program = await programs.start("bash", ["bash", "--norc", "-c", asking])
    assert await program.ended() == 0
    assert program.lines == ["complete -o default -F _herd_completion herd", "drain"]
