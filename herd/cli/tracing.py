"""Where a router's traces go, if anywhere. What sends them is an extra, only loaded where somebody wants them."""

import importlib
import logging
from collections.abc import Mapping

from herd import config
from herd.actors.tracing import NoTracer, Tracer
from herd.config import RouterSettings
from herd.errors import ConfigError

logger = logging.getLogger(__name__)

SENDER = "herd.net.otel"
MISSING = "needs what sends traces: pip install 'herd-fleet[otel]'"


def tracer_of(settings: RouterSettings, environ: Mapping[str, str], router_id: str) -> Tracer:
    """The tracer that the settings ask for.

    Raises:
        ConfigError: the endpoint is no URL, or the extra is not installed.
    """
    endpoint = config.otlp_endpoint(settings, environ)
    if not endpoint:
        return NoTracer()
    try:
        sender = importlib.import_module(SENDER)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        if settings.otlp_endpoint:
            raise ConfigError(f"--otlp-endpoint {MISSING}") from error
        # The variable is meant for every program of this person, not for this one.
        logger.warning("no traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT %s", MISSING)
        return NoTracer()
    tracer: Tracer = sender.OtlpTracer(endpoint, router_id)
    return tracer
