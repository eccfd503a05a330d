"""Where spans go: by OTLP over HTTP to what the standard OTEL_… environment variables name, in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from keysvc.model.errors import Misconfigured

if TYPE_CHECKING:
    from keysvc.rpc.tracing import Tracing

SERVICE = "keysvc"
"""The service's name in traces, where OTEL_SERVICE_NAME gives no other."""
_LIBRARY = "opentelemetry"

log = structlog.get_logger(__name__)


@contextmanager
def exported() -> Iterator[Tracing]:
    """What makes the spans; at the end the last ones are sent. Raises Misconfigured where the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from keysvc.rpc.tracing import Tracing
    except ImportError:
        raise Misconfigured("KEYSVC_TRACES needs what is not installed: pip install 'keysvc[traces]'") from None
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
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
