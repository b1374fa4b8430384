"""What is tried again, where, and how often."""

import asyncio

import pytest

from herd.policy.values import Ask, Decision, Ticket
from herd.protocols.messages import Pause
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.fleet.house import House
from herd.types import Api, Seconds, TicketId
from tests.scenarios.helpers import CHAT, LLAMA, begun, chat, now, queue_of, scenario, served_by, until_waiting
from tests.scenarios.trouble import Trouble, add


@virtual_time
async def test_a_500_that_all_say_reaches_the_client_in_the_words_of_the_first() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        b = await home.node("b", [LLAMA])
        a.ollama.fail_next(500, "this is a's")
        b.ollama.fail_next(500, "this is b's")
        answer = await home.ask(CHAT, chat())
        assert (answer.status, answer.json) == (500, {"error": "this is a's"})
        assert answer.header("X-Herd-Node") == "a"
        assert b.ollama.requests[CHAT] == 1


@virtual_time
async def test_a_retry_runs_inside_the_second_nodes_queue_and_limit_and_headers_name_the_node_that_served() -> None:
    async with scenario() as home:
        trouble = Trouble()
        await add(home, "a", trouble)
        b = await home.node("b", [LLAMA], resident=[LLAMA])
        running = [home.send(CHAT, chat(tokens=500)) for _ in range(2)]
        await asyncio.gather(*(begun(one.sink) for one in running))
        assert await queue_of(home, "b") == (1, 0)
        await running[0].hang_up()
        trouble.wrong = lambda _: 503
        retried = home.send(CHAT, chat())
        await until_waiting(home, "b", 1)
        waited = now()
        assert (await queue_of(home, "a"), await queue_of(home, "b"), b.ollama.running) == ((0, 0), (1, 1), 1)
        await running[1].task
        waited = now() - waited
        await retried.task
        assert served_by(retried.sink) == "b"
        assert retried.sink.header("X-Herd-Attempts") == "2"
        assert int(retried.sink.header("X-Herd-Queue-Ms") or 0) == pytest.approx(waited * 1000, abs=60)


@pytest.mark.parametrize("failure", [503, 0])
def test_retries_stay_within_a_fifth_of_the_traffic_and_ten_a_minute(failure: int) -> None:
    async def story() -> None:
        seen: dict[str, None] = {}

        def fails_once(text: str) -> int | None:
            """Every second request fails at the first node that it comes to."""
            first = text not in seen
            seen[text] = None
            return failure if first and int(text) % 2 else None

        async with scenario() as home:
            servers = [Trouble(fails_once) for _ in range(3)]
            for name, trouble in zip("abc", servers, strict=True):
                await add(home, name, trouble)
            answers = [await home.ask(CHAT, chat(text=str(number), tokens=1)) for number in range(60)]
            retries = sum(len(trouble.asked) for trouble in servers) - 60
            assert 18 <= retries <= 10 + 60 / 5
            refused = [answer for answer in answers if answer.status != 200]
            assert len(refused) == 30 - retries
            for answer in refused:
                assert answer.status == 503
                if failure:
                    assert answer.json == {"error": "in trouble"}
                else:
                    assert "too many requests fail now" in answer.json["error"]
                    assert answer.header("Retry-After") == "5"

    run_virtual(story())


async def spend_retries(home: House, count: int) -> None:
    """So many requests of others were retried just now."""
    scorer = home.router.parts.scorer
    for number in range(count):
        ticket = Ticket(TicketId(f"other-{number}"), "somebody", Seconds(now()))
        decision: Decision = await scorer.place.remote(Ask(LLAMA, Api.OLLAMA_CHAT, retry=True), ticket)
        assert decision.chosen is not None
        scorer.released.tell(ticket.id)


@virtual_time
async def test_requests_that_reached_no_model_server_find_another_whatever_the_budget() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA])
        await spend_retries(home, 10)
        a.stop_server()
        answer = await home.ask(CHAT, chat(tokens=1))
        assert (served_by(answer), answer.header("X-Herd-Attempts")) == ("b", "2")


@virtual_time
async def test_a_retry_is_paid_for_once_however_often_it_is_placed() -> None:
    async with scenario() as home:
        owner = Owner(home.links)
        trouble = Trouble(lambda text: 503 if text == "retried" else None)
        await add(home, "a", trouble)
        await home.node("b", [LLAMA], resident=[LLAMA], dialer=owner)
        served = home.send(CHAT, chat(tokens=2000)), home.send(CHAT, chat(tokens=2000))
        await asyncio.gather(*(begun(one.sink) for one in served))
        await served[0].hang_up()
        await spend_retries(home, 9)
        retried = home.send(CHAT, chat(text="retried"))
        await until_waiting(home, "b", 1)
        await home.node("c", [LLAMA])
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        await retried.task
        assert served_by(retried.sink) == "c"
        await served[1].task
