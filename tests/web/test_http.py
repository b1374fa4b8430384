"""The web page over a socket: what no body may follow, none follows, and the connection goes on."""

from herd.actors.page import web_page
from herd.protocols.access import Access, Key, digest_of
from tests.net.http_house import RawClient, Reply, connection
from tests.web.house import web_house

KEYED = Access(keys=(Key("", digest_of("a-secret-key")),))


async def ask(client: RawClient, method: bytes, path: bytes, *headers: bytes) -> Reply:
    head = b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"Host: localhost", *headers))
    return await client.ask(head + b"\r\n\r\n", head_only=method == b"HEAD")


async def test_a_browser_is_sent_a_file_once_and_asks_whether_it_still_holds() -> None:
    page = web_page()["herd.index.html"].body
    async with web_house({}, KEYED) as house, connection(house.port) as client:
        whole = await ask(client, b"GET", b"/herd/")
        assert (whole.status, whole.body, whole.whole) == (200, page, True)
        tag = whole.headers["etag"].encode()
        for method in (b"GET", b"HEAD"):
            again = await ask(client, method, b"/herd/", b"If-None-Match: " + tag)
            assert (again.status, again.headers["etag"]) == (304, tag.decode())
        head = await ask(client, b"HEAD", b"/herd/")
        varying = {"date", "x-request-id"}
        told = [{name: value for name, value in each.headers.items() if name not in varying} for each in (whole, head)]
        assert (head.status, told[0]) == (200, told[1])
        assert (await ask(client, b"GET", b"/herd/page.js")).body == web_page()["herd.page.js"].body
