"""A lock that is had in the order in which it was asked for, so that nobody waits for ever among many who come again.

Python's own lock goes to whoever takes it first, which is often the thread that has just let go of it.
"""

from __future__ import annotations

import threading
from collections import deque


class FairLock:
    """Thread-safe. As threading.Lock, of which it has what is needed here."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        """Held for moments only."""
        self._held = False
        self._waiting: deque[threading.Lock] = deque()
        """One for each who waits, locked until it is their turn."""

    def acquire(self, timeout: float) -> bool:
        """False where it is not had within so many seconds."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._guard:
            if turn not in self._waiting:
                return True  # it was handed over at the last moment
            self._waiting.remove(turn)
        return False

    def release(self) -> None:
        """Hands it to who has waited longest, if anybody does."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False

    def locked(self) -> bool:
        return self._held
