"""A view as a child process, here without its terminal: how it starts, what it is told, and how it ends.

With a terminal: `tests/e2e/test_dashboard.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

import pytest

from herd.net import view_process
from herd.net.view_process import ViewFailed, ViewProcess
from herd.types import MiB
from tests.net.loops import on_every_loop

PATIENCE_S = 20.0
READS_NOTHING = "exec sleep 1000"


class NoTerminal:
    """In place of one that is lent to the view; `killed` is what is known of those that were given back."""

    given_back: list[bool]

    def __init__(self) -> None:
        self.killed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.given_back.append(self.killed)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    NoTerminal.given_back = []
    monkeypatch.setattr(view_process, "_Lent", NoTerminal)
    monkeypatch.setattr(view_process, "in_foreground", lambda: True)


class Owner:
    """Who has a view, and hears of it."""

    def __init__(self, script: str) -> None:
        self.view = ViewProcess(["/bin/sh", "-c", script], {"NAME": "value"}, self._aside)
        self.aside = 0  # how often what it prints has gone elsewhere
        self.back = 0
        self.statuses: asyncio.Queue[int] = asyncio.Queue()

    @contextmanager
    def _aside(self) -> Iterator[None]:
        self.aside += 1
        try:
            yield
        finally:
            self.back += 1

    async def open(self) -> None:
        await self.view.open(self.statuses.put_nowait)

    async def status(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.statuses.get()


@asynccontextmanager
async def having(script: str) -> AsyncIterator[Owner]:
    owner = Owner(script)
    await owner.open()
    try:
        yield owner
    finally:
        await owner.view.close()


@pytest.mark.parametrize(("script", "status", "killed"), [("exit 3", 3, False), ("kill -9 $$", -9, True)])
@on_every_loop
async def test_its_owner_hears_how_it_ended_once_the_terminal_is_back(script: str, status: int, killed: bool) -> None:
    async with having(script) as owner:
        assert await owner.status() == status
        assert NoTerminal.given_back == [killed]
        assert (owner.aside, owner.back) == (1, 1)
        await owner.open()
        assert await owner.status() == status
        assert (owner.aside, owner.back) == (2, 2)


@on_every_loop
async def test_it_is_told_lines_in_order_and_has_the_environment_that_it_is_given() -> None:
    async with having('read a; read b; [ "$a $b $NAME" = "one two value" ]') as owner:
        await owner.view.send(b"one\n")
        await owner.view.send(b"two\n")
        assert await owner.status() == 0
        with pytest.raises(ViewFailed):
            await owner.view.send(b"three\n")


@on_every_loop
async def test_the_end_of_its_input_ends_it_and_nobody_is_told() -> None:
    async with having("cat >/dev/null") as owner:
        await owner.view.close()
        assert (NoTerminal.given_back, owner.back) == ([False], 1)
        await owner.view.close()
        assert owner.statuses.empty()
        with pytest.raises(ViewFailed):
            await owner.view.send(b"line\n")


@on_every_loop
async def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_process, "STOP_S", 0.01)
    async with having(READS_NOTHING) as owner:
        await owner.view.close()
        assert NoTerminal.given_back == [True]
        assert owner.statuses.empty()


@on_every_loop
async def test_one_that_reads_nothing_holds_up_who_sends_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_process, "STOP_S", 0.01)
    async with having(READS_NOTHING) as owner:
        sending = asyncio.create_task(owner.view.send(b"x" * MiB))
        await asyncio.sleep(0)
        assert not sending.done()
        await owner.view.close()
        with pytest.raises(ViewFailed):
            await sending


@on_every_loop
async def test_what_cannot_be_started_leaves_all_as_it_was() -> None:
    owner = Owner("")
    owner.view = ViewProcess(["/nowhere/herd"], {}, owner._aside)
    with pytest.raises(ViewFailed, match="No such file or directory"):
        await owner.open()
    assert (NoTerminal.given_back, owner.aside, owner.back) == ([False], 1, 1)
    await owner.view.close()


@on_every_loop
async def test_in_the_background_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_process, "in_foreground", lambda: False)
    owner = Owner("exit 0")
    with pytest.raises(ViewFailed, match="not in the foreground"):
        await owner.open()
    assert owner.aside == 0
