"""What a person gets who types something: help, a version, or one sentence and exit code 2. Never a traceback."""

import os
import socket
from pathlib import Path

import pytest

import herd
from herd.cli.scripts import HERD, HERD_NODE
from herd.config import NodeSettings, RouterSettings, settings_of
from tests.certificates import HOUSE, OTHER
from tests.cli.command_line import CommandLine

COMMANDS = [f"{script.name} {command}" for script in (HERD, HERD_NODE) for command in script.commands]


@pytest.mark.parametrize("line", ["herd", "herd-node", *COMMANDS])
def test_every_command_explains_itself_with_an_example(run: CommandLine, line: str) -> None:
    ended = run(f"{line} --help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: " in ended.out
    assert f"Example: {line.partition(' ')[0]} " in ended.out


@pytest.mark.parametrize(("line", "role"), [("herd serve", RouterSettings), ("herd-node run", NodeSettings)])
def test_every_setting_is_a_flag(run: CommandLine, line: str, role: type) -> None:
    out = run(f"{line} --help").out
    assert [name for name in settings_of(role) if f"--{name.replace('_', '-')} " not in out] == []


@pytest.mark.parametrize("script", ["herd", "herd-node"])
def test_the_version(run: CommandLine, script: str) -> None:
    ended = run(f"{script} --version")
    assert (ended.code, ended.out, ended.err) == (0, f"{script} {herd.__version__}\n", "")


@pytest.mark.parametrize("script", ["herd", "herd-node"])
@pytest.mark.parametrize("words", ["bogus", "--bogus", "--bogus=1", "--port", "--parallel", "--name", '""', "-x"])
def test_what_is_no_command_or_flag_is_refused(run: CommandLine, script: str, words: str) -> None:
    ended = run(f"{script} {words}")
    assert (ended.code, ended.out) == (2, "")
    assert "Error" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("herd --port 65536", "--port must be a port from 0 to 65535, not 65536"),
        ("herd serve --port 65536", "--port must be a port from 0 to 65535, not 65536"),
        ("herd --link-port -1", "--link-port must be a port from 0 to 65535, not -1"),
        ("herd --log-level loud", "--log-level must be one of debug, info, warning, error, not 'loud'"),
        ("herd --log-format xml", "--log-format must be one of text, json, not 'xml'"),
        ("herd-node --log-format xml", "--log-format must be one of text, json, not 'xml'"),
        ("herd --otlp-endpoint tempo", "--otlp-endpoint 'tempo' must look like http://127.0.0.1:4318"),
        ("herd --hold-timeout nan", "--hold-timeout must be from 0 to 3600 seconds, not nan"),
        ("herd --max-body 0", "--max-body must be at least 1 byte, not 0"),
        ("herd --api-key short", "--api-key (number 1) must have at least 8 characters"),
        ("herd --admin-key short", "--admin-key must have at least 8 characters"),
        ("herd --tls-cert cert.pem", "--tls-cert needs --tls-key beside it: give both, or neither"),
        ("herd --tls-key key.pem", "--tls-key needs --tls-cert beside it: give both, or neither"),
        ("herd --tls-cert no.pem --tls-key no.pem", "cannot read --tls-cert 'no.pem': No such file or directory"),
        (
            f"herd --tls-cert {HOUSE} --tls-key {OTHER}",
            f"--tls-key {OTHER} is not the key of --tls-cert {HOUSE}: give the two that were made together",
        ),
        ("herd --allowed-host x:1", "--allowed-host must be a name such as ai.example.com or *.example.com, not 'x:1'"),
        ("herd --scorer best", "--scorer must be one of seven-signals, completion-time, not 'best'"),
        ("herd --config nowhere.toml", "cannot read nowhere.toml: No such file or directory"),
        ("herd --config .", "cannot read .: Is a directory"),
        *(
            (
                f"{line} --dashboard",
                "--dashboard needs a terminal that can show it, and standard output is none: leave it out",
            )
            for line in ("herd", "herd demo", "herd-node")
        ),
        ("herd-node --parallel 0", "--parallel must be from 1 to 1024, not 0"),
        ("herd-node --config nowhere.toml", "cannot read nowhere.toml: No such file or directory"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_sentence(run: CommandLine, line: str, sentence: str) -> None:
    ended = run(line)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {sentence}\n")


def test_a_word_where_a_number_belongs_is_refused(run: CommandLine) -> None:
    ended = run("herd --port abc")
    assert ended.code == 2
    assert "Invalid value for '--port'" in ended.err


@pytest.mark.parametrize("line", ["herd --auto-pull"])
def test_what_this_version_cannot_do_is_refused_and_not_ignored(run: CommandLine, line: str) -> None:
    ended = run(line)
    flag = line.split(" ")[1]
    sentence = f"error: {flag} is not available in Herd {herd.__version__} yet: leave it out\n"
    assert (ended.code, ended.out, ended.err) == (2, "", sentence)


@pytest.mark.parametrize(
    ("line", "name", "value", "sentence"),
    [
        ("herd", "HERD_PORT", "abc", "the environment variable HERD_PORT cannot be 'abc'"),
        ("herd", "HERD_NO_MDNS", "maybe", "the environment variable HERD_NO_MDNS must be true or false, not 'maybe'"),
        ("herd", "HERD_DASHBOARD", "1", "--dashboard needs a terminal that can show it"),
        ("herd", "HERD_CONFIG", "nowhere.toml", "cannot read nowhere.toml"),
        ("herd-node", "HERD_NODE_PARALLEL", "0", "the environment variable HERD_NODE_PARALLEL must be from 1 to 1024"),
        ("herd-node", "HERD_NODE_LOG_LEVEL", "x", "the environment variable HERD_NODE_LOG_LEVEL must be one of"),
    ],
)
def test_the_environment_is_held_to_the_same(run: CommandLine, line: str, name: str, value: str, sentence: str) -> None:
    ended = run(line, {name: value})
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {sentence}")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = ", "is not valid TOML: "),
        ("port = 1", '"port" belongs into no table that Herd knows: settings go into [herd] or [node]'),
        ("herd = 5", "herd must be a table: write [herd] on a line of its own"),
        ("[hrd]\nport = 1", '"hrd" belongs into no table that Herd knows: settings go into [herd] or [node]'),
        ("[herd]\nprt = 1", 'there is no setting "prt" in [herd]'),
        ("[herd]\nport = [1]", '"port" in [herd] cannot be [1]'),
        ('[herd]\nlink-port = "x"', "\"link-port\" in [herd] cannot be 'x'"),
        ("[herd]\ndashboard = true", "--dashboard needs a terminal that can show it"),
        ("\xff", "is not valid TOML: "),
    ],
)
def test_the_file_is_held_to_the_same(run: CommandLine, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "herd.toml").write_bytes(text.encode("latin-1"))
    for line in ("herd --config herd.toml", "herd --data-dir ."):
        ended = run(line)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("error: ")
        assert sentence in ended.err
        assert "Traceback" not in ended.err


def sentence_of(run: CommandLine, line: str, variables: dict[str, str] | None = None) -> str:
    """The one sentence with which a command refuses to run."""
    ended = run(line, variables)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("error: ")
    return ended.err


def test_ports_that_are_taken_are_named(run: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        quiet = "--no-mdns --host 127.0.0.1"
        http = sentence_of(run, f"herd --port {port} --link-port 0 {quiet}")
        link = sentence_of(run, f"herd --port 0 --link-port {port} {quiet}")
    assert f"cannot listen on 127.0.0.1 port {port}: " in http
    assert f"cannot listen for agents on 127.0.0.1 port {port}: " in link
    assert "in use" in http


def test_a_host_that_is_none_is_named(run: CommandLine) -> None:
    words = "--port 0 --link-port 0 --no-mdns --host nowhere.invalid"
    assert "cannot listen for agents on nowhere.invalid port 0: " in sentence_of(run, f"herd {words}")


def test_directories_that_cannot_be_used_are_named(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "identity.json").write_text("{")
    below = sentence_of(run, "herd --data-dir file/below")
    assert "Cannot use the data directory file/below: Not a directory." in below
    assert "damaged/identity.json is damaged." in sentence_of(run, "herd-node --data-dir damaged")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_read_only_is_named(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    assert "Cannot use the data directory data: Permission denied." in sentence_of(run, "herd --data-dir data")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "--router-url 192.168.1.10:11435",
            "--router-url '192.168.1.10:11435' must look like http://192.168.1.10:11435",
        ),
        ("--router-url http://[::1", "--router-url 'http://[::1' is not a URL"),
        ("--backend-url http://[::1", "--backend-url 'http://[::1' is not a URL"),
        ("--backend-url ftp://host", "--backend-url 'ftp://host' must look like http://127.0.0.1:11434"),
        ("--no-mdns", "with --no-mdns the agent cannot find the router: give it --router-url"),
    ],
)
def test_addresses_that_are_none_are_named(run: CommandLine, line: str, sentence: str) -> None:
    assert sentence in sentence_of(run, f"herd-node {line}")


def test_an_ollama_host_that_is_none_is_named(run: CommandLine) -> None:
    assert "OLLAMA_HOST '[::1' is not an address" in sentence_of(run, "herd-node", {"OLLAMA_HOST": "[::1"})
