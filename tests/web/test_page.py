"""The web page in a real browser, before a real router with simulated nodes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from herd.protocols.access import Access, Key, digest_of
from tests.web.browser import PROGRAM, Browser, Tab, chromium
from tests.web.house import LLAMA, House, web_house

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(PROGRAM is None, reason="not installed: chromium"),
]

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
ARABIC = "الاستوديو 1"  # runs the other way
LONG = f"{'a' * 50}/{'b' * 60}:latest"
DISKS = {"studio": (LLAMA, "qwen3:8b"), "den": (LLAMA, LONG), EVIL: ("<b>bold:1b",), ARABIC: (LLAMA,)}
ELSEWHERE = {"X-Forwarded-For": "192.168.1.9"}  # whoever comes by a proxy is not on the router's machine
ADMIN, PHONE = "admin-secret-0001", "phone-secret-0001"

CARD = "[...document.querySelectorAll('#nodes > li')].find((one) => one.querySelector('h3').textContent === %s)"
LOADED = "document.querySelectorAll('#nodes > li').length === 4"


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def a_house() -> AsyncIterator[House]:
    async with web_house(DISKS) as house:
        await house.chat(**{"X-Request-Id": "first-question", "X-OpenWebUI-User-Id": "<i>ada</i>"})
        house.tell("<i>den</i> is here")
        yield house


@pytest_asyncio.fixture(name="browser", scope="module", loop_scope="module")
async def a_browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@asynccontextmanager
async def page(
    browser: Browser, house: House, *expected: str, path: str = "/herd/", headers: dict[str, str] | None = None
) -> AsyncIterator[Tab]:
    """The page, open. Whatever is done with it: it asks nobody but its router, and its console is as `expected`."""
    tab = await browser.open()
    await tab.size(1280, 900)
    await tab.tell("Network.setExtraHTTPHeaders", headers=headers or {})
    await tab.go(house.url + path)
    yield tab
    complaints = [one for one in tab.complaints if not any(each in one for each in expected)]
    assert complaints == []
    assert [url for url in tab.requested if not url.startswith((f"{house.url}/herd", "data:image/svg+xml,"))] == []
    await tab.close()


def card(name: str) -> str:
    """The element of a node."""
    return CARD % json.dumps(name)


def told(name: str, text: str) -> str:
    """Whether the element of a node says this."""
    return f"({card(name)})?.textContent.includes({json.dumps(text)})"


async def test_nodes_requests_and_happenings_are_shown(house: House, browser: Browser) -> None:
    async with page(browser, house) as tab:
        await tab.until(LOADED)
        await tab.until("document.querySelector('#link').textContent === 'live'")
        await tab.until(told("studio", "ready"))
        shown = await tab.run(f"({card('studio')}).innerText")
        assert "more on disk" in shown
        assert "tokens/s" in shown
        assert "GB" in shown
        meters = await tab.run(f"({card('studio')}).querySelectorAll('[role=meter][aria-valuenow]').length")
        assert meters >= 2
        assert "4 of 4 nodes serve" in await tab.run("document.querySelector('#totals').textContent")
        await tab.until("document.querySelector('#requests').innerText.includes('served')")
        await tab.until("document.querySelector('#happenings').textContent.includes('<i>den</i> is here')")
        assert await tab.run("document.title.startsWith('4/4 serve')")


async def test_what_happens_is_shown_as_it_happens(house: House, browser: Browser) -> None:
    async with page(browser, house, path="/herd") as tab:
        await tab.until(told("den", "ready"))
        await tab.run(f"window.before = {card('den')}")
        await house.post("/herd/v1/nodes/den/drain")
        await tab.until(told("den", "draining"))
        await tab.until(told("den", "is drained by hand since"))
        house.tell("the bell has rung")
        await tab.until("document.querySelector('#happenings').textContent.includes('the bell has rung')")
        await house.post("/herd/v1/nodes/den/resume")
        await tab.until(told("den", "ready"))
        assert await tab.run(f"window.before === {card('den')}")  # the same element all the time
        await house.chat(**{"X-Request-Id": "second-question"})
        await tab.until("document.querySelector('#requests [data-id=second-question]')")


async def test_a_node_is_drained_paused_and_resumed_after_a_question(house: House, browser: Browser) -> None:
    async with page(browser, house) as tab:
        await tab.until(told("studio", "ready"))
        for order, state in (("drain", "draining"), ("resume", "ready"), ("pause", "paused"), ("resume", "ready")):
            await tab.run(f"({card('studio')}).querySelector('[data-order={order}]').click()")
            assert await tab.run("document.querySelector('#order').open")
            title = await tab.run("document.querySelector('#order-title').textContent")
            assert title == f"{order.capitalize()} studio?"
            await tab.run("document.querySelector('#order-for select').value = '15m'")
            await tab.run("document.querySelector('#order-go').click()")
            await tab.until(told("studio", state))
            await tab.until("!document.querySelector('#order').open")
            if order == "pause":
                assert " until " in await tab.run(f"({card('studio')}).innerText")


async def test_a_request_tells_its_story_by_keyboard_too(house: House, browser: Browser) -> None:
    async with page(browser, house) as tab:
        await tab.until("document.querySelector('[data-id=first-question]')")
        await tab.run("document.querySelector('[data-id=first-question] button').focus()")
        for kind in ("keyDown", "keyUp"):
            await tab.tell(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )
        await tab.until("document.querySelector('#story-events').innerText.includes('over: served')")
        shown = await tab.run("document.querySelector('#story').innerText")
        assert "Request first-question" in shown
        assert f"{LLAMA} for <i>ada</i>" in shown
        assert "machines looked at" in shown
        assert "readiness of the model" in shown
        await tab.tell("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
        await tab.until("!document.querySelector('#story').open")


async def test_names_of_strangers_are_text(house: House, browser: Browser) -> None:
    async with page(browser, house) as tab:
        await tab.until(LOADED)
        await tab.until(told(EVIL, "<b>bold:1b"))
        await tab.run(f"({card(EVIL)}).querySelector('[data-order=drain]').click()")
        assert await tab.run("document.querySelector('#order-title').textContent") == f"Drain {EVIL}?"
        assert await tab.run("document.querySelectorAll('img, body script, b:not([data-is]), i').length") == 0
        assert await tab.run(f"{card(ARABIC)} !== undefined")
        # Nor could a line of the page's own make HTML of them.
        assert await tab.run(
            "(() => { try { document.body.innerHTML = 'x'; } catch (error) { return error.name; } })()"
        )
        tab.complaints.clear()


async def test_a_phone_shows_all_of_it_without_scrolling_sideways(house: House, browser: Browser) -> None:
    async with page(browser, house) as tab:
        await tab.size(360, 640)
        await tab.until(LOADED)
        await tab.until("document.querySelector('#requests li')")
        wide = "[...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > 360.5)"
        for opened in ("", "document.querySelectorAll('details').forEach((one) => (one.open = true))"):
            await tab.run(f"void ({opened or 0})")
            assert await tab.run("document.documentElement.scrollWidth") == 360
            assert await tab.run(f"{wide}.map((one) => one.outerHTML)") == []
        await tab.run("document.querySelector('[data-id=first-question] button').click()")
        await tab.until("document.querySelector('#story-events').innerText.includes('over: served')")
        assert await tab.run(f"{wide}.map((one) => one.outerHTML)") == []


async def test_nodes_are_sorted_and_filtered(house: House, browser: Browser) -> None:
    choose = """(id, value) => {
      const field = document.getElementById(id);
      field.value = value;
      for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
    }"""
    names = "[...document.querySelectorAll('#nodes h3')].map((one) => one.textContent).join()"
    async with page(browser, house) as tab:
        await tab.until(LOADED)
        await tab.run(f"({choose})('filter', 'QWEN3 ready')")
        await tab.until(f"{names} === 'studio'")
        await tab.run(f"({choose})('filter', 'nothing has this')")
        await tab.until("document.querySelector('#nodes').children.length === 0")
        assert await tab.run("document.querySelector('#nodes + .empty').checkVisibility()")
        await house.post("/herd/v1/nodes/studio/pause")
        await tab.run(f"({choose})('filter', ''), ({choose})('sort', 'state')")
        await tab.until(f"{names}.startsWith('studio')")
        await house.post("/herd/v1/nodes/studio/resume")
        await tab.until(f"!{names}.startsWith('studio')")


async def test_only_what_differs_of_a_hundred_nodes_is_touched(house: House, browser: Browser) -> None:
    async with page(browser, house) as tab:
        await tab.until(LOADED)
        script = """(async () => {
          const view = await import("/herd/view.js");
          const status = await (await fetch("/herd/v1/status")).json();
          const many = (change) => ({ ...status, nodes: Array.from({ length: 100 }, (_, n) =>
            ({ ...status.nodes[n % status.nodes.length], id: `n${n}`, name: `box${n}`, reasons: [], ...change(n) })) });
          const watch = new MutationObserver(() => {});
          const drawn = (document) => {
            const all = { attributes: true, childList: true, characterData: true, subtree: true };
            watch.observe(window.document.getElementById("nodes"), all);
            view.nodes(document, "name", "");
            const touched = watch.takeRecords();
            watch.disconnect();
            return touched.length;
          };
          drawn(many(() => ({})));
          const cards = document.getElementById("nodes").children.length;
          const same = drawn(many(() => ({})));
          const one = drawn(many((n) => (n === 42 ? { running: 7 } : {})));
          const gone = drawn({ ...status, nodes: many(() => ({})).nodes.filter((node) => node.id !== "n42") });
          return { cards, same, one, gone };
        })()"""
        assert await tab.run(script) == {"cards": 100, "same": 0, "one": 1, "gone": 1}


async def test_everything_has_a_name_for_those_who_do_not_see_it_and_contrast_for_those_who_hardly_do(
    house: House, browser: Browser
) -> None:
    contrast = """(() => {
      const style = getComputedStyle(document.documentElement);
      const light = (name) => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d");
        canvas.fillStyle = style.getPropertyValue(name);
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) =>
          part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
      };
      const found = {};
      for (const text of ["--text", "--dim", "--good", "--warn", "--bad"]) {
        for (const ground of ["--card", "--ground"]) {
          const [one, other] = [light(text), light(ground)];
          found[`${text} on ${ground}`] = Math.max(one, other) / Math.min(one, other);
        }
      }
      return found;
    })()"""
    async with page(browser, house) as tab:
        await tab.until(LOADED)
        grounds = set()
        for scheme in ("light", "dark"):
            await tab.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            found: dict[str, float] = await tab.run(contrast)
            assert {pair: ratio for pair, ratio in found.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3
            grounds.add(await tab.run("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        tree = (await tab.tell("Accessibility.getFullAXTree"))["nodes"]
        wanting = {
            "button",
            "searchbox",
            "combobox",
            "textbox",
            "meter",
            "list",
            "heading",
            "dialog",
            "DisclosureTriangle",
        }
        roles = [(role_of(node), node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
        assert {"button", "searchbox", "combobox", "meter", "heading", "status"} <= {role for role, _ in roles}
        unnamed = [role for role, name in roles if role in wanting - {"list"} and not name]
        assert unnamed == []
        assert ("button", "Drain studio") in roles


def role_of(node: Any) -> str:
    return str(node.get("role", {}).get("value", ""))


async def test_a_router_that_is_away_is_shown_as_such_until_it_is_back(browser: Browser) -> None:
    async with web_house({"attic": (LLAMA,)}) as house, page(browser, house, "net::ERR_") as tab:
        await tab.until(told("attic", "ready"))
        await house.stop()
        await tab.until("document.querySelector('#link').textContent.startsWith('not live since ')")
        assert await tab.run(f"({card('attic')}) !== undefined")
        assert await tab.run("document.querySelector('#again').checkVisibility()")
        await house.start()
        await tab.run("document.querySelector('#again').click()")
        await tab.until("document.querySelector('#link').textContent === 'live'")
        await tab.until(told("attic", "ready"))
        await tab.until("!document.querySelector('#again').checkVisibility()")


async def test_a_page_that_nobody_looks_at_lets_go_of_the_router(house: House, browser: Browser) -> None:
    looked = """(hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with page(browser, house) as tab:
        await tab.until("document.querySelector('#link').textContent === 'live'")
        await tab.run(f"({looked})(true)")
        await tab.until("document.querySelector('#link').textContent.endsWith('nobody looked at this page')")
        await tab.run(f"({looked})(false)")
        await tab.until("document.querySelector('#link').textContent === 'live'")


async def test_where_a_key_is_needed_the_page_asks_for_it_and_keeps_it_in_its_tab(browser: Browser) -> None:
    enter = (
        "(key) => { document.querySelector('#key').value = key; document.querySelector('#key-form button').click(); }"
    )
    async with web_house({}, Access(keys=(Key("phone", digest_of(PHONE)),))) as house:
        async with page(browser, house, "401 (Unauthorized)", headers=ELSEWHERE) as tab:
            await tab.until("document.querySelector('#key-form').checkVisibility()")
            assert not await tab.run("document.querySelector('main').checkVisibility()")
            await tab.run(f"({enter})('wrong-key')")
            await tab.until("document.querySelector('#key-form').checkVisibility()")
            await tab.run(f"({enter})('schlüssel')")
            await tab.until("document.querySelector('#key-why').textContent.startsWith('a key consists of')")
            await tab.run(f"({enter})('{PHONE}')")
            await tab.until("document.querySelector('#link').textContent === 'live'")
            await tab.until("document.querySelector('main').checkVisibility()")
            assert not await tab.run("document.querySelector('#key-form').checkVisibility()")
            kept = "[document.cookie, JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]"
            assert await tab.run(kept) == ["", "{}", json.dumps({"herd-key": PHONE}, separators=(",", ":"))]
            assert not [url for url in tab.requested if PHONE in url]
            await tab.go(f"{house.url}/herd/")
            await tab.until("document.querySelector('#link').textContent === 'live'")
        async with page(browser, house, "401 (Unauthorized)", headers=ELSEWHERE) as another:
            await another.until("document.querySelector('#key-form').checkVisibility()")


async def test_an_order_that_is_refused_says_why_and_the_admin_key_lets_it_pass(browser: Browser) -> None:
    async with web_house({"attic": (LLAMA,)}, Access(admin=digest_of(ADMIN))) as house:
        refused = "403 (Forbidden)"
        async with page(browser, house, refused, headers=ELSEWHERE) as tab:
            await tab.until(told("attic", "ready"))
            drain = f"({card('attic')}).querySelector('[data-order=drain]').click()"
            go = "document.querySelector('#order-go').click()"
            await tab.run(f"{drain}, {go}")
            await tab.until("document.querySelector('#order-refused').textContent.includes('--lan-admin')")
            await tab.run("document.querySelector('#order [data-close]').click()")
            await tab.run("document.querySelector('#change-key').click()")
            await tab.run(f"document.querySelector('#key').value = '{ADMIN}'")
            await tab.run("document.querySelector('#key-form button').click()")
            await tab.run(f"{drain}, {go}")
            await tab.until(told("attic", "draining"))


@pytest.mark.parametrize("name", ["localhost", "studio.local", "studio"])
async def test_the_page_works_by_the_names_that_the_router_has(house: House, browser: Browser, name: str) -> None:
    tab = await browser.open()
    await tab.go(f"http://{name}:{house.port}/herd/")
    if name == "studio":  # this house has no name of its own
        assert "--allowed-host" in await tab.run("document.body.innerText")
    else:
        await tab.until(LOADED)
        assert tab.complaints == []
    await tab.close()
