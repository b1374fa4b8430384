"""The two ends of a command: results find who waits for them, and everything ends with the link."""

import asyncio

import pytest

from herd.actors.command_ends import MAX_UNDER_WAY, Unanswered, UnderWay, unable
from herd.errors import LinkClosed
from herd.protocols.messages import Command, Result
from herd.runtime.testing import virtual_time
from tests.actors.doubles import settled


def ignore(command: Command) -> None:
    """It is sent."""


@virtual_time
async def test_each_result_goes_to_whoever_gave_the_command() -> None:
    link = Unanswered()
    first = asyncio.create_task(link.wait(Command(1, "load"), ignore))
    second = asyncio.create_task(link.wait(Command(2, "load"), ignore))
    await settled()
    link.heard(Result(2, True))
    link.heard(Result(2, False))  # once is enough
    link.heard(Result(7, True))  # nobody asked
    assert (await second).ok
    link.heard(Result(1, False))
    assert not (await first).ok


@virtual_time
async def test_an_answer_may_come_while_the_command_is_sent() -> None:
    link = Unanswered()
    assert (await link.wait(Command(1, "load"), lambda command: link.heard(Result(command.id, True)))).ok


@virtual_time
async def test_what_waits_ends_with_the_link() -> None:
    link = Unanswered()
    waiting = asyncio.create_task(link.wait(Command(1, "load"), ignore))
    await settled()
    link.lost("the cable")
    with pytest.raises(LinkClosed, match="the cable"):
        await waiting
    link.heard(Result(1, True))  # too late, and no harm


@virtual_time
async def test_one_id_is_under_way_once() -> None:
    link = Unanswered()
    waiting = asyncio.create_task(link.wait(Command(1, "load"), ignore))
    await settled()
    with pytest.raises(ValueError, match="under way"):
        await link.wait(Command(1, "load"), ignore)
    waiting.cancel()


@virtual_time
async def test_commands_under_way_end_with_the_link_and_are_not_answered() -> None:
    ended: list[int] = []
    answers: list[Result] = []

    async def endless(command: Command) -> Result:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(command.id)
        raise NotImplementedError

    link = UnderWay(endless, answers.append)
    for number in range(MAX_UNDER_WAY):
        link.begin(Command(number, "load"))
    await settled()
    link.begin(Command(99, "load"))
    assert [(answer.id, answer.ok) for answer in answers] == [(99, False)]
    link.end()
    await settled()
    assert (ended, len(answers), len(link)) == (list(range(MAX_UNDER_WAY)), 1, 0)


@virtual_time
async def test_a_command_that_fails_in_the_agent_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(command: Command) -> Result:
        raise ZeroDivisionError

    answers: list[Result] = []
    UnderWay(broken, answers.append).begin(Command(1, "load"))
    await settled()
    assert [(answer.id, answer.ok) for answer in answers] == [(1, False)]
    assert "ZeroDivisionError" in caplog.text


@virtual_time
async def test_who_obeys_nothing_says_so() -> None:
    assert await unable(Command(3, "load")) == Result(3, False, text="this node takes no commands")
