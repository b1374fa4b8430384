"""`herd serve`: the router."""

import logging
import os
import secrets
import ssl
from contextlib import nullcontext
from functools import partial

from rich.console import Console
from rich.markup import escape

import herd
from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, RunningRouter, running_router
from herd.actors.tracing import Tracer
from herd.cli.access import access_of
from herd.cli.dashboards import ROUTER_LOGS, fleet_dashboard, wants_view, watched_router
from herd.cli.logbook import LogBook
from herd.cli.options import settings_command
from herd.cli.process import run, set_up_logs, spare_collector, stop_signals, until_told
from herd.cli.tracing import tracer_of
from herd.config import RouterSettings
from herd.net.clock import SystemClock
from herd.net.http_server import AiohttpServer
from herd.net.identity import Identity, open_identity
from herd.net.link_server import LinkServer
from herd.net.mdns import MdnsAdvertiser
from herd.net.metrics import Metrics
from herd.net.own_names import own_names
from herd.net.tls import fingerprint, server_context
from herd.protocols.access import Access
from herd.store.database import DATABASE, Database
from herd.store.executor import ThreadExecutor
from herd.types import Bytes, RouterId, ScorerKind, Seconds

logger = logging.getLogger(__name__)


def serve(settings: RouterSettings) -> None:
    """Run the router: the URL that clients use, and the port to which agents connect.

    Example: herd serve --port 11435
    """
    book = LogBook()
    set_up_logs(settings.log_level, settings.log_format, book)
    view = wants_view(settings.dashboard, os.environ)
    access, tls = access_of(settings, own_names()), server_context(settings.tls_cert, settings.tls_key)
    with open_identity(settings.data_dir.expanduser(), "router") as identity:
        tracer = tracer_of(settings, os.environ, identity.id)
        ports = _ports(settings, tls, book, tracer)
        certificate = fingerprint(tls) if tls is not None else b""
        run(_serve(settings, _options(settings, identity, access), ports, view, certificate))


async def _serve(
    settings: RouterSettings, options: RouterOptions, ports: RouterPorts, view: bool, certificate: bytes
) -> None:
    async with running_router(options, ports) as router:
        spare_collector()
        told = stop_signals()
        watched = watched_router(settings, router.http_port, certificate)
        announce(Console(highlight=False), settings, router, watched.known_as)
        logs = settings.data_dir.expanduser() / ROUTER_LOGS
        async with fleet_dashboard(watched, logs) if view else nullcontext():
            await until_told(told, router.failed)
        logger.info("stopping: running requests may end")


def _options(settings: RouterSettings, identity: Identity, access: Access) -> RouterOptions:
    return RouterOptions(
        identity=RouterIdentity(RouterId(identity.id), herd.__version__),
        seed=secrets.randbits(64),
        hold_timeout=Seconds(settings.hold_timeout),
        json_limit=Bytes(settings.json_limit),
        scorer=ScorerKind(settings.scorer),
        access=access,
        link_tls=settings.tls_cert != "",
        join_token=settings.join_token != "",
        names=settings.names,
    )


def _ports(settings: RouterSettings, tls: ssl.SSLContext | None, book: LogBook, tracer: Tracer) -> RouterPorts:
    links = LinkServer(settings.host, settings.link_port, settings.join_token, tls)
    return RouterPorts(
        clock=SystemClock(),
        http=AiohttpServer(settings.host, settings.port, tls=tls),
        listener=links,
        links=links,
        streams=links,
        advertiser=None if settings.no_mdns else MdnsAdvertiser(),
        open_store=partial(Database, settings.data_dir.expanduser() / DATABASE),
        executor=ThreadExecutor(),
        meter=Metrics(links.traffic),
        tracer=tracer,
        log=book,
    )


def announce(console: Console, settings: RouterSettings, router: RunningRouter, url: str) -> None:
    """Tell the person at the terminal that the router is up at `url`, and what to do next."""
    console.print(f"herd {herd.__version__} is up: [bold]{escape(url)}[/bold]")
    console.print(f"agents connect to port {router.link_port}; start [bold]herd-node[/bold] next to each model server")
    if settings.no_mdns:
        scheme = "https" if settings.tls_cert else "http"
        console.print(f"mDNS is off: herd-node --router-url {scheme}://<this machine>:{router.http_port}")


serve_command = settings_command(RouterSettings, serve)
