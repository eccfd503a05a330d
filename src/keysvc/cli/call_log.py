"""What calls tell of themselves, taken from their threads at once, counted and written by threads beside them.

A call leaves a tuple and goes on: it does not wait for the disk or for the GIL. Counted and written by the
calls themselves, one call in a hundred waited a millisecond. Counting never waits for stderr. What a crash
cuts off is the last moment's lines; the audit record is kept elsewhere.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import structlog

from keysvc.rpc.observation import CallLine

BATCH_SECONDS = 0.02
"""How long lines are gathered."""
MAX_WAITING = 50_000
"""Lines kept while stderr takes none; what comes then is lost, and counted."""
STOP_SECONDS = 5.0

Batch = list[CallLine]

log = structlog.get_logger(__name__)


class CallFeed:
    """Gathers what calls tell, and hands it on in batches. Started, then stopped once."""

    def __init__(self, *takers: Callable[[Batch], None]) -> None:
        """Each of `takers` is given every batch, and must not block."""
        self._takers = takers
        self._lines: queue.SimpleQueue[CallLine | None] = queue.SimpleQueue()
        self.put: Callable[[CallLine], None] = self._lines.put
        """The queue's own: every call calls it."""
        self._thread = threading.Thread(target=self._run, name="keysvc-call-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Hands on what is there."""
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            told = [self._lines.get()]
            if told[0] is not None:
                time.sleep(BATCH_SECONDS)
                told += [self._lines.get() for _ in range(self._lines.qsize())]
            ended = None in told
            batch = [line for line in told if line is not None]
            for take in self._takers:
                try:
                    take(batch)
                except Exception:
                    # The thread must live, or what calls tell would pile up.
                    log.exception("calls.untold")


class CallLog:
    """Writes batches of lines. Started, then stopped once. `put` is for one thread."""

    def __init__(self, render: Callable[[CallLine], str], write: Callable[[bytes], None]) -> None:
        """`write` takes lines without the last one's newline, and may block; its OSError loses them."""
        self._render = render
        self._write = write
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="keysvc-call-log", daemon=True)
        self.lost = 0

    def start(self) -> None:
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Does not block."""
        with self._lock:
            room = MAX_WAITING - self._waiting
            kept = batch[:room]
            self._waiting += len(kept)
            self.lost += len(batch) - len(kept)
        if kept:
            self._batches.put(kept)

    def stop(self) -> None:
        """Writes what is there; gives up where stderr takes nothing."""
        self._batches.put(None)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            lost = 0
            try:
                self._write("\n".join(map(self._render, batch)).encode())
            except OSError:
                # A full disk or a closed pipe must not end the thread: later lines may be taken again.
                lost = len(batch)
            with self._lock:
                self._waiting -= len(batch)
                self.lost += lost
