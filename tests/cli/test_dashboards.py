"""When a process has a view, and how that reaches its router. What becomes of both: `tests/e2e/test_dashboard.py`."""

import sys

import pytest

from herd.cli import dashboards
from herd.cli.dashboards import wants_view, watched_router
from herd.config import RouterSettings
from herd.errors import ConfigError
from tests.cli.test_log_output import Terminal

XTERM = {"TERM": "xterm-256color"}


def on_terminal(patch: pytest.MonkeyPatch, *, foreground: bool = True) -> None:
    """Have standard output be a terminal."""
    patch.setattr(sys, "stdout", Terminal())
    patch.setattr(dashboards, "in_foreground", lambda: foreground)


def test_on_a_terminal_there_is_a_view_unless_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    assert wants_view(None, XTERM)
    assert wants_view(True, XTERM)
    assert not wants_view(False, XTERM)


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_dumb_terminal_gets_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    assert not wants_view(None, {"TERM": term})
    with pytest.raises(ConfigError, match=r"^--dashboard needs a terminal .* TERM says that this one cannot: leave it"):
        wants_view(True, {"TERM": term})


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert not wants_view(None, XTERM)
    assert not wants_view(False, XTERM)
    with pytest.raises(ConfigError, match=r"^--dashboard needs a terminal .* standard output is none: leave it out$"):
        wants_view(True, XTERM)


def test_in_the_background_there_is_none(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    on_terminal(monkeypatch, foreground=False)
    assert not wants_view(None, XTERM)
    assert caplog.messages == []
    assert not wants_view(True, XTERM)
    assert caplog.messages == ["no dashboard: this process is in the background of its terminal"]


@pytest.mark.parametrize(
    ("host", "asked", "shown"),
    [
        ("0.0.0.0", "http://127.0.0.1:1", "http://localhost:1"),
        ("", "http://127.0.0.1:1", "http://localhost:1"),
        ("::", "http://[::1]:1", "http://localhost:1"),
        ("192.168.1.10", "http://192.168.1.10:1", "http://192.168.1.10:1"),
        ("fd00::10", "http://[fd00::10]:1", "http://[fd00::10]:1"),
        ("studio.local", "http://studio.local:1", "http://studio.local:1"),
    ],
)
def test_a_view_asks_where_its_router_listens(host: str, asked: str, shown: str) -> None:
    router = watched_router(RouterSettings(host=host), 1)
    assert (router.url, router.known_as) == (asked, shown)


def test_a_view_has_the_strongest_key_and_shows_none() -> None:
    named = RouterSettings(api_key=("laptop=open-sesame", "other-sesame"))
    assert watched_router(named, 1).key == "open-sesame"
    assert watched_router(RouterSettings(api_key=("open-sesame",), admin_key="admin-sesame"), 1).key == "admin-sesame"
    assert watched_router(RouterSettings(), 1).key == ""
    assert "sesame" not in repr(watched_router(named, 1))


def test_a_view_with_tls_asks_with_the_certificate_that_it_is_to_see() -> None:
    router = watched_router(RouterSettings(tls_cert="cert.pem"), 1, b"digest")
    assert (router.url, router.certificate) == ("https://127.0.0.1:1", b"digest")
