"""Gathers concurrent verifications into BatchVerifyHmac: what comes while batches are under way goes with the next one.

Nothing is held back on purpose: a verification that finds no batch under way goes at once, alone. Both clients use it,
with futures of their own kind; it starts no threads, since the end of one batch sends the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from keysvc.client.errors import CallFailed, closed, failure_in, failure_of, too_late
from keysvc.client.methods import method_of
from keysvc.client.results import Verdict, verdict_of
from keysvc.v1.credential_service_pb2 import BatchVerifyHmacRequest, BatchVerifyHmacResponse, VerifyHmacRequest

BATCH = method_of("CredentialService/BatchVerifyHmac")
LARGE = 64 * 1024
"""Bytes of a request beyond which a batch saves nothing: it goes on its own."""
_MOST_BYTES = 4 * 1024 * 1024
"""Of a batch. The contract takes 8 MiB; half of it leaves no batch waiting long for its bytes."""
_MOST_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Batching:
    """At most `max_items` (1 to 1,000) in a batch, and `in_flight` batches at once."""

    max_items: int = 100
    in_flight: int = 2

    def __post_init__(self) -> None:
        if not (1 <= self.max_items <= _MOST_ITEMS and self.in_flight >= 1):
            raise ValueError("Batching takes max_items of 1 to 1000, and in_flight of 1 or more")


class Pending(Protocol):
    """What concurrent.futures.Future and asyncio.Future have in common."""

    def done(self) -> bool: ...
    def set_result(self, result: Verdict, /) -> None: ...
    def set_exception(self, exception: Any, /) -> None: ...


class Sent(Protocol):
    """A batch under way: a grpc.Future or an asyncio.Task."""

    def add_done_callback(self, callback: Callable[[Any], None], /) -> None: ...
    def result(self) -> BatchVerifyHmacResponse: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    request: VerifyHmacRequest = field(repr=False)
    deadline: float
    waiting: Pending

    def settle(self, outcome: Verdict | BaseException) -> None:
        if self.waiting.done():  # its caller was cancelled
            return
        if isinstance(outcome, BaseException):
            self.waiting.set_exception(outcome)
        else:
            self.waiting.set_result(outcome)


class Batcher:
    """Thread-safe. `send` starts a batch with a timeout in seconds, and does not wait for it."""

    def __init__(self, limits: Batching, send: Callable[[BatchVerifyHmacRequest, float], Sent]) -> None:
        self._limits = limits
        self._send = send
        self._lock = threading.Lock()
        self._queue: deque[_Item] = deque()
        self._under_way = 0
        self._closed = False

    def add(self, request: VerifyHmacRequest, timeout: float, waiting: Pending) -> None:
        """Returns at once; `waiting` is settled later. Raises CallFailed once closed."""
        with self._lock:
            if self._closed:
                raise closed()
            self._queue.append(_Item(request, time.monotonic() + timeout, waiting))
        self._send_waiting()

    def close(self) -> None:
        """What waits for its batch fails; batches under way end as their calls do."""
        with self._lock:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
        for item in left:
            item.settle(closed())

    def _send_waiting(self) -> None:
        while items := self._take():
            batch = BatchVerifyHmacRequest(requests=[item.request for item in items])
            timeout = max(item.deadline for item in items) - time.monotonic()
            try:
                sent = self._send(batch, timeout)
            except Exception as error:  # noqa: BLE001 - whatever it is, the callers of this batch wait for it
                self._ended()
                _settle_alike(items, error)
            else:
                sent.add_done_callback(partial(self._done, items))

    def _take(self) -> list[_Item]:
        """The next batch, now under way; empty where there is nothing to send, or enough is under way."""
        late: list[_Item] = []
        with self._lock:
            items = self._next(late) if self._under_way < self._limits.in_flight else []
            self._under_way += bool(items)
        for item in late:
            item.settle(too_late())
        return items

    def _next(self, late: list[_Item]) -> list[_Item]:
        """From the head of the queue as many as fit; those that nobody waits for any more are left out."""
        now = time.monotonic()
        items: list[_Item] = []
        size = 0
        while self._queue and len(items) < self._limits.max_items:
            item = self._queue[0]
            if not (item.waiting.done() or item.deadline <= now):
                size += item.request.ByteSize()
                if items and size > _MOST_BYTES:
                    break
                items.append(item)
            else:
                late.append(item)
            self._queue.popleft()
        return items

    def _done(self, items: Sequence[_Item], sent: Sent) -> None:
        self._ended()
        self._send_waiting()  # before the answers are handed out: the server need not wait for that
        try:
            for item, outcome in zip(items, _outcomes(sent.result(), len(items)), strict=True):
                item.settle(outcome)
        except BaseException as error:  # noqa: BLE001 - a task's cancellation too; the callers wait for it
            _settle_alike(items, error)

    def _ended(self) -> None:
        with self._lock:
            self._under_way -= 1


def _settle_alike(items: Sequence[_Item], error: BaseException) -> None:
    for item in items:
        item.settle(failure_of(error))


def _outcomes(answer: BatchVerifyHmacResponse, expected: int) -> list[Verdict | BaseException]:
    """In the order of the requests. Without one for each, none can be told whose it is."""
    if len(answer.results) != expected:
        raise CallFailed("INTERNAL", f"A batch of {expected} was answered with {len(answer.results)} results")
    return [_outcome(result) for result in answer.results]


def _outcome(result: BatchVerifyHmacResponse.Outcome) -> Verdict | BaseException:
    if result.WhichOneof("outcome") == "error":
        return failure_in(result.error)
    return verdict_of(result.response)
