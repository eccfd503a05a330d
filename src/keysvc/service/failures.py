"""Limits on failed attempts: by caller and what it failed at, so that one caller's failures lock no other out."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from keysvc.model.errors import TooManyFailures

WINDOW_SECONDS = 60.0

Key = tuple[str, str]


class FailureLimit:
    """So many failures a minute of each key; then refusals, until the oldest is a minute ago. Thread-safe.

    Counts what this process sees. Keys are what strangers claim, so no more is kept than the last minute's failures:
    a limiter from a library was tried, which keeps each key for ever.
    """

    def __init__(self, name: str, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` says in the refusal what failed."""
        self._name = name
        self._most = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[Key, deque[float]] = OrderedDict()
        """The newest failures of each key, the key that failed last at the end."""
        self.refused = 0
        """Attempts refused since the start, for the metrics; of a great many, one may be lost."""

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._failures)

    def check(self, key: Key) -> None:
        """Raises TooManyFailures while the key is refused. One look into a dictionary for any other."""
        times = self._failures.get(key)
        if times is None or len(times) < self._most or self._clock() - times[0] >= WINDOW_SECONDS:
            return
        self.refused += 1
        raise TooManyFailures(f"Too many failed {self._name}: wait a minute, and find out why they fail")

    def failed(self, key: Key) -> None:
        """Counts a failure."""
        now = self._clock()
        with self._lock:
            times = self._failures.setdefault(key, deque(maxlen=self._most))
            times.append(now)
            self._failures.move_to_end(key)
            oldest = next(iter(self._failures))
            while now - self._failures[oldest][-1] >= WINDOW_SECONDS:
                del self._failures[oldest]
                oldest = next(iter(self._failures))
