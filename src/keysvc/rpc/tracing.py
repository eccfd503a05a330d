"""A span for each call, by OpenTelemetry. Needs the extra `traces`; nothing else imports this module's libraries.

A span holds the method, the gRPC status and the time, and of what the caller sent only its traceparent
(W3C Trace Context): no other metadata, no message, no error's text. Health checks have no spans.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from keysvc.model.permissions import PUBLIC

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_PARENT = "traceparent"
_FAULTS = frozenset({
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
})  # fmt: skip
"""What is an error of a server's, by OpenTelemetry's conventions for gRPC; the rest are the caller's."""


class Tracing(grpc.ServerInterceptor):
    """Stands before the gate, so that a refusal has its span too."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = continuation(details)
        if handler is None or details.method in PUBLIC:
            return handler  # the name of a method that is not there is the caller's own text
        method: str = details.method
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream(method, handler.stream_stream), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, method: str, behaviour: Any) -> Any:
        @functools.wraps(behaviour)  # its attributes too: one of them names the pool that it runs in
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with self._span(method, context):
                return behaviour(request, context)

        return call

    def _stream(self, method: str, behaviour: Any) -> Any:
        @functools.wraps(behaviour)
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._span(method, context):
                yield from behaviour(requests, context)

        return call

    @contextmanager
    def _span(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        name = method.removeprefix("/")
        service, _, short = name.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": short}
        span = self._tracer.start_span(name, self._parent(context), kind=SpanKind.SERVER, attributes=attributes)
        try:
            yield
        finally:
            # A refusal leaves as an exception of gRPC's, which has set the code by then.
            code = context.code() or grpc.StatusCode.OK  # type: ignore[attr-defined]  # the stub leaves it out
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in _FAULTS:
                span.set_status(StatusCode.ERROR)
            span.end()

    def _parent(self, context: grpc.ServicerContext) -> Context:
        """The caller's span. Its tracestate is not taken: that is text, and would stand in ours."""
        found = [value for key, value in context.invocation_metadata() if key == _PARENT and isinstance(value, str)]
        return self._propagator.extract({_PARENT: found[0]} if found else {}, Context())
