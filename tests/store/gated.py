"""An epoch reader whose reads of the database are real, and end when a test says so."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType

from sqlalchemy import Engine

from keysvc.model.errors import StoreUnavailable
from keysvc.store.epoch import EpochReader

WAIT = 10.0
"""Seconds until a test gives up on what should have come at once."""


class GatedReader(EpochReader):
    """Between the answer of the database and its use lies a gate: `begun` tells that a read waits there."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.begun: queue.Queue[int] = queue.Queue()
        self._gates: queue.Queue[bool] = queue.Queue()

    def let_pass(self, count: int = 1) -> None:
        """So many reads end with what they have read, each when it comes to the gate."""
        for _ in range(count):
            self._gates.put(True)

    def let_fail(self) -> None:
        """One read ends as it does when the connection breaks before the answer has come."""
        self._gates.put(False)

    def _read(self) -> int:
        value = super()._read()
        self.begun.put(value)
        if not self._gates.get(timeout=WAIT):
            raise StoreUnavailable("The connection broke: try again")
        return value


class Waiter(threading.Thread):
    """One call that asks for the epoch. Afterwards `saw` is what had been seen when it was answered."""

    def __init__(self, reader: EpochReader, seen: list[int]) -> None:
        super().__init__()
        self._reader = reader
        self._seen = seen
        self.saw: int | None = None
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            self._reader.read(self._seen.append)
            self.saw = self._seen[-1] if self._seen else 0
        except StoreUnavailable as error:
            self.failed = error


class Waiters:
    """Several, started together and joined at the end of the block."""

    def __init__(self, reader: EpochReader, seen: list[int], count: int) -> None:
        self.all = [Waiter(reader, seen) for _ in range(count)]

    def __enter__(self) -> Waiters:
        for waiter in self.all:
            waiter.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for waiter in self.all:
            waiter.join(WAIT)


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread or program does. Raises TimeoutError after half a minute."""
    ended = threading.Event()
    for _ in range(600):
        if condition():
            return
        ended.wait(0.05)
    raise TimeoutError("what was waited for did not come")
