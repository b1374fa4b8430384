"""The benchmark of hostile clients runs, and finds out a router that breaks under them. No time is asserted here."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.hostile import main
from benchmarks.hostile_load import HELLO, Plan, Suffered, agent, attacks, client, keyed
from herd.protocols.framing import encode
from herd.protocols.messages import FrameType, Welcome
from herd.types import NodeName, RouterId
from tests.e2e.hostile_cases import CASES, KEYS

ROBBED = b"x-api-key: a-known-key"
WELCOME = encode(FrameType.WELCOME, 0, Welcome(1, RouterId("r"), NodeName("mallory")))


@pytest.mark.slow
def test_the_command_measures_calm_and_hostile_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["--smoke", "--json", str(file)]) == 0
    assert "| p99 (ms) |" in capsys.readouterr().out
    found = json.loads(file.read_bytes())
    assert all(each["units"] > 0 and not each["broken"] for each in (*found["calm"], *found["hostile"]))
    assert found["attacks"] >= 2 * len(CASES)
    assert {"400", "401", "403", "link: GOODBYE"} <= found["answers"].keys()


def test_every_case_is_played_with_a_key_and_without_and_agents_between_them() -> None:
    assert len(attacks()) > 2 * (len(CASES) + len(KEYS))
    first = next(case for case in CASES if b"Host: localhost" in case.parts[0])
    assert b"\r\n" + ROBBED + b"\r\n" in keyed(first, "a-known-key")[0]


async def suffered_from(said: bytes, *, link: bool) -> Suffered:
    """What the load has to say of a router that says this to everybody."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    suffered = Suffered()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = Plan(http=port, link=port, rate=1.0, key="a-known-key", token="token")
        if link:
            await agent(lambda _, __: b"", plan, suffered)
        else:
            await client(next(case for case in CASES if case.statuses == (400,)), with_key=False)(plan, suffered)
    return suffered


async def test_a_router_that_fails_under_a_case_is_found_out() -> None:
    broken = await suffered_from(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", link=False)
    assert "[500]" in broken.complaints[0]
    sound = await suffered_from(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", link=False)
    assert (sound.complaints, sound.answers) == ([], {"400": 1})


async def test_a_router_that_lets_anybody_in_is_found_out() -> None:
    assert (await suffered_from(WELCOME, link=True)).complaints == ["an agent without the join token was let in"]
    assert HELLO.node_id == "mallory"
    assert (await suffered_from(b"", link=True)).answers == {"link: silence": 1}
