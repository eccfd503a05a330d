"""Where calls arrive: each is given a guarded handler, or is turned away at once where too many wait.

What a call must pass then is `keysvc.rpc.guarded`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from keysvc.model.errors import Overloaded
from keysvc.model.permissions import PUBLIC
from keysvc.rpc.guarded import GuardedMethod, Guards, Handler, Turn, arrived, check_table

_REFUSING_THREADS = 2
_STREAMING_THREADS = 16


@dataclass(frozen=True, slots=True)
class _Load:
    """How many calls wait for a thread, and how many may."""

    waiting: Callable[[], int]
    most: int


class Gate(grpc.ServerInterceptor):
    """Wraps each method's handler once."""

    def __init__(self, guards: Guards, waiting: Callable[[], int], max_waiting: int) -> None:
        """`waiting` tells how many calls wait for a thread; at `max_waiting` more are turned away.

        Raises ValueError for a table of permissions that cannot be held.
        """
        check_table()
        self._guards = guards
        self._arrival = guards.cache.arrival
        self._load = _Load(waiting, max_waiting)
        self._wrapped: dict[str, Handler | None] = {}
        self._turned_away: dict[str, Handler] = {}
        # Threads of their own: a call that is turned away must not wait behind those that are taken.
        self._streams = ThreadPoolExecutor(_STREAMING_THREADS, thread_name_prefix="keysvc-stream")
        self._refusing = ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix="keysvc-overloaded")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        # Here a call arrives; the gate proper runs when a thread is free. Between, other calls may read the epoch.
        arrived.set(self._arrival())
        method: str = details.method
        handler = self._wrapped.get(method)
        if handler is None:
            handler = self._wrap(method, continuation(details))
            if handler is not None:
                # Only methods that exist are kept, so callers cannot make this grow.
                self._wrapped[method] = handler
        if self._load.waiting() >= self._load.most and method in self._turned_away:
            return self._turned_away[method]
        return handler

    def close(self) -> None:
        self._refusing.shutdown()
        self._streams.shutdown()

    def _wrap(self, path: str, handler: Handler | None) -> Handler | None:
        if handler is None or path in PUBLIC:
            return handler
        method = GuardedMethod(path, handler, self._guards)
        if handler.unary_unary is not None:
            self._turned_away[path] = grpc.unary_unary_rpc_method_handler(self._turning_away(method))
            return grpc.unary_unary_rpc_method_handler(method.unary)
        return grpc.stream_stream_rpc_method_handler(self._streaming(method), None, handler.response_serializer)

    def _streaming(self, method: GuardedMethod) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[Any]]:
        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            return method.stream(requests, context)

        # A stream that says nothing holds its thread. So they have threads of their own, apart from all other calls.
        stream.experimental_thread_pool = self._streams  # type: ignore[attr-defined]
        return stream

    def _turning_away(self, method: GuardedMethod) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def refuse(raw: bytes, context: grpc.ServicerContext) -> bytes:
            error = Overloaded("More calls wait than keysvc takes on: try again, and spread the calls")
            return context.abort_with_status(method.refused(error, Turn(raw, context)))

        refuse.experimental_thread_pool = self._refusing  # type: ignore[attr-defined]
        return refuse
