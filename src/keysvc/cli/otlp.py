"""Spans by OTLP over HTTP, in batches, to what the standard OTEL_… environment variables name.

The only module of this layer that needs the extra `traces`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from keysvc.rpc.tracing import Tracing

SERVICE = "keysvc"
"""The service's name in traces, where the environment gives no other."""
_LIBRARY = "opentelemetry"

log = structlog.get_logger(__name__)


@contextmanager
def exporting() -> Iterator[Tracing]:
    """What makes the spans. At the end the last ones are sent, which may block for some seconds."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    with _troubles_logged():
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        try:
            yield Tracing(provider.get_tracer(SERVICE))
        finally:
            provider.shutdown()


class _ToStructlog(logging.Handler):
    """The libraries' own log: a collector out of reach, a variable that makes no sense."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("traces.trouble", source=record.name, message=record.getMessage())


@contextmanager
def _troubles_logged() -> Iterator[None]:
    library, handler = logging.getLogger(_LIBRARY), _ToStructlog(logging.WARNING)
    library.addHandler(handler)
    library.propagate = False
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.propagate = True
