"""A Chromium without a window, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import asyncio
import base64
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 40.0  # nothing that works comes near it, but a browser that starts while a machine compiles something else

_WORDS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # It would call home.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--host-resolver-rules=MAP * 127.0.0.1",  # every name leads to this machine
    "--remote-debugging-port=0",
)
_LISTENS = re.compile(r"DevTools listening on (ws://\S+)")
_UNTIL = """new Promise((done) => {
  const look = () => { if (%s) { watch.disconnect(); done(true); } };
  const watch = new MutationObserver(look);
  watch.observe(document, { attributes: true, childList: true, characterData: true, subtree: true });
  look();
})"""


class Tab:
    """A page that is open.

    Attributes:
        complaints: what a person would find in its console: errors, exceptions, violations of its policy.
        requested: every URL that it asked for.
    """

    def __init__(self, browser: "Browser", target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        self.requested: list[str] = []

    async def tell(self, method: str, **words: Any) -> Any:
        """Have the browser do something with this page; what it answers."""
        return await self._browser.tell(method, self._session, **words)

    async def go(self, url: str) -> None:
        """Open a page, and wait until it is there."""
        self._loaded.clear()
        await self.tell("Page.navigate", url=url)
        async with asyncio.timeout(PATIENCE_S):
            await self._loaded.wait()

    async def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises."""
        answer = await self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until the page is such that this expression is true."""
        try:
            await self.run(_UNTIL % condition)
        except TimeoutError:
            shown = await self.run("document.body.innerText")
            raise AssertionError(f"not so: {condition}\n{shown}\n{self.complaints}") from None

    async def size(self, width: int, height: int, *, scale: float = 1.0) -> None:
        """Make it a phone's, or a screen's."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        await self.tell("Emulation.setDeviceMetricsOverride", **metrics)

    async def picture(self, quality: int) -> bytes:
        """What is seen of it, as WebP: a third of the size of Chromium's PNG. `quality`: 0 to 100."""
        shot = await self.tell("Page.captureScreenshot", format="webp", quality=quality)
        return base64.b64decode(shot["data"])

    async def close(self) -> None:
        """Close it."""
        await self._browser.tell("Target.closeTarget", targetId=self._target)

    def hear(self, method: str, words: Any) -> None:
        """Something happened in it."""
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requested.append(words["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(words["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if words["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str(words["args"]))
            case "Log.entryAdded" if words["entry"]["level"] == "error":
                self.complaints.append(f"{words['entry']['text']} {words['entry'].get('url', '')}")
            case "Audits.issueAdded" if words["issue"]["code"] == "ContentSecurityPolicyIssue":
                self.complaints.append(str(words["issue"]))


class Browser:
    """The way to a running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tabs: dict[str, Tab] = {}
        self._listening = asyncio.create_task(self._listen())

    async def open(self) -> Tab:
        """A new tab, which is empty."""
        target = (await self.tell("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.tell("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self._tabs[session] = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            await tab.tell(f"{domain}.enable")
        return tab

    async def tell(self, method: str, session: str = "", **words: Any) -> Any:
        """Send a command; its result. Raises TimeoutError, and AssertionError when it is refused."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(
            {"id": number, "method": method, "params": words, **({"sessionId": session} if session else {})}
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await answer
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        """End the browser; its process ends by itself then."""
        await self.tell("Browser.close")
        await self._listening

    async def _listen(self) -> None:
        async for message in self._socket:
            told = message.json()
            answer = self._waiting.get(told.get("id", 0))
            if answer is not None and not answer.done():
                if "error" in told:
                    answer.set_exception(AssertionError(told["error"]))
                else:
                    answer.set_result(told["result"])
            elif told.get("sessionId") in self._tabs:
                self._tabs[told["sessionId"]].hear(told["method"], told["params"])


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """A browser that knows nothing yet, and keeps what it learns in the directory `profile`."""
    assert PROGRAM is not None
    words = (*_WORDS, f"--user-data-dir={profile}", "about:blank")
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(PROGRAM, *words, stdin=nowhere, stdout=nowhere, stderr=pipe)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (said := _LISTENS.search((await process.stderr.readline()).decode(errors="replace"))) is None:
                assert not process.stderr.at_eof(), "Chromium does not start"
        reading = asyncio.create_task(process.stderr.read())  # or it waits for whoever does not read
        async with aiohttp.ClientSession() as session, session.ws_connect(said[1], max_msg_size=0) as socket:
            browser = Browser(socket)
            yield browser
            await browser.close()
            await reading
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
