"""Commands over TCP: the result comes back, and neither end waits beyond the link."""

import asyncio

import pytest

from herd.errors import LinkClosed
from herd.protocols.messages import Command, Result
from herd.types import LinkId
from tests.net.link_house import house

pytestmark = pytest.mark.usefixtures("plain_and_tls")


async def test_a_command_comes_back_as_its_result() -> None:
    async def obey(command: Command) -> Result:
        return Result(command.id, command.name == "load", dict(command.args), "two\nlines")

    async with house() as home, home.agent(obey=obey) as joined:
        asked = [joined.server.command(joined.link, Command(1, "load", {"model": "m"}))]
        asked.append(joined.server.command(joined.link, Command(2, "dance")))
        loaded, refused = await asyncio.gather(*asked)
        assert loaded == Result(1, True, {"model": "m"}, "two lines")  # on one line: it is shown to people
        assert not refused.ok


async def test_commands_end_with_the_link_at_both_ends() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(command: Command) -> Result:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise NotImplementedError

    async with house() as home, home.agent(obey=endless) as joined:
        asked = asyncio.create_task(joined.server.command(joined.link, Command(1, "load")))
        await begun.wait()
        joined.cut()
        with pytest.raises(LinkClosed):
            await asked
        await ended.wait()
        with pytest.raises(LinkClosed):
            await joined.server.command(joined.link, Command(2, "load"))


async def test_a_command_that_nobody_waits_for_any_more_does_no_harm() -> None:
    go = asyncio.Event()

    async def slow(command: Command) -> Result:
        await go.wait()
        return Result(command.id, True)

    async with house() as home, home.agent(obey=slow) as joined:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await joined.server.command(joined.link, Command(1, "load"))
        go.set()
        assert (await joined.server.command(joined.link, Command(2, "load"))).ok


async def test_a_link_that_is_not_there_takes_no_command() -> None:
    async with house() as home:
        with pytest.raises(LinkClosed):
            await home.server.command(LinkId(7), Command(1, "load"))
