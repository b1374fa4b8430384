"""Where a router's traces go, if anywhere. What sends them is an extra, only loaded where somebody wants them."""

import importlib
import importlib.util
import logging
from collections.abc import Mapping

from herd import config
from herd.actors.tracing import NoTracer, Tracer
from herd.config import RouterSettings
from herd.errors import ConfigError

logger = logging.getLogger(__name__)

MISSING = "needs what sends traces: pip install 'herd-fleet[otel]'"


def tracer_of(settings: RouterSettings, environ: Mapping[str, str], router_id: str) -> Tracer:
    """The tracer that the settings ask for.

    Raises:
        ConfigError: the endpoint is no URL, or the extra is not installed.
    """
    endpoint = config.otlp_endpoint(settings, environ)
    if not endpoint:
        return NoTracer()
    if not _installed():
        if settings.otlp_endpoint:
            raise ConfigError(f"--otlp-endpoint {MISSING}")
        # The variable is meant for every program of this person, not for this one.
        logger.info("no traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT %s", MISSING)
        return NoTracer()
    tracer: Tracer = importlib.import_module("herd.net.otel").OtlpTracer(endpoint, router_id)
    return tracer


def _installed() -> bool:
    return importlib.util.find_spec("opentelemetry") is not None and all(
        importlib.util.find_spec(name) is not None
        for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
    )
