"""The lines of calls: taken from the calls' threads at once, written by a thread of their own, many at a time.

A call does not wait for the disk, and does not let go of the GIL to write. Written by the calls themselves,
lines cost as much time of the processor, but one call in a hundred waited a millisecond for the GIL. What
a crash cuts off is the last moment's lines; the audit record is kept elsewhere.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from keysvc.rpc.observation import CallLine

BATCH_SECONDS = 0.02
"""How long lines are gathered."""
MAX_WAITING = 50_000
"""Lines kept while stderr takes none; what comes then is lost, and counted."""
STOP_SECONDS = 5.0


class CallLog:
    """Started, then stopped once. `put` is thread-safe."""

    def __init__(self, render: Callable[[CallLine], str], write: Callable[[bytes], None]) -> None:
        """`write` takes lines without the last one's newline, and may block; its OSError loses them."""
        self._render = render
        self._write = write
        self._lines: queue.SimpleQueue[CallLine | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="keysvc-call-log", daemon=True)
        self.lost = 0

    def start(self) -> None:
        self._thread.start()

    def put(self, line: CallLine) -> None:
        """Does not block."""
        if self._lines.qsize() < MAX_WAITING:
            self._lines.put(line)
        else:
            self.lost += 1

    def stop(self) -> None:
        """Writes what is there; gives up where stderr takes nothing."""
        self._lines.put(None)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._lines.get()]
            if batch[0] is not None:
                time.sleep(BATCH_SECONDS)
                batch += [self._lines.get() for _ in range(self._lines.qsize())]
            ended = None in batch
            self._write_down([line for line in batch if line is not None])

    def _write_down(self, lines: list[CallLine]) -> None:
        if not lines:
            return
        try:
            self._write("\n".join(map(self._render, lines)).encode())
        except OSError:
            # A full disk or a closed pipe must not end the thread: later lines may be taken again.
            self.lost += len(lines)


def no_log(_line: CallLine) -> None:
    """Where the lines of calls go when none are wanted."""
