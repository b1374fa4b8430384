"""Makes the pictures of the README, from `herd demo` at work:

    python -m docs.pictures

`docs/page.webp` and `docs/page-phone.webp` show the web page, and need Chromium.
"""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.e2e.processes import Programs
from tests.web.browser import Tab, chromium

DOCS = Path(__file__).parent
# What is asked while the pictures are taken: long enough to be under way, and more than one machine runs at once.
LONG, ANSWERS = 3000, ("llama3.3:70b", "qwen3:30b", "qwen3:8b", "qwen3:8b", "llama3.2:3b", "gemma3:4b")
QUALITY = 85
SCREEN, PHONE = (1280, 860, 1.0), (360, 720, 1.5)


async def main() -> None:
    """Take all of them."""
    async with demo() as url:
        await page(url)


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
        for model in ANSWERS:
            question = {"model": model, "messages": [{"role": "user", "content": "Tell me a story."}]}
            lasts = question | {"options": {"num_predict": LONG}}
            asked = asyncio.create_task(session.post(f"{url}/api/chat", json=lasts).__aenter__())
            stack.callback(asked.cancel)
        yield url
        running.tell(signal.SIGKILL)  # nobody waits for the stories' ends


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
