"""Where a router's traces go: as it is told, as every program is told, or nowhere."""

import logging
import sys

import pytest

from herd.actors.tracing import NoTracer
from herd.cli import tracing
from herd.cli.tracing import tracer_of
from herd.config import RouterSettings, otlp_endpoint
from herd.errors import ConfigError

USUAL = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("given", "environ", "endpoint"),
    [
        ("", {}, ""),
        ("http://tempo.lan:4318", {}, "http://tempo.lan:4318/v1/traces"),
        ("https://tempo.lan/otlp/", {}, "https://tempo.lan:443/otlp/v1/traces"),
        ("http://tempo.lan:4318/v1/traces", {}, "http://tempo.lan:4318/v1/traces"),
        ("", {USUAL: "http://other:4318"}, "http://other:4318/v1/traces"),
        ("http://tempo.lan:4318", {USUAL: "http://other:4318"}, "http://tempo.lan:4318/v1/traces"),
    ],
)
def test_the_endpoint_is_that_of_herd_else_that_of_all_programs(
    given: str, environ: dict[str, str], endpoint: str
) -> None:
    assert otlp_endpoint(RouterSettings(otlp_endpoint=given), environ) == endpoint


def test_an_endpoint_that_is_no_url_is_refused_by_the_name_under_which_it_was_given() -> None:
    with pytest.raises(ConfigError, match=r"--otlp-endpoint 'tempo' must look like http://127.0.0.1:4318"):
        otlp_endpoint(RouterSettings(otlp_endpoint="tempo"), {})
    with pytest.raises(ConfigError, match=USUAL):
        otlp_endpoint(RouterSettings(), {USUAL: "grpc://tempo:4317"})


def test_nobody_is_told_unless_somebody_is_named() -> None:
    assert isinstance(tracer_of(RouterSettings(), {}, "r"), NoTracer)


@pytest.fixture(name="missing")
def extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, tracing.SENDER, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)


@pytest.mark.usefixtures("missing")
def test_who_asks_for_traces_is_told_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"^--otlp-endpoint needs .*: pip install 'herd-fleet\[otel\]'$"):
        tracer_of(RouterSettings(otlp_endpoint="http://tempo.lan:4318"), {}, "r")


@pytest.mark.usefixtures("missing")
def test_a_variable_that_is_meant_for_all_programs_stops_no_router(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert isinstance(tracer_of(RouterSettings(), {USUAL: "http://tempo.lan:4318"}, "r"), NoTracer)
    assert "no traces are sent" in caplog.text
