"""What every call passes before it reaches a servicer: epoch, credentials, permission; and how errors leave.

Default deny: a method without a row in the table of permissions is called by nobody. A request is
parsed after its caller is known. Nothing but keysvc's own errors leaves the process; anything else
becomes INTERNAL with an opaque id, and stands in the log under it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from keysvc.model.errors import InvalidField, KeysvcError, Overloaded
from keysvc.model.permissions import PUBLIC
from keysvc.rpc import errors
from keysvc.service.access import Access, authorise
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller

log = structlog.get_logger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Caller], Any]

_arrived: ContextVar[int] = ContextVar("arrived")
"""When the call arrived. gRPC runs the interceptor and the handler of a call in one context."""


class Gate(grpc.ServerInterceptor):
    """Wraps each method's handler once."""

    def __init__(self, cache: Cache, access: Access, waiting: Callable[[], int], max_waiting: int) -> None:
        """`waiting` tells how many calls wait for a thread; above `max_waiting` calls are turned away."""
        self._cache = cache
        self._arrival = cache.arrival
        self._access = access
        self._waiting = waiting
        self._max_waiting = max_waiting
        self._wrapped: dict[str, Handler | None] = {}

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        # Here a call arrives; the gate proper runs when a thread is free. Between, other calls may read the epoch.
        _arrived.set(self._arrival())
        method: str = details.method
        handler = self._wrapped.get(method)
        if handler is None:
            handler = self._wrap(method, continuation(details))
            if handler is not None:
                # Only methods that exist are kept, so callers cannot make this grow.
                self._wrapped[method] = handler
        return handler

    def _wrap(self, method: str, handler: Handler | None) -> Handler | None:
        if handler is None or method in PUBLIC:
            return handler
        if handler.unary_unary is not None:
            return self._guarded_unary(method, handler)
        return self._guarded_stream(method, handler)

    def _guarded_unary(self, method: str, handler: Handler) -> Handler:
        behaviour: Behaviour = handler.unary_unary  # type: ignore[assignment]  # our servicers take a Caller
        parse: Callable[[bytes], Any] = handler.request_deserializer  # type: ignore[assignment]
        serialise: Callable[[Any], bytes] = handler.response_serializer  # type: ignore[assignment]

        def call(raw: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                caller = self._admit(method, context)
                return serialise(behaviour(_parsed(parse, raw), caller))
            except Exception as error:  # noqa: BLE001 - whatever it is must not leave as it is
                status = _status_of(error, method)
            return context.abort_with_status(status)

        return grpc.unary_unary_rpc_method_handler(call)

    def _guarded_stream(self, method: str, handler: Handler) -> Handler:
        behaviour: Any = handler.stream_stream
        parse: Callable[[bytes], Any] = handler.request_deserializer  # type: ignore[assignment]

        def call(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._admit(method, context)
                yield from behaviour((_parsed(parse, raw) for raw in requests), context)
            except Exception as error:  # noqa: BLE001
                status = _status_of(error, method)
            else:
                return
            context.abort_with_status(status)

        return grpc.stream_stream_rpc_method_handler(call, None, handler.response_serializer)

    def _admit(self, method: str, context: grpc.ServicerContext) -> Caller:
        if self._waiting() > self._max_waiting:
            raise Overloaded("More calls wait than keysvc takes on: try again, and spread the calls")
        self._cache.refresh(_arrived.get())
        principal = self._access.authenticate(_authorization(context))
        authorise(principal, method)
        return Caller(principal.principal_id, method, context.peer)


def _authorization(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization":
            return value if isinstance(value, str) else ""
    return ""


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError:
        raise InvalidField("request", "is not a message of this method's type") from None


def _status_of(error: Exception, method: str) -> grpc.Status:
    if isinstance(error, KeysvcError):
        return errors.to_status(error)
    opaque_id = uuid.uuid4().hex[:12]
    log.error("call.failed", method=method, id=opaque_id, exc_info=error)
    return errors.internal(opaque_id)
