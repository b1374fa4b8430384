"""Every command that talks to a router fails in one helpful sentence, and with the right exit code."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import typer

from herd.cli.scripts import HERD
from tests.cli.command_line import CommandLine, Ended
from tests.cli.stub_router import Reply, StubRouter

# How each is called, by its name.
LINES = {
    "status": "status",
    "nodes": "nodes den",
    "models": "models",
    "queues": "queues",
    "requests": "requests",
    "story": "story req_1",
    "logs": "logs",
    "drain": "drain den",
    "resume": "resume den",
    "pause": "pause den --for 2h",
    "pull": "pull llama3.2:3b",
    "pin": "pin llama3.2:3b",
    "unpin": "unpin llama3.2:3b",
}
# They say more than a sentence, each for a reason of its own, and have tests of their own.
OTHERS = {
    "doctor",  # whose findings say it
    "top",  # which looks for the router until it is there
}
TALKING = {
    name
    for name, command in typer.main.get_command(HERD.app()).commands.items()  # type: ignore[attr-defined]
    if any(parameter.name == "router_url" for parameter in command.params) and not command.hidden
}


def test_the_table_has_every_command_that_talks_to_a_router() -> None:
    assert set(LINES) == TALKING - OTHERS


@pytest.mark.parametrize("name", sorted(TALKING))
def test_each_has_json_a_key_and_an_example(run: CommandLine, name: str) -> None:
    out = run(f"herd {name} --help").out
    assert "--admin-key" in out
    assert f"Example: herd {name}" in out
    assert "--json" in out


def failed(ended: Ended, sentence: str, code: int = 1) -> None:
    """It ended as it should: with one sentence, and nothing that looks like an answer."""
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert sentence in ended.err


every_command = pytest.mark.parametrize("line", LINES.values(), ids=LINES)


@every_command
@pytest.mark.parametrize("more", ["", " --json"], ids=["text", "json"])
def test_a_router_that_is_away(run: CommandLine, line: str, more: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        ended = run(f"herd {line}{more} --router-url http://127.0.0.1:{bound.getsockname()[1]}")
    failed(ended, "Connection refused; is the router running? --router-url names another")


@every_command
def test_a_name_that_nobody_knows(run: CommandLine, line: str) -> None:
    ended = run(f"herd {line}", {"HERD_ROUTER_URL": "http://herd.invalid:11435"})
    failed(ended, "is the router running? --router-url names another")


@every_command
def test_a_url_that_is_none(run: CommandLine, line: str) -> None:
    failed(run(f"herd {line} --router-url 192.168.1.10"), "must look like http://127.0.0.1:11435", code=2)
    failed(run(f"herd {line}", {"HERD_ROUTER_URL": "ftp://x"}), "HERD_ROUTER_URL", code=2)


@every_command
def test_a_key_that_no_header_can_carry(run: CommandLine, stub: StubRouter, line: str) -> None:
    ended = run(f"herd {line} --admin-key sésame --router-url {stub.url}")
    failed(ended, "must consist of ASCII letters, digits and signs", code=2)
    assert "sésame" not in ended.err
    assert stub.asked == []


@every_command
def test_a_router_that_wants_a_key(run: CommandLine, stub: StubRouter, line: str) -> None:
    everywhere(stub, Reply(b'{"error":"unauthorized"}', 401))
    failed(run(f"herd {line} --router-url {stub.url}"), "wants a key for this: give one of its own with --admin-key")
    ended = run(f"herd {line} --router-url {stub.url} --admin-key guess-guess")
    failed(ended, "does not know this key: give one of its own with --admin-key")
    assert "guess" not in ended.err
    assert {headers["authorization"] for *_, headers in stub.asked if "authorization" in headers} == {
        "Bearer guess-guess"
    }


@every_command
def test_what_a_router_refuses_is_said_in_its_words(run: CommandLine, stub: StubRouter, line: str) -> None:
    everywhere(stub, Reply(json.dumps({"error": "not today\x1b[2J"}).encode(), 403))
    failed(run(f"herd {line} --router-url {stub.url}"), "error: not today\\x1b[2J\n")


@every_command
def test_a_router_of_another_version_or_another_server(run: CommandLine, stub: StubRouter, line: str) -> None:
    for body in (b"<html>", b"[]", b'{"error": 5}'):
        everywhere(stub, Reply(body, 404))
        failed(run(f"herd {line} --router-url {stub.url}"), "(404): is it of another version?")
    everywhere(stub, Reply(b"This port speaks HTTPS", 400))
    failed(run(f"herd {line} --router-url {stub.url}"), "(400): does it want https://?")


@every_command
def test_an_answer_of_another_form(run: CommandLine, stub: StubRouter, line: str) -> None:
    everywhere(stub, Reply(b'{"name": 5, "nodes": 5, "requests": 5, "lines": 5, "status": 5}'))
    ended = run(f"herd {line} --router-url {stub.url}")
    if line.split(" ", maxsplit=1)[0] in {"drain", "resume", "pause"}:  # done it is; what is said of it is for people
        assert (ended.code, ended.err) == (0, "")
    else:
        assert (ended.code, ended.err.count("\n")) == (1, 1)


@every_command
def test_https_where_http_is_spoken(run: CommandLine, stub: StubRouter, line: str) -> None:
    ended = run(f"herd {line} --router-url {stub.url.replace('http', 'https')}")
    failed(ended, "it does not speak HTTPS, or no version of TLS that is spoken here")


@pytest.fixture(name="silent")
def server_that_closes() -> Iterator[str]:
    """Takes connections, and closes each as soon as something comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopped = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if stopped.is_set():
                        return
                    connection.recv(64 * 1024)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        stopped.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()


@every_command
def test_a_connection_that_is_closed(run: CommandLine, silent: str, line: str) -> None:
    failed(run(f"herd {line} --router-url {silent}"), "it closed the connection; is the router running?")


def everywhere(stub: StubRouter, reply: Reply) -> None:
    """Answer so whatever is asked."""
    stub.replies.clear()
    stub.otherwise = reply
