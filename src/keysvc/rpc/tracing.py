"""A span for each call, by OpenTelemetry. Needs the extra `traces`; nothing else imports this module's libraries.

A span holds the method, the gRPC status and the time, and of what the caller sent only its traceparent
(W3C Trace Context): no other metadata, no message, no error's text. Health checks have no spans.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from opentelemetry.context import Context as SpanContext
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from keysvc.model.permissions import PUBLIC
from keysvc.rpc.core import Answer, Context
from keysvc.rpc.intake import Method
from keysvc.rpc.turn import Turn

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
    """Stands before the gate, and around the unary methods, so that a refusal has its span too."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, path: str, method: Method) -> Method:
        return _Traced(method, lambda turn: self._span(path, turn.context))

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = continuation(details)
        if handler is None or details.method in PUBLIC:
            return handler  # the name of a method that is not there is the caller's own text
        return grpc.stream_stream_rpc_method_handler(
            self._stream(details.method, handler.stream_stream),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _stream(self, path: str, behaviour: Any) -> Any:
        @functools.wraps(behaviour)  # its attributes too: one of them names the pool that it runs in
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._span(path, context) as ended:
                try:
                    yield from behaviour(requests, context)
                finally:
                    # A refusal leaves as an exception of gRPC's, which has set the code by then.
                    ended(context.code() or grpc.StatusCode.OK)  # type: ignore[attr-defined]  # the stub leaves it out

        return call

    @contextmanager
    def _span(self, path: str, context: Context) -> Iterator[Callable[[grpc.StatusCode], None]]:
        """Ends with the code that it is told of."""
        name = path.removeprefix("/")
        service, _, short = name.partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": short}
        span = self._tracer.start_span(name, self._parent(context), kind=SpanKind.SERVER, attributes=attributes)

        def ended(code: grpc.StatusCode) -> None:
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in _FAULTS:
                span.set_status(StatusCode.ERROR)

        try:
            yield ended
        finally:
            span.end()

    def _parent(self, context: Context) -> SpanContext:
        """The caller's span. Its tracestate is not taken: that is text, and would stand in ours."""
        found = [value for key, value in context.invocation_metadata() if key == _PARENT and isinstance(value, str)]
        return self._propagator.extract({_PARENT: found[0]} if found else {}, SpanContext())


@dataclass(frozen=True, slots=True)
class _Traced:
    """A Method whose every answer has a span."""

    method: Method
    span: Callable[[Turn], AbstractContextManager[Callable[[grpc.StatusCode], None]]]

    def is_quick(self, turn: Turn) -> bool:
        return self.method.is_quick(turn)

    def answer(self, turn: Turn) -> Answer:
        return self._within(turn, self.method.answer)

    def overloaded(self, turn: Turn) -> Answer:
        return self._within(turn, self.method.overloaded)

    def _within(self, turn: Turn, answer: Callable[[Turn], Answer]) -> Answer:
        with self.span(turn) as ended:
            answered = answer(turn)
            ended(grpc.StatusCode.OK if isinstance(answered, bytes) else answered.code)
        return answered
