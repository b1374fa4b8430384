"""The web page's files at the router's HTTP surface: who gets them, and what a browser is told of them."""

import re
from typing import Any

from herd.actors.page import web_page
from herd.protocols.access import Access, Key, digest_of
from herd.protocols.origins import Hosts
from herd.protocols.web_page import FILES
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House, house
from herd.simulation.http import InMemoryRequest, RecordingSink

HOST = ("Host", "192.168.1.5:11435")
PATHS = ["/herd", *(f"/herd/{file}" for file in FILES.values() if file != "index.html")]
KEYED = Access(keys=(Key("phone", digest_of("phone-secret")),))
MAY_LOAD = re.compile(r"""(?:src|href)="([^"]*)"|from "([^"]*)"|url\(([^)]*)\)|fetch\("([^"]*)"|@import ([^;]*)""")


async def asked(home: House, target: str, *headers: tuple[str, str], **fields: Any) -> RecordingSink:
    sink = RecordingSink()
    method, peer = fields.get("method", "GET"), fields.get("peer", "203.0.113.9")
    await home.http.send(InMemoryRequest(method, target, headers=headers, peer=peer), sink)
    return sink


@virtual_time
async def test_every_file_is_there_with_its_type_and_its_bounds() -> None:
    async with house() as home:
        types = {}
        for path in PATHS:
            answer = await asked(home, path, HOST)
            assert (answer.status, answer.finished) == (200, True)
            types[path.rpartition(".")[2]] = answer.header("Content-Type")
            policy = (answer.header("Content-Security-Policy") or "").split("; ")
            assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= {*policy}
            assert {"base-uri 'none'", "frame-ancestors 'none'", "form-action 'none'"} <= {*policy}
            assert not [part for part in policy if "unsafe" in part or "*" in part or "http" in part]
            assert answer.header("X-Content-Type-Options") == "nosniff"
            assert answer.header("Cache-Control") == "no-cache"
            assert int(answer.header("Content-Length") or 0) == len(answer.body) > 0
        assert types == {
            "/herd": "text/html; charset=utf-8",
            "css": "text/css; charset=utf-8",
            "js": "text/javascript; charset=utf-8",
        }


@virtual_time
async def test_the_page_is_there_by_every_spelling() -> None:
    async with house() as home:
        for path in ("/herd/", "/herd//", "//herd", "/herd/./", "/herd/?filter=x"):
            assert (await asked(home, path, HOST)).body == web_page()["herd.index.html"].body


@virtual_time
async def test_what_a_browser_has_already_is_not_sent_again() -> None:
    async with house() as home:
        tags = set()
        for path in PATHS:
            tag = (await asked(home, path, HOST)).header("ETag") or ""
            tags.add(tag)
            for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                again = await asked(home, path, HOST, ("If-None-Match", known))
                assert (again.status, again.body, again.header("ETag")) == (304, b"", tag)
            assert (await asked(home, path, HOST, ("If-None-Match", '"other"'))).status == 200
        assert len(tags) == len(PATHS)


@virtual_time
async def test_it_is_there_for_everybody_with_or_without_keys_but_by_the_routers_names_only() -> None:
    for access in (Access(), KEYED):
        async with house(access=access) as home:
            for path in PATHS:
                assert (await asked(home, path, HOST)).status == 200
                assert (await asked(home, path, HOST, ("Authorization", "Bearer wrong"))).status == 200
                assert (await asked(home, path, ("Host", "evil.example"))).status == 403
                assert (await asked(home, path, HOST, method="POST")).status == 405


@virtual_time
async def test_the_page_itself_drains_a_node_by_whatever_name_it_was_opened_and_a_strangers_does_not() -> None:
    access = Access(lan_admin=True, hosts=Hosts(own=("studio", "studio.local")))
    async with house(access=access) as home:
        await home.node("den", ["llama3.2:3b"])
        here = {"method": "POST", "peer": "192.168.1.7"}
        for name in ("192.168.1.5:11435", "[fd00::5]:11435", "localhost:11435", "studio:11435", "studio.local:11435"):
            own = (("Host", name), ("Origin", f"http://{name}"), ("Sec-Fetch-Site", "same-origin"))
            assert (await asked(home, "/herd/v1/nodes/den/drain", *own, **here)).status == 200
            for origin in ("http://evil.example", "http://localhost:3000", "null"):
                foreign = (("Host", name), ("Origin", origin), ("Sec-Fetch-Site", "cross-site"))
                assert (await asked(home, "/herd/v1/nodes/den/drain", *foreign, **here)).status == 403
        led_here = (("Host", "rebound.local:11435"), ("Origin", "http://rebound.local:11435"))
        assert (await asked(home, "/herd/v1/nodes/den/drain", *led_here, **here)).status == 403


def test_the_files_name_one_another_and_nothing_outside() -> None:
    for name, file in web_page().items():
        text = file.body.decode()
        named = [next(filter(None, found)) for found in MAY_LOAD.findall(text)]
        outside = [each for each in named if not each.startswith(("/herd/", "./", "data:image/svg+xml,"))]
        assert not outside, name
        paths = {f"/herd/{each.removeprefix('./')}" if each[0] == "." else each for each in named if each[0] in "./"}
        assert paths <= {*PATHS}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bstyle=|\bon\w+=", text)
