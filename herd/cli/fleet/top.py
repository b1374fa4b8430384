"""`herd top`: the fleet of a running router, live: a picture on a terminal, plain lines or JSON elsewhere."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import typer

from herd.cli.fleet import state as top_state
from herd.cli.fleet import view as fleet_view
from herd.cli.fleet.following import Events, Heard, Lost, Opened, Stream, followed
from herd.cli.fleet.lines import Told, lines
from herd.cli.fleet.seen import Connection, Seen, connected, heard, lost
from herd.cli.fleet.state import Drain, Quit, Resume, Shown, TopState, told
from herd.cli.live.cells import Look, Size
from herd.cli.live.lifeline import has_parent, listen_to_parent
from herd.cli.live.screen import Row
from herd.cli.live.terminal import Terminal, open_terminal
from herd.cli.live.view import CALM_S, QUICK_S, LiveView
from herd.cli.process import EXIT_INTERRUPTED, printable, set_up_logs, stop_signals
from herd.cli.remote.asking import ANSWER_S, AdminKey, AsJson, RouterUrl, away, document_of, key_headers
from herd.cli.remote.orders import standing
from herd.cli.remote.watching import watched
from herd.cli.words import clock_time
from herd.config import asked_certificate, asked_router
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.headers import Headers
from herd.protocols.live import Topic

# A node that is shown whole: what was learned of it changes with each answer, but nobody reads faster.
DETAIL_EVERY_S = 5.0

# Orders are answered within milliseconds; a person who has given more in that time holds a key down.
MAX_ORDERS = 4


@dataclass(frozen=True, slots=True)
class Router:
    """Which router is asked, and how."""

    url: str
    headers: Headers = ()
    certificate: bytes | None = None

    def client(self) -> AiohttpServers:
        """To ask it with."""
        return AiohttpServers(self.headers, self.certificate, whom="the router")

    async def events(self, servers: AiohttpServers, topics: Sequence[Topic]) -> Stream:
        """What it tells. Raises HerdError."""
        try:
            async with contextlib.aclosing(watched(servers, self.url, topics)) as stream:
                async for event in stream:
                    yield event
        except StreamFailed as error:
            raise away(self.url, error) from error

    def followed(self, servers: AiohttpServers, topics: Sequence[Topic]) -> Events:
        """The same for ever. Raises HerdError when it is not there at the start."""
        return followed(lambda: self.events(servers, topics), self.url)

    async def answer(self, servers: AiohttpServers, path: str, body: Any = None) -> dict[str, Any]:
        """Its answer to a GET, or with a `body` to a POST. Raises HerdError where it gives none."""
        try:
            status, document = await servers.fetch(f"{self.url}{path}", body, timeout=ANSWER_S)
        except StreamFailed as error:
            raise away(self.url, error) from error
        return document_of(self.url, status, document, keyed=bool(self.headers))


def top_command(router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None) -> None:
    """Watch the fleet live: nodes, queues, requests and what happens. ? shows the keys, q ends it.

    Where standard output is no terminal that can be drawn on, each thing that happens is a line. With --json each line
    is the status, as it changes.

    Example: herd top --router-url http://192.168.1.10:11435
    """
    set_up_logs("error")
    router = Router(asked_router(router_url, os.environ), key_headers(admin_key), asked_certificate(os.environ))
    terminal = None if as_json else open_terminal(os.environ)
    if terminal is None:
        asyncio.run(_until_told(_say_json(router) if as_json else _say_lines(router)))
        return
    with contextlib.closing(terminal):
        ended_by = asyncio.run(_show(router, terminal))
    if ended_by is signal.SIGINT and has_parent(os.environ):  # which was told as well, and wants to know
        raise typer.Exit(EXIT_INTERRUPTED)


# --- without a picture ------------------------------------------------------------------------------------------------


async def _until_told(saying: Coroutine[Any, Any, None]) -> None:
    """Go on until Ctrl-C or SIGTERM."""
    said, stopped = asyncio.create_task(saying), stop_signals()
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([said, waiting], return_when=asyncio.FIRST_COMPLETED)
        if said.done():
            said.result()
    finally:
        for task in (said, waiting):
            task.cancel()
        await asyncio.gather(said, waiting, return_exceptions=True)


async def _say_json(router: Router) -> None:
    async with router.client() as servers:
        async for event in router.followed(servers, (Topic.STATUS,)):
            if isinstance(event, Heard):
                typer.echo(json.dumps(event.document, ensure_ascii=False, separators=(",", ":")))
            elif isinstance(event, Lost):
                typer.echo(f"{printable(event.why)}; trying again", err=True)


async def _say_lines(router: Router) -> None:
    state, away_before = Told(), False
    async with router.client() as servers:
        async for event in router.followed(servers, (Topic.HAPPENINGS, Topic.REQUESTS)):
            said: list[str] = []
            match event:
                case Opened():
                    said = [f"{clock_time(time.time())} watching {router.url}{' again' if away_before else ''}"]
                    away_before = False
                case Lost(why):
                    said = [] if away_before else [f"{clock_time(time.time())} {printable(why)}; trying again"]
                    away_before = True
                case Heard(topic, document):
                    state, said = lines(state, topic, document)
            for line in said:
                typer.echo(line)


# --- the picture ------------------------------------------------------------------------------------------------------


async def _show(router: Router, terminal: Terminal) -> signal.Signals | None:
    """Show it until the person has seen enough; the signal, if one ended it.

    Raises HerdError when the router is not there at the start.
    """
    async with router.client() as servers:
        events = router.followed(servers, (Topic.STATUS, Topic.REQUESTS, Topic.HAPPENINGS))
        top = Top(router, servers, Look(terminal.plain, terminal.colour))
        await top.begin(events)
        logging.disable()  # a line of a log would stand in the picture
        live = LiveView(terminal, top)
        top.changed = live.changed
        if has_parent(os.environ):
            listen_to_parent(live.end)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in (top.follow(events), top.look_closer(), top.give_orders())]
            try:
                return await live.run()
            finally:
                for task in tasks:
                    task.cancel()


def _nobody() -> None:
    """There is no screen yet."""


class Top:
    """What the dashboard knows and what its person wants: a `Picture`.

    Args:
        router: that it is of.
        servers: to ask it with.
        look: what the terminal can show.
    """

    def __init__(self, router: Router, servers: AiohttpServers, look: Look) -> None:
        self._router = router
        self._servers = servers
        self._look = look
        self._state, self._shown = TopState(), Shown()
        self._seen = Seen(router.url)
        self._orders: asyncio.Queue[Drain | Resume] = asyncio.Queue(MAX_ORDERS)
        self._focus = asyncio.Event()  # another node is shown whole, or none
        self.changed: Callable[[], None] = _nobody  # told when there is something else to see

    # --- a picture ----------------------------------------------------------------------------------------------------

    @property
    def pause(self) -> float:
        return CALM_S if self._seen.crowded else QUICK_S

    def rows(self, size: Size) -> Sequence[Row]:
        frame = fleet_view.frame(self._state, self._seen, size, now=time.time(), look=self._look)
        self._shown = frame.shown
        return frame.rows

    def pressed(self, key: str) -> bool:
        focused = self._state.focused
        self._state, action = top_state.pressed(self._state, key, self._seen, self._shown)
        if self._state.focused != focused:
            self._focus.set()
        if isinstance(action, Drain | Resume):
            try:
                self._orders.put_nowait(action)
            except asyncio.QueueFull:
                self._tell("the router has not answered the last orders yet")
        return not isinstance(action, Quit)

    def _tell(self, text: str) -> None:
        self._state = told(self._state, printable(text))
        self.changed()

    # --- what goes on beside it ---------------------------------------------------------------------------------------

    async def begin(self, events: Events) -> None:
        """Wait for the first picture of the fleet. Raises HerdError when the router is not there."""
        while self._seen.status is None:
            self._take_in(await anext(events))

    async def follow(self, events: Events) -> None:
        """Take in what the router tells, for ever."""
        async for event in events:
            self._take_in(event)
            self.changed()

    def _take_in(self, event: Opened | Heard | Lost) -> None:
        match event:
            case Opened():
                self._seen = connected(self._seen, time.time())
            case Lost(why):
                self._seen = lost(self._seen, printable(why), time.time())
            case Heard(topic, document):
                self._hear(topic, document)

    def _hear(self, topic: str, document: Any) -> None:
        try:
            self._seen = heard(self._seen, topic, document)
        except HerdError as error:
            self._tell(str(error))

    async def look_closer(self) -> None:
        """Ask for the node that is shown whole, at once and from time to time, for ever."""
        while True:
            self._focus.clear()
            name = self._state.focused
            if name is not None and self._seen.connection is Connection.LIVE:
                try:
                    document = await self._router.answer(self._servers, f"/herd/v1/nodes/{quote(name, safe='')}")
                except HerdError as error:
                    self._tell(str(error))
                else:
                    self._hear("node", document)
                    self.changed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if name is None else DETAIL_EVERY_S):
                    await self._focus.wait()

    async def give_orders(self) -> None:
        """Pass on what the person has decided, one after the other, and say what came of it; for ever."""
        while True:
            order = await self._orders.get()
            word = "drain" if isinstance(order, Drain) else "resume"
            path = f"/herd/v1/nodes/{quote(order.node, safe='')}/{word}"
            try:
                self._tell(standing(await self._router.answer(self._servers, path, {})).plain)
            except HerdError as error:
                self._tell(str(error))
