"""The commands as processes: where they listen, what they say when they cannot run, and how they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import herd
from tests.e2e.processes import Program, Programs, command

STAND_INS = Path(__file__).parents[1] / "net" / "tools" / "stand_ins"
QUIET = ("--no-mdns", "--host", "127.0.0.1")


async def refused(program: Program) -> str:
    """The one sentence with which a program ends that cannot run."""
    assert await program.ended() == 2
    [sentence] = [line for line in program.lines if line.startswith("error: ")]
    assert program.lines[-1] == sentence
    return sentence.removeprefix("error: ")


async def get(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


@pytest.mark.parametrize("script", ["herd", "herd-node"])
def test_the_scripts_are_installed(script: str) -> None:
    path = Path(sys.executable).with_name(script)
    if not path.exists():
        pytest.skip("Herd is not installed beside this interpreter")
    ended = subprocess.run([path, "--version"], check=True, capture_output=True, text=True)
    assert ended.stdout == f"{script} {herd.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        command("herd", "--port", "0", "--link-port", "0", *QUIET),
        command("herd", "serve", "--port", "0", "--link-port=0", *QUIET),
        [sys.executable, "-m", "herd", "--port=0", "--link-port", "0", *QUIET],
    ],
    ids=["herd", "herd serve", "python -m herd"],
)
async def test_a_bare_herd_serves(programs: Programs, words: list[str]) -> None:
    router = await programs.start("herd", words)
    url = (await router.says(r"is up: (http://127\.0\.0\.1:\d+)$"))[1]
    assert await get(f"{url}/healthz") == 200
    assert await router.stop(signal.SIGINT) == 0


async def test_settings_come_from_environment_and_file(programs: Programs, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "herd.toml").write_text('[herd]\nport = 0\nlink_port = 0\nhost = "::1"\nlog-format = "text"\n')
    variables = {"HERD_DATA_DIR": str(directory), "HERD_NO_MDNS": "yes", "HERD_LOG_FORMAT": "json"}
    router = await programs.herd(variables=variables)
    url = (await router.says(r"is up: (http://\[::1\]:\d+)$"))[1]
    assert await get(f"{url}/healthz") == 200
    variables = {"HERD_NODE_ROUTER_URL": url, "HERD_NODE_NAME": "käfer", "HERD_NODE_BACKEND_URL": "http://[::1]:9"}
    agent = await programs.herd_node("--no-mdns", variables=variables)
    await agent.says(r"looking for http://\[::1\]:\d+$")
    await agent.says(r"model server: http://\[::1\]:9$")
    await agent.says("joined router [0-9a-f]{16} as käfer")
    assert await agent.stop() == 0
    assert await router.stop() == 0
    assert router.lines[-1].startswith('{"time": ')


async def test_a_second_router_needs_a_directory_of_its_own(programs: Programs) -> None:
    words = ("--port", "0", "--link-port", "0", *QUIET)
    first = await programs.herd(*words)
    await first.says("is up")
    second = await programs.herd(*words, "--data-dir", ".herd")
    assert "Another process of Herd is already running on the data directory" in await refused(second)
    assert await first.stop() == 0


async def test_an_agent_with_nothing_around_it_says_so_and_goes_on(programs: Programs) -> None:
    nothing = "http://127.0.0.1:9"
    words = ("--router-url", "http://[::1]:9", "--backend-url", nothing, "--backend-url", f"{nothing}/", "--no-mdns")
    variables = {"PATH": os.pathsep.join((str(STAND_INS), os.environ["PATH"])), "HF_HUB_CACHE": "none"}
    agent = await programs.herd_node(*words, variables=variables)
    await agent.says(rf"model server at {nothing}: no answer from {nothing}/api/version")
    await agent.says(r"cannot join the router: no answer from http://\[::1\]:9/herd/v1/info")
    await agent.says("model server at mflux://local: mflux$")
    assert agent.lines.count(f"model server: {nothing}") == 1
    assert agent.lines.count("image tool: mflux") == 1
    assert await agent.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("place", ["asyncio", "aiohttp", "uvloop"])
@pytest.mark.parametrize("script", ["herd", "herd_node"])
async def test_ctrl_c_is_quiet_while_the_command_is_still_being_imported(
    programs: Programs, script: str, place: str
) -> None:
    interrupts_itself = (
        "import os, signal, sys, herd.cli.entry as entry\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == '{place}':\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"entry.{script}()\n"
    )
    child = await programs.start(script, [sys.executable, "-c", interrupts_itself])
    assert (await child.ended(), child.lines) == (130, [])


async def test_a_pause_by_hand_reaches_the_router_and_outlives_the_agent(programs: Programs) -> None:
    router = await programs.herd("--port", "0", "--link-port", "0", *QUIET)
    url = (await router.says(r"is up: (http://127\.0\.0\.1:\d+)$"))[1]
    variables = {"HERD_NODE_ROUTER_URL": url, "HERD_NODE_BACKEND_URL": "http://127.0.0.1:9"}
    variables |= {"HERD_NODE_NAME": "mac", "HERD_NODE_NO_MDNS": "1"}

    async def node() -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/herd/v1/status") as answer:
            (found,) = (await answer.json())["nodes"]
            return dict(found)

    agent = await programs.herd_node(variables=variables)
    await agent.says("joined router [0-9a-f]{16} as mac")
    pausing = await programs.herd_node("pause", "--for", "2h", name="pause")
    assert await pausing.ended() == 0
    await agent.says("a pause begins: this machine is paused by hand on the machine itself")
    told = await node()
    while told["state"] != "paused":  # the report is on its way
        told = await node()
    reason = next(reason for reason in told["reasons"] if reason["kind"] == "manual")
    assert reason["until"] - reason["since"] == 7200.0
    assert told["dedicated"] is True
    assert await agent.stop() == 0
    agent = await programs.herd_node(variables=variables)
    await agent.says("a pause begins")
    resuming = await programs.herd_node("resume", name="resume")
    assert await resuming.ended() == 0
    await agent.says(r"a pause is over \(manual\)")
    assert await agent.stop() == 0
    assert await router.stop() == 0
