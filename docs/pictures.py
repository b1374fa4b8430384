"""Makes the pictures of the README, from `herd demo` at work and a `herd-node` beside it:

    python -m docs.pictures

`docs/herd.svg` and `docs/herd-node.svg` show the dashboards; the real model has to be installed (`make real`). The
owner's week in the second is a simulated developer's, as a router has learned it after a month.
`docs/page.webp` and `docs/page-phone.webp` show the web page, and need Chromium.
"""

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console, RenderableType

from herd.actors.desk import AgentDocument, ShownWeek, read_document
from herd.cli.agent.state import AgentState
from herd.cli.agent.view import frame as agent_frame
from herd.cli.fleet.seen import Seen, connected, heard
from herd.cli.fleet.state import TopState
from herd.cli.fleet.view import frame
from herd.cli.live.cells import Size
from herd.cli.remote.watching import watched
from herd.net.http_client import AiohttpServers
from herd.policy.capacity import HOUR_S, SLOTS, Profile, expected, taught
from herd.protocols.live import Topic
from herd.simulation.machine.owners import HABITS, OwnerState, week
from herd.simulation.machine.profiles import PROFILES
from herd.types import Seconds
from tests.e2e.processes import Programs
from tests.web.browser import Tab, chromium

DOCS = Path(__file__).parent
# What is asked while the pictures are taken: long enough to be under way, and more than one machine runs at once.
LONG, SHORT, ANSWERS = 3000, 150, ("llama3.3:70b", "qwen3:30b", "qwen3:8b", "qwen3:8b", "llama3.2:3b", "gemma3:4b")
QUALITY = 85
TERMINAL, LOW_TERMINAL, TOPICS = Size(120, 32), Size(120, 22), (Topic.STATUS, Topic.REQUESTS, Topic.HAPPENINGS)
WEEK_SLOT, DAY_S = 34, 86_400.0  # Tuesday, ten o'clock
LOOK_S = 0.5
SCREEN, PHONE = (1280, 860, 1.0), (360, 720, 1.5)


async def main() -> None:
    """Take all of them."""
    async with demo() as url:
        await fleet(url)
        await page(url)  # while the stories are told
        await agent(url)


@asynccontextmanager
async def demo() -> AsyncIterator[str]:
    """A demonstration with several requests under way and one machine paused; its URL."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = await (await stack.enter_async_context(Programs(home))).herd("demo", "--port", "0")
        url = (await running.says(r"Ready: (http://\S+)"))[1]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with session.post(f"{url}/herd/v1/nodes/mini-pc/pause?for=45m") as answer:
            answer.raise_for_status()
        for model in ANSWERS[:1] + ANSWERS[2:]:  # the other one has no room beside the first
            async with session.post(f"{url}/api/chat", json=story(model, SHORT)) as answer:
                await answer.read()
        for model in ANSWERS:
            asked = asyncio.create_task(session.post(f"{url}/api/chat", json=story(model, LONG)).__aenter__())
            stack.callback(asked.cancel)
        yield url
        running.tell(signal.SIGKILL)  # nobody waits for the stories' ends


async def fleet(url: str) -> None:
    """The dashboard of `herd`."""
    seen = connected(Seen("http://localhost:11435"), time.time())
    async with AiohttpServers() as servers, aclosing(watched(servers, url, TOPICS)) as events:
        async for topic, document in events:
            seen = heard(seen, topic, document)
            under_way = [request for request in seen.requests if request.outcome is None]
            if len(under_way) >= len(set(ANSWERS)) and seen.happenings:
                break
    export(frame(TopState(), seen, TERMINAL, now=time.time()), "herd")


async def agent(url: str) -> None:
    """The dashboard of `herd-node`."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        programs = await stack.enter_async_context(Programs(home))
        words = ("--embedded", "--router-url", url, "--name", "attic", "--data-dir", str(home))
        running = await programs.herd_node(*words, variables={"HERD_NODE_DEDICATED": "0"})
        status = home / "status.json"
        session = await stack.enter_async_context(aiohttp.ClientSession())
        shown = AgentDocument()
        while not shown.models:
            await asyncio.sleep(LOOK_S)
            shown = read_document(status.read_bytes()) if status.exists() else shown
        asking = asyncio.create_task(keep_asking(session, url, shown.models[0].name))
        stack.callback(asking.cancel)
        while not shown.work.running:  # the file tells of requests once a minute
            await asyncio.sleep(LOOK_S)
            shown = read_document(status.read_bytes())
        known = replace(shown, week=learned(), week_slot=WEEK_SLOT)
        export(agent_frame(AgentState(), known, LOW_TERMINAL, now=time.time()), "herd-node")
        running.tell(signal.SIGKILL)


async def keep_asking(session: aiohttp.ClientSession, url: str, model: str) -> None:
    """One story after the other."""
    while True:
        async with session.post(f"{url}/api/chat", json=story(model, SHORT)) as answer:
            await answer.read()


def story(model: str, tokens: int) -> dict[str, Any]:
    """What is asked."""
    question = [{"role": "user", "content": "Tell me a story."}]
    return {"model": model, "messages": question, "options": {"num_predict": tokens}}


def learned() -> ShownWeek:
    """What is known of a simulated owner after a month."""
    profile, before, load = Profile(), 0.0, 0.0
    month = [*week(HABITS["developer workstation"], PROFILES["gaming-pc"], 1, duration=Seconds(28 * DAY_S))]
    for at, state in [*month, (Seconds(28 * DAY_S), OwnerState())]:
        while before < at:
            until = min(at, (before // HOUR_S + 1) * HOUR_S)
            profile = taught(profile, int(before // HOUR_S) % SLOTS, load, Seconds(until - before), Seconds(until))
            before = until
        load = max(state.cpu, state.gpu)
    known = [expected(profile, slot, Seconds(before)) for slot in range(SLOTS)]
    return ShownWeek(tuple(one.load for one in known), tuple(one.confidence for one in known))


def export(picture: RenderableType, name: str) -> None:
    """One picture of what a terminal shows."""
    console = Console(record=True, width=TERMINAL.width, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(picture)
    console.save_svg(str(DOCS / f"{name}.svg"), title=name)


async def page(url: str) -> None:
    """The web page on a screen, and in the dark on a phone."""
    with tempfile.TemporaryDirectory() as profile:
        async with chromium(Path(profile)) as browser:
            tab = await browser.open()
            await tab.go(f"{url}/herd/")
            await tab.until("document.querySelectorAll('#queues li').length >= 4")
            await tab.until("document.querySelectorAll('#requests [data-outcome=running]').length >= 4")
            await shoot(tab, "page.webp", SCREEN, "light")
            await shoot(tab, "page-phone.webp", PHONE, "dark")


async def shoot(tab: Tab, name: str, size: tuple[int, int, float], scheme: str) -> None:
    """One picture of what the page shows now."""
    width, height, scale = size
    await tab.size(width, height, scale=scale)
    await tab.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    (DOCS / name).write_bytes(await tab.picture(QUALITY))


if __name__ == "__main__":
    asyncio.run(main())
