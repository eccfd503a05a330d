"""Where unary calls come in: one thread takes them from gRPC's core, and answers those that wait for nothing.

grpcio's own server moves each call between two threads four times, which costs more than a verification itself.
Here a call whose caller, merchant and token are at hand is read, answered and sent by the thread that took it in. Any
other is given to the pool, and so is what would keep others waiting. Calls that came in together share one read of
the epoch. See docs/decisions/0018.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic, time
from typing import Protocol

import grpc
import structlog

from keysvc.model.errors import InvalidField
from keysvc.rpc import errors
from keysvc.rpc.core import Answer, Call, Event, Queue, is_cancelled, message_of
from keysvc.rpc.turn import Turn

_TOGETHER = 64
"""Events that are seen to, at most, before the calls that came first are answered."""
_HELD_UP_SECONDS = 0.05
"""How long the calls that came in together may take until the rest of them is held up by none of them any more."""
_REFUSING_THREADS = 2
_LOOK_SECONDS = 1.0
"""After which the thread looks whether it is at its end: a call that was broken off in another thread has no event."""
_NOW = 0.0
"""A deadline that has passed: what is there is taken, and nothing waited for."""
_NO_REQUEST = errors.to_status(InvalidField("request", "is absent: a call brings one message"))

log = structlog.get_logger(__name__)


class Method(Protocol):
    """What becomes of the calls of one method. Raises nothing."""

    def is_quick(self, turn: Turn) -> bool:
        """Whether it can be answered without waiting for anything but the epoch."""

    def answer(self, turn: Turn) -> Answer:
        """May block."""

    def overloaded(self, turn: Turn) -> Answer:
        """What is answered where more calls wait than are taken on. May block."""


class _Threads(ThreadPoolExecutor):
    def waiting(self) -> int:
        return self._work_queue.qsize()


class Intake:
    """Built before the server starts, started after it, and over when the server has stopped."""

    def __init__(
        self, server: grpc.Server, methods: Mapping[str, Method], arrival: Callable[[], int], threads: int, most: int
    ) -> None:
        """`methods` by their gRPC paths. `arrival` gives epoch tickets. Where `most` calls wait, others are refused."""
        self._methods = methods
        self._arrival = arrival
        self._most = most
        self._queue = Queue(server, methods)
        self._asked_for = 0
        """Events of calls to come."""
        self._calls: set[Call] = set()
        self._quick: list[tuple[Call, Method, Turn]] = []
        self._threads = _Threads(threads, thread_name_prefix="keysvc-call")
        # Threads of their own: a call that is turned away must not wait behind those that are taken.
        self._refusing = ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix="keysvc-overloaded")
        self._thread = threading.Thread(target=self._run, name="keysvc-intake", daemon=True)

    def start(self) -> None:
        for path in self._methods:
            self._ask_for(path)
        self._thread.start()

    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return self._threads.waiting() + len(self._quick)

    def calls(self) -> set[Call]:
        """All that were begun, and are not answered to the last byte."""
        return set(self._calls)

    def close(self) -> None:
        """After the server has stopped. Waits for the calls that are in threads."""
        self._thread.join()
        self._threads.shutdown()
        self._refusing.shutdown()

    def _run(self) -> None:
        while self._asked_for or self._calls:
            self._take_in()
            self._answer_quick()

    def _answer_quick(self) -> None:
        """One may be held up that was not to be. Those behind it may be held up by the same, and go to threads."""
        quick, self._quick = self._quick, []
        in_time = monotonic() + _HELD_UP_SECONDS
        for call, method, turn in quick:
            if monotonic() < in_time:
                self._answer(call, method.answer, turn)
            else:
                self._give(self._threads, call, method.answer, turn)

    def _take_in(self) -> None:
        """Waits for an event, and sees to it and to those that are there already."""
        deadline = time() + _LOOK_SECONDS
        for _ in range(_TOGETHER):
            event = self._queue.poll(deadline)
            if event is None:
                return
            self._see(event)
            del event  # before the next is waited for: it would keep its call from being let go
            deadline = _NOW

    def _see(self, event: Event) -> None:
        try:
            if isinstance(event.tag, str):
                self._came(event)
            else:
                event.tag(event)
        except Exception:
            log.exception("intake.failed")  # the thread must live: all calls come in by it

    def _ask_for(self, path: str) -> None:
        if self._queue.take(path):
            self._asked_for += 1

    def _came(self, event: Event) -> None:
        self._asked_for -= 1
        if not event.success:
            return  # the server stops
        self._ask_for(event.tag)  # first: whatever becomes of this call, the next of its method must come in
        call = Call(event, self._arrival())
        self._calls.add(call)
        call.receive(partial(self._received, call, event.tag))

    def _received(self, call: Call, path: str, event: Event) -> None:
        call.received = True
        raw = message_of(event)
        if raw is None:
            call.answer(_NO_REQUEST, partial(self._sent, call))
            return
        method, turn = self._methods[path], Turn(raw, call, call.arrived)
        if self.waiting() >= self._most:
            self._give(self._refusing, call, method.overloaded, turn)
        elif method.is_quick(turn):
            self._quick.append((call, method, turn))
        else:
            self._give(self._threads, call, method.answer, turn)

    def _give(self, threads: ThreadPoolExecutor, call: Call, answer: Callable[[Turn], Answer], turn: Turn) -> None:
        try:
            call.watch(partial(self._over, call))
            threads.submit(self._answer, call, answer, turn)
        except Exception:
            log.exception("intake.failed")  # no thread can be started, perhaps: one that there is comes to it

    def _over(self, call: Call, event: Event) -> None:
        if is_cancelled(event):
            call.active = False
        call.over = True
        self._forget(call)

    def _answer(self, call: Call, answer: Callable[[Turn], Answer], turn: Turn) -> None:
        try:
            call.answer(_made(answer, turn), partial(self._sent, call))
        except Exception:
            log.exception("intake.unanswered")  # gRPC does not take the answer
            call.break_off()
            self._sent(call, None)

    def _sent(self, call: Call, _event: Event | None) -> None:
        call.sent = True
        self._forget(call)

    def _forget(self, call: Call) -> None:
        if call.sent and call.over:
            self._calls.discard(call)
            call.let_go()


def _made(answer: Callable[[Turn], Answer], turn: Turn) -> Answer:
    """What is raised all the same is answered too: the caller waits for it, and so would the end of the server."""
    try:
        return answer(turn)
    except Exception as error:
        opaque_id = errors.new_opaque_id()
        log.error("intake.failed", id=opaque_id, exc_info=error)
        return errors.internal(opaque_id)
