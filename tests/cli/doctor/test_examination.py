"""`herd doctor`: what it looks at, on this machine and of routers that are none."""

import json
import socket
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from herd.cli.doctor import examination
from herd.net.identity import open_identity
from herd.net.mdns import Heard
from herd.protocols.discovery import RouterAddress
from herd.types import RouterId, Seconds
from tests.cli.command_line import CommandLine, Ended
from tests.cli.statuses import model, node, status
from tests.cli.stub_router import Reply, StubRouter

INFO = {"router_id": "r1", "version": "0.1.0", "protocol_versions": [1], "link_tls": False, "join_token": False}


@pytest.fixture(name="closed")
def port_where_nothing_listens() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody else gets it meanwhile
        yield bound.getsockname()[1]


@pytest.fixture(name="link")
def port_where_something_listens() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(name="router")
def a_router(stub: StubRouter, link: int) -> StubRouter:
    stub.tells("/herd/v1/info", {**INFO, "link_port": link})
    stub.tells("/herd/v1/status", status(node("den", model("llama3.2:3b"))))
    return stub


def found_in(ended: Ended, check: str) -> list[tuple[str, str]]:
    """Grade and sentence of each finding of a check."""
    assert "Traceback" not in ended.err
    return [(one["grade"], one["seen"]) for one in json.loads(ended.out)["findings"] if one["check"] == check]


def test_a_router_that_answers_and_a_machine_that_serves_nothing(run: CommandLine, router: StubRouter) -> None:
    ended = run(f"herd doctor --no-mdns --json --router-url {router.url}", {"OLLAMA_HOST": "127.0.0.1:9"})
    assert (ended.code, ended.err) == (0, "")
    sentence = f"herd 0.1.0 with the id r1 answers at {router.url} (as --router-url says)"
    assert found_in(ended, "router") == [("ok", sentence)]
    (link,) = found_in(ended, "link")
    assert link[1].startswith("the link port answers at 127.0.0.1 port")
    assert found_in(ended, "model server") == [
        ("ok", "no model server answers at http://127.0.0.1:9: Connection refused")
    ]
    assert found_in(ended, "fleet") == [("ok", "1 node and nothing wrong with them: den")]
    assert [one for one in json.loads(ended.out)["findings"] if one["grade"] != "ok"] == []
    assert {(method, path) for method, path, _, _ in router.asked} == {
        *(("GET", f"/herd/v1/{word}") for word in ("info", "status")),
        ("GET", "/healthz"),
    }


def test_it_is_read_by_people_too(run: CommandLine, router: StubRouter) -> None:
    ended = run(f"herd doctor --no-mdns --router-url {router.url}")
    assert (ended.code, ended.err) == (0, "")
    assert f"answers at {router.url}" in ended.out


def test_without_a_router_it_fails_and_says_what_to_do(run: CommandLine, closed: int) -> None:
    ended = run("herd doctor --no-mdns --json", {"HERD_ROUTER_URL": f"http://127.0.0.1:{closed}"})
    assert ended.code == 1
    ((grade, sentence),) = found_in(ended, "router")
    assert (grade, "Connection refused (as HERD_ROUTER_URL says)" in sentence) == ("failed", True)


def test_the_router_that_is_heard_is_looked_at_where_none_is_named(
    run: CommandLine, router: StubRouter, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(router.url.rpartition(":")[2])
    address = RouterAddress(("127.0.0.1",), port, closed, RouterId("r1"))

    async def heard(lasts: Seconds) -> Heard:
        return Heard(("127.0.0.1",), (address,))

    monkeypatch.setattr(examination, "heard", heard)
    nothing_here = examination._Place(f"http://127.0.0.1:{closed}", "on this machine")
    monkeypatch.setattr(examination, "_HERE", nothing_here)
    ended = run("herd doctor --json --admin-key sesame-and")
    assert [headers for *_, headers in router.asked if "authorization" in headers] == []  # it could be anybody's
    assert found_in(ended, "router")[0][1].endswith(f"answers at {router.url} (heard by mDNS)")
    assert found_in(ended, "mdns")[0][0] == "ok"


def test_the_settings_of_the_agent_name_its_router_and_its_servers(
    run: CommandLine, router: StubRouter, tmp_path: Path
) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "herd.toml").write_text(
        f'[node]\nrouter-url = "{router.url}"\nbackend-url = ["{router.url}"]\n'
    )
    router.tells("/v1/models", {"object": "list", "data": [{"id": "phi-4"}]})
    ended = run("herd doctor --no-mdns --json --data-dir agent")
    assert found_in(ended, "router")[0][1].endswith("(as the settings of the agent here say)")
    assert found_in(ended, "model server") == [("ok", f"a server with OpenAI's API at {router.url} has 1 model: phi-4")]


def test_an_ollama_here_is_asked_for_its_version_and_models(run: CommandLine, router: StubRouter) -> None:
    router.tells("/api/version", {"version": "0.9.1"})
    router.tells("/api/tags", {"models": [{"name": "big:1b", "size": 2**60}, {"name": "m:1b", "size": 1}]})
    ended = run(f"herd doctor --no-mdns --json --router-url {router.url}", {"OLLAMA_HOST": router.url})
    assert found_in(ended, "model server") == [("ok", f"Ollama 0.9.1 at {router.url} has 2 models: big:1b, m:1b")]
    ((grade, sentence),) = found_in(ended, "memory")
    assert (grade, sentence.endswith("these need more: big:1b")) == ("warning", True)


def test_what_is_no_model_server_is_said_to_be_none(run: CommandLine, router: StubRouter) -> None:
    ended = run(f"herd doctor --no-mdns --json --router-url {router.url}", {"OLLAMA_HOST": router.url})
    ((_, sentence),) = found_in(ended, "model server")
    assert sentence == f"what answers at {router.url} cannot be used: no model server that Herd knows answers there"


def test_a_clock_that_is_wrong_is_told(run: CommandLine, router: StubRouter) -> None:
    router.replies["/healthz"] = Reply(b"", headers=(("X-Date", "none"),))
    assert found_in(run(f"herd doctor --no-mdns --json --router-url {router.url}"), "clock")[0][0] == "ok"
    router.date = formatdate(1_000_000_000, usegmt=True)
    ((grade, sentence),) = found_in(run(f"herd doctor --no-mdns --json --router-url {router.url}"), "clock")
    assert (grade, "behind this machine's" in sentence) == ("warning", True)
    router.date = "yesterday"
    assert found_in(run(f"herd doctor --no-mdns --json --router-url {router.url}"), "clock") == []


def test_a_router_that_keeps_its_fleet_to_itself(run: CommandLine, router: StubRouter) -> None:
    router.tells("/herd/v1/status", {"error": "this router has keys"}, 401)
    ended = run(f"herd doctor --no-mdns --json --router-url {router.url}")
    assert ended.code == 0
    assert ("warning", "how its fleet stands it does not tell: this router has keys") in found_in(ended, "router")


def test_the_key_goes_with_what_needs_one_to_the_router_that_is_named(run: CommandLine, router: StubRouter) -> None:
    run(f"herd doctor --no-mdns --router-url {router.url} --admin-key sesame-and")
    assert [path for _, path, _, headers in router.asked if "authorization" in headers] == ["/herd/v1/status"]


@pytest.mark.parametrize("info", [None, {}, {"link_port": "x"}, []])
def test_whatever_answers_instead_of_a_router_is_none(run: CommandLine, stub: StubRouter, info: Any) -> None:
    stub.tells("/herd/v1/info", info)
    ended = run(f"herd doctor --no-mdns --json --router-url {stub.url}")
    assert ended.code == 1
    assert "does not answer this as a router does" in found_in(ended, "router")[0][1]


def test_an_agent_that_does_not_run_and_settings_that_are_none(
    run: CommandLine, router: StubRouter, tmp_path: Path
) -> None:
    with open_identity(tmp_path / "agent", "agent"):
        held = run(f"herd doctor --no-mdns --json --data-dir agent --router-url {router.url}")
        assert found_in(held, "agent")[0][0] == "failed"  # it runs, and shows nothing
    gone = run(f"herd doctor --no-mdns --json --data-dir agent --router-url {router.url}")
    assert found_in(gone, "agent") == [("warning", "herd-node does not run on agent")]
    (tmp_path / "agent" / "herd.toml").write_text("[node]\nnam = 1\n")
    flawed = run(f"herd doctor --no-mdns --json --data-dir agent --router-url {router.url}")
    assert flawed.code == 1
    assert found_in(flawed, "agent") == [("failed", 'agent/herd.toml: there is no setting "nam" in [node]')]


@pytest.mark.parametrize("words", ["--router-url nowhere", "--bogus", "extra"])
def test_wrong_usage_looks_at_nothing(run: CommandLine, words: str) -> None:
    ended = run(f"herd doctor {words}")
    assert (ended.code, ended.out) == (2, "")
