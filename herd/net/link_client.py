"""The agent's end of the link: finds out where routers are and dials them, behind the port `Dialer`."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from herd.actors.command_ends import unable
from herd.actors.ports import Obey, Relay
from herd.errors import JoinRefused, LinkClosed, StreamFailed
from herd.net.agent_connection import AgentConnection, Introduction
from herd.net.http_client import AiohttpServers
from herd.net.known_routers import Expectation, KnownRouters
from herd.net.tls import authorities_context, client_context
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Hello
from herd.types import RouterId, Seconds

CONNECT_S = 3.0  # per address: a machine that is there answers in milliseconds, and there may be more addresses
JOIN_S = 10.0
INFO_S = Seconds(5.0)
MAX_REFUSAL = 300  # characters of what a router says


class LinkDialer:
    """Opens links to routers.

    Args:
        servers: asks routers for their link port.
        token: the join token; empty when none is set.
        known: the routers that this agent has joined over TLS.
    """

    def __init__(self, servers: AiohttpServers, token: str = "", known: KnownRouters | None = None) -> None:
        self._servers = servers
        self._token = token
        self._known = known or KnownRouters()

    async def locate(self, url: str) -> RouterAddress:
        """Ask the router at `url` where its link port is, and whether that speaks TLS.

        No authority has to vouch for who answers, for a house has none: what comes back is public, and only says where
        to dial. Who is there is looked at on the link: a false answer leads to a router that this agent does not take
        for the one that it knows, or that cannot prove the join token.
        """
        try:
            info = await self._info(url)
        except StreamFailed as error:
            if not url.startswith("http:"):
                raise
            url = f"https:{url.removeprefix('http:')}"  # it may have been given a certificate since that was written
            try:
                info = await self._info(url)
            except StreamFailed:
                raise error from None
        parts = urlsplit(url)
        tls = info.get("link_tls") is True
        if parts.scheme == "https" and not tls:  # whoever writes https means it
            raise StreamFailed(
                f"the router at {url} has a plain link: start herd with --tls-cert, or name it by http://"
            )
        host = parts.hostname or ""
        bracketed = f"[{host}]" if ":" in host else host
        name = f"{parts.scheme}://{bracketed}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        router_id = RouterId(str(info.get("router_id", "")))
        return RouterAddress((host,), 0, info["link_port"], router_id, tls=tls, url=name)

    async def _info(self, url: str) -> dict[str, Any]:
        status, info = await self._servers.fetch(f"{url.rstrip('/')}/herd/v1/info", timeout=INFO_S, verified=False)
        if (
            status == 403 and isinstance(info, dict) and isinstance(info.get("error"), str)
        ):  # by a name that is not its own
            raise StreamFailed(f"the router at {url} refuses: {info['error'][:MAX_REFUSAL]}")
        if status != 200 or not isinstance(info, dict) or not isinstance(info.get("link_port"), int):
            raise StreamFailed(f"{url} does not answer as a Herd router does")
        return info

    async def dial(self, address: RouterAddress, hello: Hello, relay: Relay, obey: Obey = unable) -> AgentConnection:
        """Join a router."""
        expected = Expectation(self._known, address, proven=bool(self._token))
        if not address.tls:
            expected.check(b"")
        introduction = Introduction(hello, self._token, expected, client_context() if address.tls else None)
        try:
            return await self._join(address, introduction, relay, obey)
        except JoinRefused as refused:
            if refused.code != "certificate" or not address.url.startswith("https:"):
                raise
            # Those of authorities are renewed every few weeks: one with the name that a person wrote down will do.
            expected = Expectation(self._known, address, proven=True)
            vouched = Introduction(hello, self._token, expected, authorities_context(), address.hosts[0])
            try:
                return await self._join(address, vouched, relay, obey)
            except LinkClosed:
                raise refused from None

    async def _join(
        self, address: RouterAddress, introduction: Introduction, relay: Relay, obey: Obey
    ) -> AgentConnection:
        """Join a router at the first of its addresses where something listens."""
        failures: list[str] = []
        for host in address.hosts:
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, connection = await asyncio.get_running_loop().create_connection(
                        lambda: AgentConnection(introduction, relay, obey), host, address.link_port
                    )
            except (OSError, TimeoutError) as error:
                failures.append(f"{host}: {getattr(error, 'strerror', None) or 'no answer'}")
                continue
            return await self._welcomed(connection)
        raise LinkClosed(f"no router on link port {address.link_port} ({'; '.join(failures)})")

    async def _welcomed(self, connection: AgentConnection) -> AgentConnection:
        """Wait for the router's answer to the hello."""
        try:
            async with asyncio.timeout(JOIN_S):
                await asyncio.shield(connection.joined)
        except TimeoutError as error:
            connection.joined.cancel()
            connection.hang_up("the router did not answer the hello")
            raise LinkClosed("the router did not answer the hello") from error
        except BaseException:
            connection.hang_up("not joined")
            raise
        return connection
