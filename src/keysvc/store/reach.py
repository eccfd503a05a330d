"""Whether the database is within reach: once it left a call without an answer, no other call waits for one.

One thread looks for it then, and the calls are told at once. Without this, each of those that came
meanwhile would wait for as long, and those behind them for a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keysvc.model.errors import StoreUnavailable
from keysvc.store.engine import StoreSilent, errors_told_apart

LOOK_SECONDS = 0.25
_OUT_OF_REACH = "The database does not answer: try again"


class Reach:
    """Thread-safe."""

    def __init__(self, ask: Callable[[], object]) -> None:
        """`ask` returns once the database has answered it; it may block for a while, and may raise anything."""
        self._ask = ask
        self._lock = threading.Lock()
        self._trouble: str | None = None
        self._closed = threading.Event()

    def require(self) -> None:
        """Raises StoreUnavailable while the database is looked for, and for good once it is refused."""
        if self._trouble is not None:
            raise StoreUnavailable(self._trouble)

    @contextmanager
    def visit(self) -> Iterator[None]:
        """For whatever asks the database. Raises StoreUnavailable, at once where it is looked for."""
        self.require()
        try:
            with errors_told_apart():
                yield
        except StoreSilent:
            self.lost()
            raise

    def lost(self) -> None:
        """It left somebody without an answer."""
        with self._lock:
            if self._trouble is not None or self._closed.is_set():
                return
            self._trouble = _OUT_OF_REACH
        threading.Thread(target=self._look, name="keysvc-store", daemon=True).start()

    def refuse(self, trouble: str) -> None:
        """It answers, and must not be used as long as this process lives."""
        with self._lock:
            self._trouble = trouble

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        while not self._answers():
            if self._closed.wait(LOOK_SECONDS):
                return
        with self._lock:
            if self._trouble == _OUT_OF_REACH:
                self._trouble = None

    def _answers(self) -> bool:
        try:
            self._ask()
        except Exception:  # noqa: BLE001  # whatever it is: calls are refused for as long, and told why
            return False
        return True
