"""Limits on failed attempts: by caller and what it failed at, so that one caller's failures lock no other out."""

from __future__ import annotations

import time
from collections.abc import Hashable

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from keysvc.model.errors import TooManyFailures

_MANY = 10_000
"""Refused keys from which on those that have ended are looked for."""


class FailureLimit:
    """So many failures a minute of each key; then refusals, until the oldest is a minute ago. Thread-safe.

    Counts what this process sees. An attempt that is not refused costs one look into a dictionary.
    """

    def __init__(self, name: str, per_minute: int) -> None:
        """`name` says in the refusal what failed."""
        self._name = name
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._blocked: dict[Hashable, float] = {}
        self.refused = 0
        """Attempts refused since the start, for the metrics; of a great many, one may be lost."""

    def check(self, key: tuple[str, str]) -> None:
        """Raises TooManyFailures while the key is refused."""
        until = self._blocked.get(key)
        if until is None:
            return
        if time.time() < until:
            self.refused += 1
            raise TooManyFailures(f"Too many failed {self._name}: wait a minute, and find out why they fail")
        self._blocked.pop(key, None)

    def failed(self, key: tuple[str, str]) -> None:
        """Counts a failure."""
        self._limiter.hit(self._item, *key)
        stats = self._limiter.get_window_stats(self._item, *key)
        if stats.remaining == 0:
            self._blocked[key] = stats.reset_time
            if len(self._blocked) > _MANY:
                self._forget_ended()

    def _forget_ended(self) -> None:
        now = time.time()
        for key, until in self._blocked.copy().items():
            if until <= now:
                self._blocked.pop(key, None)
