"""Work done by a thread of its own, for those who wait for it so long and no longer.

A call into a token's module cannot be broken off: a thread that is in one which hangs, hangs with it.
So what must answer in time gives its work to such a thread, and leaves it behind where it is late. The
threads are daemons: one that hangs does not keep the process from ending.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

R = TypeVar("R")

LOOK_SECONDS = 0.1
"""How often one who waits looks whether it is still worth it. Only what takes longer than this is looked at."""


class Late(Exception):
    """The work was not done in time. It goes on all the same."""


class Errand(Generic[R]):
    """Work that was given away. Any number of threads may wait for it."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._result: R
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self._done.release()

    def is_done(self) -> bool:
        return not self._done.locked()

    def outcome(self, until: float, in_vain: Callable[[], bool] = lambda: False) -> R:
        """What the work returned or raised. Raises Late at `until` (time.monotonic), or where waiting is `in_vain`."""
        while not self._done.acquire(timeout=max(0.0, min(LOOK_SECONDS, until - time.monotonic()))):
            if time.monotonic() >= until or in_vain():
                raise Late
        self._done.release()
        if self._error is not None:
            raise self._error
        return self._result


class Runner:
    """A thread that does one errand after another. It begins with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._given: queue.SimpleQueue[Errand[object] | None] = queue.SimpleQueue()
        self._begin = threading.Lock()
        self._thread: threading.Thread | None = None

    def give(self, work: Callable[[], R]) -> Errand[R]:
        """Does not block."""
        errand = Errand(work)
        self._given.put(errand)  # type: ignore[arg-type]  # what it returns is for whoever waits
        if self._thread is None:
            self._start()
        return errand

    def end(self) -> None:
        """After the errands that it has. Does not wait for it."""
        self._given.put(None)

    def _start(self) -> None:
        with self._begin:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (errand := self._given.get()) is not None:
            errand.run()
            del errand  # what it returned is not kept until the next
