"""Traces to an OpenTelemetry collector: the SDK behind the port `Tracer`. Needs the extra `otel`.

The SDK's own thread sends them, in batches, and tries again for a while where the collector is away; what its queue has
no room for is dropped. Of its standard variables these count, too: OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE, _TIMEOUT
and _COMPRESSION, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_SDK_DISABLED.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import SpanKind as SdkKind
from opentelemetry.trace.span import TraceState

import herd
from herd.protocols.spans import Span, SpanKind, Trace

logger = logging.getLogger(__name__)

# Spans that wait to be sent: of some 500 requests, and some 20 MB. A busy house has as many in ten seconds, which is as
# long as the SDK tries to send a batch.
QUEUE = 4096
BATCH = 512
EVERY_MS = 500.0  # whoever looks for a trace that has just ended waits no longer
# As long as a person who has pressed Ctrl-C waits gladly.
FLUSH_S = 2.0

_KINDS = {SpanKind.SERVER: SdkKind.SERVER, SpanKind.CLIENT: SdkKind.CLIENT, SpanKind.INTERNAL: SdkKind.INTERNAL}


class OtlpTracer:
    """Sends traces to a collector.

    Args:
        endpoint: its URL for traces, with the path.
        router_id: who sends them.
    """

    on = True

    def __init__(self, endpoint: str, router_id: str) -> None:
        self._ids = _GivenIds()
        self._exporter = _Watched(OTLPSpanExporter(endpoint), endpoint)
        self._provider = TracerProvider(ALWAYS_ON, _resource(router_id), shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter, max_queue_size=QUEUE, max_export_batch_size=BATCH, schedule_delay_millis=EVERY_MS
            )
        )
        self._tracer = self._provider.get_tracer("herd", herd.__version__)
        self._closed = False

    def ended(self, trace: Trace) -> None:
        """Hand the spans to the SDK, which sends them from a thread of its own."""
        own = trace.call.context
        state = TraceState.from_header([own.state]) if own.state else None
        flags = TraceFlags(own.flags)
        self._ids.trace = own.trace
        for span in trace.spans:
            context: Context | None = None
            if span.parent:
                above = SpanContext(own.trace, span.parent, span.kind is SpanKind.SERVER, flags, state)
                context = set_span_in_context(NonRecordingSpan(above), Context())
            self._make(span, context)

    def _make(self, span: Span, context: Context | None) -> None:
        self._ids.span = span.id
        made = self._tracer.start_span(
            span.name,
            context if context is not None else Context(),
            _KINDS[span.kind],
            span.attributes,
            start_time=_ns(span.start),
        )
        if span.failed:
            made.set_status(Status(StatusCode.ERROR, span.why))
        made.end(_ns(span.end))

    async def close(self) -> None:
        """Send what is left, for at most FLUSH_S seconds. Idempotent."""
        if self._closed:
            return
        self._closed = True
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(done.set)

        # A thread that nobody waits for at the end: a collector that takes the connection and says nothing could hold
        # the process for as long as the SDK waits for it.
        Thread(target=flush, name="last traces", daemon=True).start()
        try:
            await asyncio.wait_for(done.wait(), FLUSH_S)
        except TimeoutError:
            logger.warning("the last traces were not sent within %.0f s", FLUSH_S)
            self._exporter.give_up()


class _GivenIds:
    """An IdGenerator of the SDK's. Ids are chosen before there are spans: nodes are told of them."""

    def __init__(self) -> None:
        self.trace = self.span = 0

    def generate_span_id(self) -> int:
        return self.span

    def generate_trace_id(self) -> int:
        return self.trace

    def is_trace_id_random(self) -> bool:
        return True


class _Watched:
    """A SpanExporter of the SDK's that says once that nobody takes its spans, and once that somebody does again.

    It runs in the SDK's thread. The SDK's own lines about it come with every batch: they are for whoever debugs.
    """

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._away = False
        self._over = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            logger.warning("traces are lost: the collector at %s does not take them", self._endpoint)
        elif self._away and not away:
            logger.info("the collector at %s takes traces again", self._endpoint)
        self._away = away
        return result

    def shutdown(self) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Try nothing again. Idempotent."""
        if not self._over:
            self._over = True
            self._exporter.shutdown()


def _resource(router_id: str) -> Resource:
    """Who sends the spans: as the standard variables say, else as what it is."""
    said = Resource.create({SERVICE_INSTANCE_ID: router_id, SERVICE_VERSION: herd.__version__})
    named = not str(said.attributes[SERVICE_NAME]).startswith("unknown_service")
    return said if named else said.merge(Resource({SERVICE_NAME: "herd"}))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
