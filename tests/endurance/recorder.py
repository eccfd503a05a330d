"""What threads share that call at once, and what each writes down of its own calls."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from typing import Any, Protocol

import grpc
from support.server import Refusal

from endurance.history import Event, Refused
from endurance.keys import Key
from endurance.spans import Span

REMEMBERED = 12
"""The newest keys of a slot that threads present: the current one, retiring ones, and some that ended."""
_DRIFT = 50_000_000
"""Nanoseconds that the clock may run apart from the monotonic one while a history is recorded."""


class Board:
    """The keys that answers have told, for every thread to present. Thread-safe."""

    def __init__(self, credentials: list[str]) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, deque[Key]] = {name: deque(maxlen=REMEMBERED) for name in credentials}

    def add(self, key: Key) -> None:
        with self._lock:
            self._keys[key.credential].append(key)

    def any_key(self, credential: str, rng: random.Random) -> Key | None:
        """One told earlier, the newer the likelier, by the slot that it was made in."""
        with self._lock:
            known = list(self._keys[credential])
        return known[-1 - min(int(rng.expovariate(0.6)), len(known) - 1)] if known else None

    def newest(self, credential: str, count: int) -> list[Key]:
        with self._lock:
            return list(self._keys[credential])[-count:]


class SteadyClock:
    """Watches that the clock is not set while a history is recorded."""

    def __init__(self) -> None:
        self._apart = time.time_ns() - time.monotonic_ns()

    def was_set(self) -> bool:
        """Whether it was, since this was made. The history then says nothing."""
        return abs(time.time_ns() - time.monotonic_ns() - self._apart) > _DRIFT


class Calls(Protocol):
    """A client, of one server or of several that stand for each other."""

    def call(self, method: str, request: Any) -> Any: ...


class Recorder:
    """Calls, and writes down when and what was refused. Of one thread."""

    def __init__(self, client: Calls) -> None:
        self._client = client
        self.events: list[Event] = []

    def call(
        self, method: str, request: Any, *, name: str, slot: str, recorded_as: str = "", version: int = 0
    ) -> tuple[Span, Any]:
        """None, and a record of the refusal, where the call was refused."""
        begin = time.time_ns()
        try:
            answer = self._client.call(method, request)
        except grpc.RpcError as error:
            span, refusal = Span(begin, time.time_ns()), Refusal(error)
            reason = refusal.reason or refusal.code.name
            self.events.append(Refused(span, name, slot, recorded_as or method, reason, version, request))
            return span, None
        return Span(begin, time.time_ns()), answer
