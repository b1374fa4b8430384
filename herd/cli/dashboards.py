"""The live views of `herd`, `herd demo` and `herd-node`: when there is one, and what it has to know.

A view draws in a process of its own, for a frame takes tens of milliseconds; what it must not show to others on this
machine it is told by its environment, never by its command line.
"""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import herd
from herd.actors.dashboard import DashboardOptions, Documents, running_dashboard
from herd.cli.access import key_of
from herd.cli.live.lifeline import PARENT
from herd.cli.live.terminal import is_dumb
from herd.cli.log_output import logs_in
from herd.config import HTTP_PORT, RouterSettings
from herd.errors import ConfigError
from herd.net.clock import SystemClock
from herd.net.view_process import ViewProcess, in_foreground

logger = logging.getLogger(__name__)

# In the data directory: what is logged while a view has the terminal.
ROUTER_LOGS, AGENT_LOGS = "herd.log", "herd-node.log"

# What a view has no use for is not told to it.
_SECRETS = ("HERD_API_KEY", "HERD_JOIN_TOKEN", "HERD_NODE_JOIN_TOKEN", "HERD_ADMIN_KEY")

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared


def wants_view(given: bool | None, environ: Mapping[str, str]) -> bool:
    """Whether this process has a view: as `--dashboard` or `--no-dashboard` says, else where one can be seen.

    Raises:
        ConfigError: it is wanted where there is no terminal for it.
    """
    if given is False:
        return False
    if not sys.stdout.isatty() or is_dumb(environ):
        if given:
            why = "TERM says that this one cannot" if sys.stdout.isatty() else "standard output is none"
            raise ConfigError(f"--dashboard needs a terminal that can show it, and {why}: leave it out")
        return False
    if not in_foreground():
        if given:
            logger.warning("no dashboard: this process is in the background of its terminal")
        return False
    return True


@dataclass(frozen=True, slots=True)
class Watched:
    """A router, as its own view reaches it.

    Attributes:
        url: at which it is asked, from this machine.
        known_as: its URL for people.
        key: to ask it with; empty where it needs none.
        certificate: SHA-256 of the one that it shows; none without TLS.
    """

    url: str
    known_as: str
    key: str = field(default="", repr=False)
    certificate: bytes = b""


def watched_router(settings: RouterSettings, port: int, certificate: bytes = b"") -> Watched:
    """The router of these settings, which listens on `port`. Loopback, where it listens there: it needs no key."""
    scheme = "https" if settings.tls_cert else "http"
    host = _EVERYWHERE.get(settings.host, settings.host)
    shown = "localhost" if settings.host in _EVERYWHERE else host
    key = settings.admin_key or next(map(key_of, settings.api_key), "")
    return Watched(f"{scheme}://{_bracketed(host)}:{port}", f"{scheme}://{_bracketed(shown)}:{port}", key, certificate)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def fleet_dashboard(router: Watched, logs: Path | None = None) -> AbstractAsyncContextManager[None]:
    """Show a router's fleet until the block ends.

    Args:
        router: of this process.
        logs: where its log lines go meanwhile; None: nowhere.
    """
    variables = {PARENT: "stdin"}
    if router.key:
        variables["HERD_ADMIN_KEY"] = router.key
    if router.certificate:
        variables["HERD_ROUTER_FINGERPRINT"] = router.certificate.hex()
    top = "herd top"
    if router.known_as != f"http://localhost:{HTTP_PORT}":
        top += f" --router-url {router.known_as}"
    command = [*_python(), "-m", "herd", "top", "--router-url", router.url]
    view = ViewProcess(command, _environment(variables), lambda: logs_in(logs))
    options = DashboardOptions(f"{top} shows it again{_kept(logs)}")
    return running_dashboard(view, SystemClock(), options)


def agent_dashboard(documents: Documents, data_dir: Path) -> AbstractAsyncContextManager[None]:
    """Show how an agent stands until the block ends.

    Args:
        documents: what it tells its view.
        data_dir: its data directory, where its log lines go meanwhile.
    """
    logs = data_dir / AGENT_LOGS
    command = [*_python(), "-m", "herd.cli.agent.top", "--data-dir", str(data_dir)]
    view = ViewProcess(command, _environment({}), lambda: logs_in(logs))
    options = DashboardOptions(f"herd-node status shows how this machine stands{_kept(logs)}", documents)
    return running_dashboard(view, SystemClock(), options)


def _kept(logs: Path | None) -> str:
    return f", and {logs} has what was logged meanwhile" if logs is not None else ""


def _python() -> list[str]:
    """This interpreter, to find Herd where this process has found it: in the directory that it was started in, or
    (`-P`) anywhere but there, for anybody's files may lie around in it.
    """
    started_in = sys.path[0] if sys.path else ""
    return [sys.executable] if started_in in {"", str(Path(herd.__file__).parents[1])} else [sys.executable, "-P"]


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _SECRETS} | variables
