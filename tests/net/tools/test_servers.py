"""Tools beside servers that speak HTTP."""

from collections.abc import AsyncIterator
from typing import Any

from herd.actors.ports import Answer
from herd.net.tools.answers import HeldAnswer
from herd.net.tools.servers import ToolServers
from herd.protocols.answers import Reply
from herd.protocols.messages import RequestHead
from herd.types import BackendId, RequestId, Seconds


class Named:
    """A model server that answers with its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def exchange(self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None) -> Answer:
        return HeldAnswer(Reply(200, (), f"{self._name} {base_url}{head.path}".encode()))

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        return 200, f"{self._name} {url} {body} {timeout}"


async def test_a_request_goes_to_the_tool_of_its_scheme_and_all_others_over_the_network() -> None:
    servers = ToolServers({"mflux": Named("mflux")}, Named("http"))
    head = RequestHead(RequestId("r"), BackendId("b"), "GET", "/v1/models")
    for base_url, name in (("mflux://local", "mflux"), ("http://h:1", "http"), ("https://h:1", "http")):
        answer = await servers.exchange(base_url, head, None)
        assert await answer.read() == f"{name} {base_url}/v1/models".encode()
        assert await answer.read() == b""
        assert await servers.fetch(f"{base_url}/x", {}, timeout=Seconds(1.0)) == (200, f"{name} {base_url}/x {{}} 1.0")
