"""Unary calls as gRPC's core hands them over: the queue that they come in by, what is known of each, its answer.

The only module that knows `cygrpc`, which grpcio's own server is made of too. It is not public: the lock pins
grpcio, and the tests of this package meet every part of it that is used (docs/decisions/0018).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out

_NO_FLAGS = 0
_OK = cygrpc.StatusCode.ok

Answer = bytes | grpc.Status
"""What a call is answered: the response's bytes, or why there is none."""
Event = Any
"""One of cygrpc's."""


class Queue:
    """Takes some of a server's methods over. `take` and `poll` are one thread's."""

    def __init__(self, server: grpc.Server, paths: Iterable[str]) -> None:
        """Before the server starts, and before it has handlers of these methods of its own."""
        self._server = server._cy_server  # type: ignore[attr-defined]  # noqa: SLF001
        self._queue = cygrpc.CompletionQueue()
        self._server.register_completion_queue(self._queue)
        for path in paths:
            self._server.register_method(path)

    def take(self, path: str) -> bool:
        """Asks for one more call of a method: an event with the path as its tag. False where the server stops."""
        try:
            self._server.request_registered_call(self._queue, self._queue, path, path)
        except ValueError:
            return False
        return True

    def poll(self, deadline: float) -> Event | None:
        """The next event. Blocks until there is one, or returns None after `deadline` (time.time)."""
        event = self._queue.poll(deadline)
        return None if event.completion_type == cygrpc.CompletionType.queue_timeout else event


class Context(Protocol):
    """What is asked of a call by whoever handles it. A grpc.ServicerContext is one."""

    def time_remaining(self) -> float | None:
        """Seconds until its deadline."""

    def is_active(self) -> bool:
        """Whether its caller still waits, as far as that is known."""

    def invocation_metadata(self) -> Any:
        """Pairs of a name and a value."""

    def peer(self) -> str:
        """The caller's address, in gRPC's form."""

    def auth_context(self) -> Mapping[str, Any]:
        """What TLS has found out about the caller."""


class Call:
    """A Context. Its events come from one thread; it may be answered by any, once."""

    __slots__ = ("_call", "_deadline", "_metadata", "_watched", "active", "arrived", "over", "received", "sent")

    def __init__(self, requested: Event, arrived: int) -> None:
        """`requested` is the event by which the call came, `arrived` its epoch ticket."""
        self._call = requested.call
        self._deadline: float = requested.call_details.deadline
        self._metadata = requested.invocation_metadata
        self._watched = False
        self.arrived = arrived
        self.received = False
        """Whether its request is here to its end."""
        self.active = True
        self.over = True
        """False while somebody watches for its end."""
        self.sent = False

    def receive(self, then: Callable[[Event], None]) -> None:
        self._start((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), then)

    def watch(self, then: Callable[[Event], None]) -> None:
        """`then` is told when the call is over for its caller. A call that is answered at once needs no watching."""
        self._watched, self.over = True, False
        self._start((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), then)

    def answer(self, answer: Answer, then: Callable[[Event], None]) -> None:
        """`then` is told when the last of it is sent, or cannot be."""
        operations = [cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)]
        if isinstance(answer, bytes):
            operations.append(cygrpc.SendMessageOperation(answer, _NO_FLAGS))
            operations.append(cygrpc.SendStatusFromServerOperation(None, _OK, b"", _NO_FLAGS))
        else:
            operations.append(_status(answer))
        if not self._watched:
            operations.append(cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))
        self._start(operations, then)

    def _start(self, operations: Sequence[Any], then: Callable[[Event], None]) -> None:
        error = self._call.start_server_batch(operations, then)
        if error:
            raise RuntimeError(f"gRPC's core takes no such batch: GRPC_CALL_ERROR {error}")

    def break_off(self) -> None:
        """For one that cannot be answered. Its end is told to whoever watches for it."""
        self._call.cancel(cygrpc.StatusCode.internal, "keysvc failed to answer this call")

    def let_go(self) -> None:
        """After its last event: gRPC counts it as open while anybody holds on to it."""
        self._call = None

    def time_remaining(self) -> float:
        return max(self._deadline - time.time(), 0.0)

    def is_active(self) -> bool:
        return self.active

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        metadata: Sequence[tuple[str, str | bytes]] = self._metadata
        return metadata

    def peer(self) -> str:
        peer: bytes = self._call.peer()
        return peer.decode()

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        found = cygrpc.auth_context(self._call) or {}
        return {key.decode(): value for key, value in found.items()}


def message_of(event: Event) -> bytes | None:
    """What `receive` received. None where the caller went away, or sent none."""
    message: bytes | None = event.batch_operations[0].message()
    return message


def is_cancelled(event: Event) -> bool:
    """What `watch` has seen."""
    return bool(event.batch_operations[0].cancelled())


def _status(status: grpc.Status) -> Any:
    code: int = status.code.value[0]
    return cygrpc.SendStatusFromServerOperation(
        status.trailing_metadata, code, (status.details or "").encode(), _NO_FLAGS
    )
