"""A collector of traces on loopback: takes what is sent by OTLP over HTTP, as it came and decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    """Answers every export with success."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    @property
    def settings(self) -> dict[str, str]:
        """What sends keysvc's traces here."""
        return {
            "KEYSVC_TRACES": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }

    def spans(self) -> list[Span]:
        """In the order in which they began."""
        found = [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def service_names(self) -> set[str]:
        return {
            text_of(resource.resource.attributes, "service.name")
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        }


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to the tests' output."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def text_of(attributes: object, key: str) -> str:
    """The text of an attribute; empty where there is none."""
    pairs: list[KeyValue] = list(attributes)  # type: ignore[call-overload]  # a container of protobuf's
    return next((pair.value.string_value for pair in pairs if pair.key == key), "")
