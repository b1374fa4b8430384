"""`herd` and `herd-node` on a terminal: a live view as a child, and a terminal as it was, whatever becomes of both."""

import asyncio
import os
import re
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil

from tests.certificates import HOUSE
from tests.e2e.processes import PATIENCE_S, command
from tests.terminal import Terminal, on_terminal

QUIET = ("--port", "0", "--link-port", "0", "--no-mdns", "--data-dir", "data")
HERE = ("--host", "127.0.0.1")
PICTURE = "q quit"  # stands in its last line
SIZE = (160, 24)  # wide enough for any line of a log
TAKEN = b"\x1b[?1049h"


@asynccontextmanager
async def herd(home: Path, *arguments: str) -> AsyncIterator[Terminal]:
    async with on_terminal(command("herd", *QUIET, *arguments), home, SIZE) as terminal:
        yield terminal


@asynccontextmanager
async def herd_node(home: Path) -> AsyncIterator[Terminal]:
    """With nobody around: no router, and no model server."""
    nobody = ("--router-url", "http://127.0.0.1:9", "--backend-url", "http://127.0.0.1:9", "--name", "studio")
    words = command("herd-node", "--data-dir", "data", "--dedicated", *nobody)
    async with on_terminal(words, home, SIZE) as terminal:
        yield terminal


def url_of(terminal: Terminal) -> str:
    """What it said before the view began."""
    found = re.search(rb"is up: \x1b\[1m(\S+?)\x1b", terminal.everything)
    assert found is not None, terminal.everything
    return found[1].decode()


async def view_of(terminal: Terminal) -> psutil.Process:
    """The process that draws, once it does."""
    await terminal.shows(PICTURE)
    (view,) = psutil.Process(terminal.process.pid).children()
    return view


async def is_gone(process: psutil.Process) -> None:
    await asyncio.to_thread(process.wait, PATIENCE_S)


async def is_up(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/herd/v1/status") as answer:
        return answer.status == 200


async def test_q_closes_the_view_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    async with herd(tmp_path, *HERE) as terminal:
        modes = terminal.found
        await terminal.shows(PICTURE)
        terminal.resize(140, 12)
        await terminal.until(lambda: PICTURE in terminal.screen.rows[-1], "a smaller picture")

        terminal.press("q")
        url = url_of(terminal)
        await terminal.shows(
            rf"the dashboard is closed; herd top --router-url {url} shows it again, and \S+herd\.log has"
        )
        assert not terminal.screen.alternate
        assert terminal.modes == modes
        assert await is_up(url)

        terminal.press("ctrl-c")
        assert await terminal.ended() == 0
        assert terminal.screen.untouched
        assert "stopping: running requests may end" in terminal.screen.text


async def test_ctrl_c_ends_the_view_first_and_then_the_router(tmp_path: Path) -> None:
    async with herd(tmp_path, *HERE) as terminal:
        modes = terminal.found
        view = await view_of(terminal)
        log = tmp_path / "data" / "herd.log"
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        terminal.press("ctrl-c")
        assert await terminal.ended() == 0
        assert not view.is_running()
        assert terminal.screen.untouched
        assert terminal.modes == modes
        assert "stopping: running requests may end" in terminal.screen.text
        assert "the dashboard" not in terminal.screen.text
        assert terminal.screen.rows[0].startswith("herd ")  # what was said before the view is still there


async def test_a_view_that_is_killed_comes_back_and_one_that_loses_its_router_ends(tmp_path: Path) -> None:
    async with herd(tmp_path, *HERE) as terminal:
        modes = terminal.found
        (await view_of(terminal)).kill()
        await terminal.until(lambda: terminal.everything.count(TAKEN) == 2, "another view")
        assert b"the dashboard was ended by signal 9: it is opened again" in terminal.everything
        view = await view_of(terminal)

        terminal.process.kill()
        assert await terminal.ended() == -signal.SIGKILL
        await is_gone(view)
        await terminal.until(lambda: not terminal.screen.alternate, "the usual screen")
        assert terminal.screen.untouched
        assert terminal.modes == modes


async def test_a_view_is_let_in_where_clients_need_tls_and_keys_and_holds_up_nobody(tmp_path: Path) -> None:
    secrets = ("--api-key", "laptop=open-sesame", "--admin-key", "admin-sesame")
    async with herd(tmp_path, "--host", "::1", "--tls-cert", HOUSE, "--tls-key", HOUSE, *secrets) as terminal:
        modes = terminal.found
        view = await view_of(terminal)
        assert url_of(terminal).startswith("https://[::1]:")
        assert "sesame" not in " ".join(view.cmdline())

        view.suspend()  # as a debugger would
        terminal.process.terminate()
        assert await terminal.ended() == 0
        assert not view.is_running()
        assert terminal.screen.untouched
        assert terminal.modes == modes


async def test_in_the_background_it_is_not_stopped_and_draws_nothing(tmp_path: Path) -> None:
    """As a shell with job control starts it: in a process group that the terminal does not have in front."""
    in_background = ["/bin/sh", "-c", 'set -m; "$@" & wait', "sh"]
    words = [*in_background, *command("herd", *QUIET, *HERE, "--dashboard")]
    async with on_terminal(words, tmp_path, SIZE) as terminal:
        await terminal.shows("is up: ", "no dashboard: this process is in the background of its terminal")
        (router,) = psutil.Process(terminal.process.pid).children()
        assert os.getpgid(router.pid) != os.getpgid(terminal.process.pid)
        assert await is_up(url_of(terminal))
        assert TAKEN not in terminal.everything
        router.terminate()
        assert await terminal.ended() == 0


async def test_an_agent_shows_how_it_stands_until_q_and_goes_on(tmp_path: Path) -> None:
    async with herd_node(tmp_path) as terminal:
        modes = terminal.found
        await terminal.shows("studio", PICTURE)
        terminal.press("q")
        await terminal.shows(
            r"the dashboard is closed; herd-node status shows how this machine stands, and \S+herd-node"
        )
        assert terminal.modes == modes
        terminal.press("ctrl-c")
        assert await terminal.ended() == 0
        assert terminal.screen.untouched


async def test_an_agent_that_stops_takes_its_view_with_it(tmp_path: Path) -> None:
    async with herd_node(tmp_path) as terminal:
        modes = terminal.found
        view = await view_of(terminal)
        terminal.press("ctrl-c")
        assert await terminal.ended() == 0
        assert not view.is_running()
        assert terminal.screen.untouched
        assert terminal.modes == modes
