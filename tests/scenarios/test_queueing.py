"""The queues of a whole house: who is served first, and how many run at once."""

import asyncio

import pytest

from herd.actors.surface import MAX_CLIENT_NAME
from herd.policy.values import Ask, Ticket
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House, Sent
from herd.simulation.machine.profiles import PROFILES
from herd.types import Api, Seconds, TicketId
from tests.scenarios.helpers import CHAT, LLAMA, chat, now, scenario, turns, until_waiting


def send(home: House, client: str, *, tokens: int = 20, batch: bool = False) -> Sent:
    priority = (("X-Herd-Priority", "batch"),) if batch else ()
    return home.send(CHAT, chat(tokens=tokens, stream=False), (("X-OpenWebUI-User-Id", client), *priority))


async def order_of(sent: dict[str, Sent]) -> list[str]:
    """The names of requests in the order of their ends."""
    ended: list[str] = []

    async def end(name: str) -> None:
        await sent[name].task
        ended.append(name)

    await asyncio.gather(*map(end, sent))
    return ended


@virtual_time
async def test_a_request_of_one_client_is_not_delayed_by_a_hundred_of_another_nor_by_batch() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        sent = {"running": send(home, "busy")}
        await turns(30)
        sent |= {f"night {number}": send(home, "night", batch=True) for number in range(3)}
        sent |= {f"busy {number}": send(home, "busy") for number in range(100)}
        await until_waiting(home, "a", 103)
        sent["alone"] = send(home, "alone")
        ended = await order_of(sent)
        assert ended[:4] == ["running", "busy 0", "alone", "busy 1"]
        assert [ended.index(f"night {number}") for number in range(3)] == [8, 16, 24]


@pytest.mark.parametrize(("parallel", "limits"), [(1, [1, 2, 1]), (2, [1, 2, 3, 2])], ids=["one", "two"])
def test_how_many_a_server_runs_is_found_out_where_it_does_not_say(parallel: int, limits: list[int]) -> None:
    """What it is sent beyond waits inside it, and brings nothing."""

    async def story() -> None:
        seen: list[int] = []
        async with scenario() as home:
            slow = PROFILES["raspberry-pi"]
            await home.node("a", [LLAMA], resident=[LLAMA], parallel=parallel, declared=False, profile=slow)

            async def asks(client: int) -> None:
                for _ in range(10 * parallel**2):
                    await send(home, f"client {client}", tokens=20).task
                    (status,) = await home.fleet()
                    seen.extend([queue.limit for queue in status.queues if [queue.limit] != seen[-1:]])

            await asyncio.gather(*(asks(client) for client in range(6)))
        assert seen == limits

    run_virtual(story())


@virtual_time
async def test_of_a_clients_name_no_more_is_remembered_than_tells_people_apart() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        answer = await home.ask(CHAT, chat(tokens=1), (("X-OpenWebUI-User-Id", "x" * 30_000), ("X-Herd-Session", "s")))
        story = await home.ask(f"/herd/v1/requests/{answer.header('X-Request-Id')}", method="GET")
        assert len(story.json["client"]) <= MAX_CLIENT_NAME
        asked = Ask(LLAMA, Api.OLLAMA_CHAT, session=f"{'x' * MAX_CLIENT_NAME} s", continues=True)
        decision = await home.router.parts.scorer.place.remote(asked, Ticket(TicketId("t"), "x", Seconds(now())))
        assert "affinity" in [signal.name for signal in decision.candidates[0].signals]
        await home.router.parts.scorer.released.remote(TicketId("t"))
