"""The pool of worker sessions: its places, who has them, and what is counted of the token's work.

A place is idle, in a call, without a session (the token gave none), or held by a reset. The pool lends and
takes back; it never asks the token.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pkcs11 import Session

from keysvc.hsm.errands import LOOK_SECONDS, Errand, Runner
from keysvc.model.errors import HsmBusy


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """What was done in the token since the start, and what of it is in use."""

    operations: int
    errors: int
    sessions: int
    sessions_in_use: int
    handles: int
    handle_hits: int
    """Since the token was reset last, like the misses."""
    handle_misses: int
    refreshes: int
    """How often the module was initialised anew because the connection had made so many keys."""


class Worker:
    """A place in the pool: its session, which is another one after a failure, and what was done there.

    One call has it at a time, so it counts without a lock.
    """

    __slots__ = ("_late_from", "_left", "errors", "operations", "runner", "session")

    def __init__(self) -> None:
        self.session: Session
        self.runner = Runner("keysvc-token")
        self.operations = 0
        self.errors = 0
        self._left: Errand[Any] | None = None
        self._late_from = 0.0

    def leave(self, errand: Errand[Any], late_from: float) -> None:
        """It is in the token for what nobody waits for. From that time on (time.monotonic) it is late."""
        self._left, self._late_from = errand, late_from

    def is_late(self) -> bool:
        """Whether it does not come back from the token."""
        left = self._left
        return left is not None and not left.is_done() and time.monotonic() >= self._late_from

    def is_back(self) -> None:
        """What nobody waited for may hold a secret."""
        self._left = None


class Pool:
    """Thread-safe."""

    def __init__(self, size: int) -> None:
        """No worker is idle before it is given a session and put here."""
        self.workers = [Worker() for _ in range(size)]
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._without_session: list[Worker] = []
        self._held: list[Worker] = list(self.workers)
        self._lending = threading.Event()
        self._lending.set()

    @property
    def circulating(self) -> int:
        """Workers that are idle or in a call."""
        with self._lock:
            return len(self.workers) - len(self._without_session) - len(self._held)

    def all_late(self) -> bool:
        """Whether every worker that could do a call is in one that was left behind."""
        return 0 < self.circulating <= sum(worker.is_late() for worker in self.workers)

    def has_idle(self) -> bool:
        """Whether `borrow` most likely does not wait."""
        return self._lending.is_set() and not self.idle.empty()

    def borrow(self, until: float, in_vain: Callable[[], bool] = lambda: False) -> Worker:
        """Waits for an idle worker. Raises HsmBusy at `until` (time.monotonic), or where waiting is `in_vain`."""
        if self._lending.is_set():
            try:
                return self.idle.get_nowait()
            except queue.Empty:
                pass
        while not (in_vain() or self.all_late()) and (left := until - time.monotonic()) > 0:
            if self._lending.wait(min(LOOK_SECONDS, left)):
                with suppress(queue.Empty):
                    return self.idle.get(timeout=min(LOOK_SECONDS, left))
        raise HsmBusy("Every session with the token is busy: try again")

    def put(self, worker: Worker) -> None:
        """After a call, or with a new session."""
        worker.is_back()
        self.idle.put(worker)

    def put_aside(self, worker: Worker) -> None:
        """It has no session, and does no call until it is taken from here again."""
        with self._lock:
            self._without_session.append(worker)

    def take_aside(self) -> Worker | None:
        """One without a session. It is out of the pool's sight until it is put back: a reset waits for it."""
        with self._lock:
            return self._without_session.pop() if self._without_session else None

    def hold_all(self, until: float) -> bool:
        """Takes every worker, so that no thread is in the module. False where one does not come back in time.

        Those that were taken stay so, and the next attempt waits for the others.
        """
        while True:
            with self._lock:
                self._held += self._without_session
                self._without_session.clear()
                left = len(self.workers) - len(self._held)
            if not left:
                return True
            try:
                worker = self.idle.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return False
            with self._lock:
                self._held.append(worker)

    def hold_briefly(self, until: float) -> bool:
        """As `hold_all`, for one that need not be: where a worker does not come back in time, all go on as they were.

        Calls that come meanwhile wait, or the last worker would never be idle for long enough to be had.
        """
        if any(worker.is_late() for worker in self.workers):
            return False
        taken: list[Worker] = []
        self._lending.clear()
        try:
            while len(taken) < self.circulating:
                taken.append(self.idle.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            for worker in taken:
                self.idle.put(worker)
            return False
        finally:
            self._lending.set()
        with self._lock:
            self._held += taken + self._without_session
            self._without_session.clear()
        return True

    def release_all(self, sessions: Iterable[Session]) -> None:
        """Gives the held workers these sessions, and lets them work. Those beyond the sessions are put aside."""
        fresh = list(sessions)
        with self._lock:
            working, self._without_session = self._held[: len(fresh)], self._held[len(fresh) :]
            self._held = []
        for worker, session in zip(working, fresh, strict=True):
            worker.session = session
            self.put(worker)

    def end(self) -> None:
        """Ends the workers' threads. One that hangs ends with the process."""
        for worker in self.workers:
            worker.runner.end()
