"""Model servers of all kinds behind the port `ModelServers`: those that speak HTTP, and tools that the agent runs."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from herd.actors.ports import Answer, ModelServers
from herd.protocols.messages import RequestHead
from herd.types import Seconds


class ToolServers:
    """Hands each request on by the scheme of its base URL: `mflux://local` is not asked over the network.

    Args:
        tools: what is under URLs of their own, by scheme.
        http: everything else.
    """

    def __init__(self, tools: Mapping[str, ModelServers], http: ModelServers) -> None:
        self._tools = dict(tools)
        self._http = http

    def _whose(self, url: str) -> ModelServers:
        return self._tools.get(url.partition("://")[0], self._http)

    async def exchange(self, base_url: str, head: RequestHead, body: AsyncIterator[bytes] | None) -> Answer:
        """As `ModelServers.exchange`."""
        return await self._whose(base_url).exchange(base_url, head, body)

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        """As `ModelServers.fetch`."""
        return await self._whose(url).fetch(url, body, timeout=timeout)
