"""The small commands at real routers: one with a fleet, one with keys, one with a certificate and a join token."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from herd.net.http_client import AiohttpServers
from tests.certificates import HOUSE
from tests.cli.command_line import CommandLine, Ended
from tests.cli.test_failures import LINES
from tests.e2e.house import ONLY, House, running_house
from tests.e2e.model_servers import LOOPBACK
from tests.e2e.processes import Programs

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY, ADMIN, TOKEN = "a-client-s-secret", "an-admin-s-secret", "sesame-and-lilies"
WORDS = ("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns", "--data-dir", "router")
FETCHED = "llama3.2:1b"

Asked = Callable[..., Coroutine[Any, Any, Ended]]

_OF_A_PROGRAM = re.compile(r"^[a-z]+ \| .*\n", re.MULTILINE)  # what they say meanwhile goes to the same output


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def house_of_the_file(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with running_house(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest_asyncio.fixture(name="keyed", scope="module", loop_scope="module")
async def url_of_a_router_with_keys(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    variables = {"HERD_ADMIN_KEY": ADMIN, "HERD_API_KEY": KEY}
    async with Programs(tmp_path_factory.mktemp("keyed")) as programs:
        router = await programs.herd(*WORDS, variables=variables)
        yield (await router.says(r"is up: (http://\S+)"))[1]


@pytest_asyncio.fixture(name="sealed", scope="module", loop_scope="module")
async def url_of_a_router_with_tls_and_a_token(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with Programs(tmp_path_factory.mktemp("sealed")) as programs:
        words = ("--tls-cert", HOUSE, "--tls-key", HOUSE)
        router = await programs.herd(*WORDS, *words, variables={"HERD_JOIN_TOKEN": TOKEN})
        yield (await router.says(r"is up: (https://\S+)"))[1]


@pytest.fixture(name="beside")
def command_beside_the_loop(run: CommandLine) -> Asked:
    """Run a line while the loop goes on."""

    async def beside(line: str, **variables: str) -> Ended:
        ended = await asyncio.to_thread(run, line, variables)
        return replace(ended, out=_OF_A_PROGRAM.sub("", ended.out))

    return beside


@pytest.fixture(name="asked")
def command_of_the_house(beside: Asked, house: House) -> Asked:
    """The same, at the router of the house."""

    async def asked(line: str) -> Ended:
        return await beside(line, HERD_ROUTER_URL=house.url)

    return asked


async def test_the_fleet_its_models_and_its_queues(asked: Asked) -> None:
    status = await asked("herd status")
    assert (status.code, status.err) == (0, "")
    assert "2 nodes, 2 serving" in status.out
    models = {one["name"]: one for one in json.loads((await asked("herd models --json")).out)["models"]}
    assert (models["qwen3:8b"]["nodes"], "tools" in models["qwen3:8b"]["capabilities"]) == (["attic"], True)
    queues = json.loads((await asked("herd queues --json")).out)
    assert {queue["node"] for queue in queues["queues"]} <= {"attic", "cellar"}


async def test_the_log_of_the_router(asked: Asked) -> None:
    lines = json.loads((await asked("herd logs --json --limit 1000")).out)["lines"]
    assert any(line["message"].startswith("cellar joined from") for line in lines)
    text = await asked("herd logs --level info")
    assert (text.code, text.err) == (0, "")
    assert "cellar joined from" in text.out


async def test_following_the_log_until_ctrl_c(asked: Asked, house: House) -> None:
    follower = await house.programs.herd("logs", "-f", "--limit", "1", "--router-url", house.url)
    await follower.says("joined|fetches")  # the line before
    assert (await asked("herd pull nobody-has-this --node attic")).code == 1
    await follower.says("attic fetches nobody-has-this")
    assert await follower.stop(signal.SIGINT) == 130


async def test_a_pull_and_the_model_that_is_there_then(asked: Asked, house: House) -> None:
    pulled = await asked(f"herd pull {FETCHED} --node attic")
    assert (pulled.code, pulled.err) == (0, "")
    lines = pulled.out.splitlines()
    assert (lines[0], lines[-1]) == ("to attic", "success")
    models = {one["name"]: one for one in json.loads((await asked("herd models --json")).out)["models"]}
    assert models[FETCHED]["nodes"] == ["attic"]


async def test_a_pull_of_what_there_is_not_and_to_where_there_is_nobody(asked: Asked) -> None:
    for line, sentence in (
        ("herd pull nobody-has-this", "error: pull model manifest: file does not exist\n"),
        ("herd pull nobody-has-this --node attc", "error: there is no node 'attc': the nodes are attic, cellar\n"),
        ("herd drain attc", "error: there is no node 'attc': the nodes are attic, cellar\n"),
        ("herd nodes attc", "error: there is no node 'attc': the nodes are attic, cellar\n"),
        (f"herd pin {ONLY['attic']}x", f"error: no node has '{ONLY['attic']}x': did you mean {ONLY['attic']}?\n"),
        ("herd unpin zzz", "error: 'zzz' is not pinned\n"),
    ):
        ended = await asked(line)
        assert (ended.code, ended.err) == (1, sentence)
    story = await asked("herd story req_none")
    assert (story.code, "no request 'req_none' is known" in story.err) == (1, True)


async def test_ctrl_c_stops_a_pull_and_says_so(house: House) -> None:
    gate = house.servers["cellar"].gate
    gate.clear()
    try:
        pull = await house.programs.herd("pull", "phi4:14b", "--node", "cellar", "--router-url", house.url)
        await pull.says("pulling manifest")
        assert await pull.stop(signal.SIGINT) == 130
        assert pull.lines[-1].startswith("stopped: the pull ends, unless somebody else waits for it")
    finally:
        gate.set()


async def test_the_doctor_on_a_machine_that_serves(asked: Asked, house: House) -> None:
    directory = house.programs.home / "attic"
    ended = await asked(f"herd doctor --no-mdns --json --data-dir {directory}")
    assert (ended.code, ended.err) == (0, "")
    found = {one["check"]: one for one in json.loads(ended.out)["findings"]}
    assert [one for one in found.values() if one["grade"] == "failed"] == []
    assert found["agent"]["seen"].startswith("the agent attic is joined to router ")
    assert found["model server"]["seen"].startswith(f"Ollama 0.33.0 at {house.servers['attic'].url} has ")


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture(name="far")
def client_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's header stands for a client on another machine."""
    opened = AiohttpServers._new_session

    def through_a_proxy(self: AiohttpServers, connector: Any) -> Any:
        self._headers = (*self._headers, ("X-Forwarded-For", "192.168.1.7"))
        return opened(self, connector)

    monkeypatch.setattr(AiohttpServers, "_new_session", through_a_proxy)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_from_another_machine_a_router_with_keys_wants_one(beside: Asked, keyed: str, line: str) -> None:
    for variables in ({}, {"HERD_ADMIN_KEY": "guess-guess"}):
        ended = await beside(f"herd {line} --router-url {keyed}", **variables)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "--admin-key" in ended.err or "this key does not let you" in ended.err
        assert "guess-guess" not in ended.err
    ended = await beside(f"herd {line} --router-url {keyed}", HERD_ADMIN_KEY=ADMIN)
    assert ADMIN not in ended.out + ended.err
    # It is let in: what still fails does so for want of nodes.
    told = (0, "") if line.split(" ", maxsplit=1)[0] in {"status", "models", "queues", "requests", "logs"} else None
    if told is None:
        assert "no " in ended.err or "is not pinned" in ended.err
        assert "key" not in ended.err
    else:
        assert (ended.code, ended.err) == told


async def test_on_its_own_machine_such_a_router_is_read_without_one(beside: Asked, keyed: str) -> None:
    for line in ("status", "models", "queues", "requests", "logs", "doctor --no-mdns"):
        ended = await beside(f"herd {line} --router-url {keyed}")
        assert ended.err == ""
    ended = await beside(f"herd pull m --router-url {keyed}")
    assert (ended.code, "wants a key for this" in ended.err) == (1, True)


# --- a certificate and a join token -----------------------------------------------------------------------------------


async def test_the_doctor_proves_the_join_token_and_joins_nothing(beside: Asked, sealed: str) -> None:
    async def found(url: str, token: str) -> dict[str, Any]:
        line = f"herd doctor --no-mdns --json --router-url {url}"
        ended = await beside(line, HERD_NODE_JOIN_TOKEN=token, OLLAMA_HOST=f"{LOOPBACK}:9")
        assert TOKEN not in ended.out + ended.err
        return {one["check"]: one for one in json.loads(ended.out)["findings"]}

    right = await found(sealed, TOKEN)
    assert (right["token"]["grade"], right["link"]["seen"].endswith("with TLS")) == ("ok", True)
    assert "its certificate is not trusted" in right["router"]["seen"]
    wrong = await found(sealed, "not-the-token")
    assert wrong["token"]["grade"] == "failed"
    assert "does not hold this agent's join token" in wrong["token"]["seen"]
    none = await found(sealed.replace("https", "http"), "")
    assert (none["token"]["grade"], none["router"]["grade"]) == ("warning", "warning")
    assert none["router"]["advice"] == f"it speaks HTTPS: ask with --router-url {sealed}"


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_a_router_with_a_certificate_is_told_from_one_that_is_away(beside: Asked, sealed: str, line: str) -> None:
    for url, sentence in (
        (sealed, "its certificate is not trusted: "),
        (sealed.replace("https", "http"), "(400): does it want https://?"),
    ):
        ended = await beside(f"herd {line} --router-url {url}")
        assert (replace(ended, err=""), sentence in ended.err) == (Ended(1, "", ""), True)
        assert ended.err.count("\n") == 1
