"""What streams pass: reflection's, the only ones that are not public. Unary calls come in by `keysvc.rpc.intake`.

What a call must pass then is `keysvc.rpc.guarded`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from keysvc.model.permissions import PUBLIC
from keysvc.rpc.guarded import GuardedMethod, Guards, Handler

_STREAMING_THREADS = 16


class Gate(grpc.ServerInterceptor):
    """Wraps the handler of each stream."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        # A stream that says nothing holds its thread. So they have threads of their own, apart from all other calls.
        self._streams = ThreadPoolExecutor(_STREAMING_THREADS, thread_name_prefix="keysvc-stream")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = continuation(details)
        if handler is None or details.method in PUBLIC:
            return handler
        method = GuardedMethod(details.method, handler, self._guards)

        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            return method.stream(requests, context)

        stream.experimental_thread_pool = self._streams  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)

    def close(self) -> None:
        self._streams.shutdown()
