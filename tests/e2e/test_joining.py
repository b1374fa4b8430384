"""Who may join a router: the join token, and what both sides say when it is wrong."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.processes import Program, Programs


@pytest.fixture(name="programs")
async def programs_in_a_home(tmp_path: Path) -> AsyncIterator[Programs]:
    async with Programs(tmp_path) as programs:
        yield programs


async def guarded_router(programs: Programs) -> tuple[Program, str]:
    """A router with a join token, and its URL."""
    words = ("--host", "127.0.0.1", "--port", "0", "--link-port", "0", "--no-mdns")
    router = await programs.herd(*words, variables={"HERD_JOIN_TOKEN": "s3same"})
    return router, (await router.says(r"is up: (http://\S+)"))[1]


async def test_the_join_token_decides_who_joins_and_is_never_shown(programs: Programs) -> None:
    router, url = await guarded_router(programs)
    words = ("--router-url", url, "--no-mdns", "--name", "guest")
    wrong = await programs.herd_node(*words, "--join-token", "guess", "--data-dir", "a", name="wrong")
    none = await programs.herd_node(*words, "--data-dir", "b", name="none")
    right = await programs.herd_node(*words, "--join-token", "s3same", "--data-dir", "c", name="right")
    await wrong.says("cannot join the router: .*token")
    await none.says("cannot join the router: .*token")
    await right.says("joined router")
    await router.says("an agent at 127.0.0.1 did not join: .*token", times=2)
    assert not [line for program in (router, wrong, none, right) for line in program.lines if "s3same" in line]
    assert [await program.stop() for program in (wrong, none, right, router)] == [0, 0, 0, 0]


async def test_a_name_that_would_break_a_header_is_made_readable(programs: Programs) -> None:
    _, url = await guarded_router(programs)
    words = ("--router-url", url, "--no-mdns", "--join-token", "s3same")
    odd = await programs.herd_node(*words, "--name", "a\nb\r\tX-Bad: 1\x1b[31m " + "z" * 5000)
    await odd.says(r"joined router [0-9a-f]+ as a b X-Bad: 1 \[31m z{1,50}$")
    assert await odd.stop() == 0
    nameless = await programs.herd_node(*words, "--name", "\t \n")
    await nameless.says(r"joined router [0-9a-f]+ as [0-9a-f]{16}$")
