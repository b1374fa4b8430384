"""`herd doctor`: looks at the router, at this machine and at what is between them, and says what is wrong.

The looking is here, and each look is bounded; what is made of it is in `diagnosis`.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

import herd
from herd import config
from herd.cli.doctor import diagnosis, view
from herd.cli.doctor.diagnosis import AgentFacts, Facts, RouterFacts
from herd.cli.doctor.local_facts import agent_of, files_of, listeners_here, memory_here, servers_here, settings_of_agent
from herd.cli.process import set_up_logs
from herd.cli.remote.asking import AdminKey, RouterUrl, key_headers, refused
from herd.config import HTTP_PORT, NodeSettings
from herd.errors import ConfigError, HerdError, StreamFailed
from herd.net.clock import SystemClock
from herd.net.http_client import AiohttpServers
from herd.net.known_routers import KNOWN_ROUTERS, KnownRouters
from herd.net.mdns import Heard, heard
from herd.net.probing import Link, look_at_link
from herd.protocols.discovery import RouterAddress
from herd.protocols.headers import Headers, value_of
from herd.protocols.messages import PROTOCOL_VERSIONS, RequestHead
from herd.types import BackendId, RequestId, RouterId, Seconds

# zeroconf asks at 0 and 1 s, and responders answer within 0.12 s. All looks together take less than ten seconds: this,
# then the router's word of itself, then at once its link and its fleet.
HEAR_S = Seconds(1.8)
INFO_S = Seconds(2.0)
STATUS_S = Seconds(4.0)

_DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Data directory of this machine's agent (HERD_NODE_DATA_DIR; default: ~/.herd-node).", show_default=False
    ),
]


def doctor_command(
    router_url: RouterUrl = None,
    data_dir: _DataDir = None,
    no_mdns: Annotated[bool, typer.Option("--no-mdns", help="Do not listen for routers on the network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, and nothing else.")] = False,
    admin_key: AdminKey = None,
) -> None:
    """Find out why this machine does not join, or a model is not served, and what to do. Changes nothing.

    Run it on the machine that does not join, or on the router's. Exit code 1: something failed.

    Example: herd doctor --router-url http://192.168.1.10:11435
    """
    set_up_logs("critical")
    settings, flaw = settings_of_agent(data_dir)
    wanted = _wanted(router_url, settings)
    examination = _Examination(settings, wanted, key_headers(admin_key), listen=not no_mdns)
    facts = asyncio.run(examination.facts(flaw))
    found = diagnosis.examine(facts)
    if as_json:
        typer.echo(json.dumps(view.as_document(found), indent=2))
    else:
        Console(highlight=False).print(view.findings(found))
    raise typer.Exit(diagnosis.exit_code(found))


@dataclass(frozen=True, slots=True)
class _Place:
    """A router that may be looked at, and why this one."""

    url: str
    why: str


_HERE = _Place(f"http://127.0.0.1:{HTTP_PORT}", "on this machine")


def _wanted(flag: str | None, settings: NodeSettings) -> _Place | None:
    """The router that somebody has named; None: nobody has. Raises ConfigError for what is no URL."""
    if flag is not None or os.environ.get("HERD_ROUTER_URL"):
        why = "as --router-url says" if flag is not None else "as HERD_ROUTER_URL says"
        return _Place(config.asked_router(flag, os.environ), why)
    if settings.router_url:
        return _Place(config.router_url(settings.router_url), "as the settings of the agent here say")
    return None


class _Examination:
    """One round of looking.

    Args:
        settings: of this machine's agent.
        wanted: the router that somebody has named.
        headers: with a key, for the router that is named, and for what needs one alone.
        listen: for routers, by mDNS.
    """

    def __init__(self, settings: NodeSettings, wanted: _Place | None, headers: Headers, *, listen: bool) -> None:
        self._settings = settings
        self._wanted = wanted
        self._headers = headers
        self._listen = listen
        self._data_dir = settings.data_dir.expanduser()

    async def facts(self, flaw: str) -> Facts:
        """All there is. `flaw`: of the agent's settings."""
        agent = agent_of(self._data_dir, flaw, token=bool(self._settings.join_token))
        keys: dict[str, str] = {}
        with suppress(ConfigError):  # it is told with the server
            keys = config.backend_keys(self._settings.backend_url)
        async with AiohttpServers(keys=keys) as servers, asyncio.TaskGroup() as group:
            around = group.create_task(self._around(servers, agent))
            beside = group.create_task(servers_here(servers, self._settings, agent))
            memory = group.create_task(memory_here())
            listening = group.create_task(listeners_here())
        hearing, router = around.result()
        return Facts(
            version=herd.__version__,
            protocol_versions=PROTOCOL_VERSIONS,
            hearing=hearing,
            router=router,
            agent=agent,
            servers=beside.result(),
            memory=memory.result(),
            files=files_of(self._data_dir),
            listeners=listening.result(),
        )

    async def _around(self, servers: AiohttpServers, agent: AgentFacts) -> tuple[Heard | None, RouterFacts]:
        """Routers on the network, and the one that matters."""
        first = self._wanted or _HERE
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(_heard(self._listen))
            looking = group.create_task(self._info(servers, first))
        found, router = hearing.result(), looking.result()
        headers = self._headers
        if router.info is None and self._wanted is None and found is not None and found.routers:
            router = await self._info(servers, _place_of(found.routers, agent))
            headers = ()  # whoever makes itself heard is not whom the key is for
        if router.info is None:
            return found, router
        async with asyncio.TaskGroup() as group:
            status = group.create_task(_with_status(router, headers))
            link = group.create_task(self._link(router))
        return found, replace(status.result(), link=link.result())

    async def _info(self, servers: AiohttpServers, place: _Place) -> RouterFacts:
        """The router's word of itself, and how else it could be reached if it does not give it so."""
        facts = RouterFacts(place.url, place.why)
        try:
            info = await _word(servers, place.url)
        except StreamFailed as error:
            other = f"https{place.url.removeprefix('http')}" if place.url.startswith("http:") else place.url
            advice = (
                f"it speaks HTTPS: ask with --router-url {other}"
                if other != place.url
                else "agents join it all the same; here SSL_CERT_FILE names the certificate, or its authority's"
            )
            try:
                info = await _word(servers, other, verified=False)
            except StreamFailed:
                return replace(facts, trouble=str(error))
            return replace(facts, url=other, info=info, trouble=str(error), otherwise=advice)
        return replace(facts, info=info, ahead_s=await _ahead(servers, place.url))

    async def _link(self, router: RouterFacts) -> Link | None:
        """The link port that the router names, at the host by which it answered."""
        info: Mapping[str, Any] = router.info or {}
        port, host = info.get("link_port"), urlsplit(router.url).hostname or ""
        if not isinstance(port, int) or not 0 < port < 65536:
            return None
        tls, token = info.get("link_tls") is True, self._settings.join_token
        address = RouterAddress((host,), 0, port, RouterId(str(info.get("router_id", ""))), tls=tls, url=router.url)
        try:
            known = KnownRouters(self._data_dir / KNOWN_ROUTERS)
        except ConfigError:  # said where the files are looked at
            known = None
        return await look_at_link(address, token if info.get("join_token") is True else "", known)


async def _heard(listen: bool) -> Heard | None:
    return await heard(HEAR_S) if listen else None


def _place_of(routers: tuple[RouterAddress, ...], agent: AgentFacts) -> _Place:
    """Where to ask the router of this machine's agent, if it was heard, else the first one."""
    own = (agent.shown or {}).get("router_id")
    router = next((each for each in routers if each.router_id == own), routers[0])
    host = router.hosts[0]
    scheme = "https" if router.tls else "http"
    return _Place(f"{scheme}://{f'[{host}]' if ':' in host else host}:{router.http_port}", "heard by mDNS")


async def _with_status(router: RouterFacts, headers: Headers) -> RouterFacts:
    """With how its fleet stands, unless it could not be reached as it was named: what is wrong there is said."""
    if router.otherwise:
        return router
    async with AiohttpServers(headers) as servers:
        try:
            status, document = await servers.fetch(f"{router.url}/herd/v1/status", timeout=STATUS_S)
        except StreamFailed as error:
            return replace(router, refusal=str(error))
    if status != 200 or not isinstance(document, dict):
        return replace(router, refusal=str(refused(router.url, status, document, keyed=bool(headers))))
    return replace(router, status=document)


async def _word(servers: AiohttpServers, url: str, *, verified: bool = True) -> dict[str, Any]:
    """What a router says of itself. Raises StreamFailed where none does."""
    status, info = await servers.fetch(f"{url}/herd/v1/info", timeout=INFO_S, verified=verified)
    if status != 200 or not isinstance(info, dict) or not isinstance(info.get("link_port"), int):
        raise StreamFailed(str(refused(url, status, info, keyed=False)))
    return info


async def _ahead(servers: AiohttpServers, url: str) -> float | None:
    """Seconds that the router's clock is ahead of this machine's, to about one; None where it does not say."""
    head = RequestHead(RequestId(""), BackendId(""), "GET", "/healthz")
    try:
        async with asyncio.timeout(INFO_S):
            answer = await servers.exchange(url, head, None)
        answer.close()
        date = parsedate_to_datetime(value_of(answer.headers, "date") or "")
    except (HerdError, TimeoutError, ValueError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp() - SystemClock().wall()
