"""What goes wrong while calls are made: connections cut, the database or a replica stopped, the token away."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from support.replicas import Replica
from support.waiting import until

from endurance.spans import Span
from endurance.trio import OTHERS, Trio

RESTART_SECONDS = 60.0
CALM = 1.0
"""Seconds between two."""


@dataclass(frozen=True)
class Lengths:
    """Seconds that the database and a replica are stopped, and the token is away, at most."""

    database: float
    token: float
    replica: float


@dataclass
class Faults:
    """Does one after another, and keeps when."""

    trio: Trio
    rng: random.Random
    lengths: Lengths
    spans: list[Span] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def each_once(self) -> None:
        for fault in self._all():
            time.sleep(CALM)
            self._do(fault)
        time.sleep(CALM)

    def until(self, end: float) -> None:
        """At random, until a time of `time.monotonic`."""
        while time.monotonic() < end:
            time.sleep(self.rng.uniform(0, 3 * CALM))
            self._do(self.rng.choice(self._all()))
        time.sleep(CALM)

    def touch(self, span: Span, recovery: float) -> bool:
        """Whether one of them, or the seconds after it, fell into this span."""
        return any(span.touches(Span(fault.begin, fault.end + recovery * 1e9)) for fault in self.spans)

    def _all(self) -> list[Callable[[], None]]:
        return [
            self._cut_connections, self._stop_replica, self._take_token_away, self._kill_replica, self._stop_database
        ]  # fmt: skip

    def _do(self, fault: Callable[[], None]) -> None:
        begin = time.time_ns()
        fault()
        self.spans.append(Span(begin, time.time_ns()))
        self.done[fault.__name__.lstrip("_").replace("_", " ")] += 1

    def _cut_connections(self) -> None:
        self.trio.database.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}")

    def _stop_database(self) -> None:
        self.trio.postgres.stop()
        try:
            time.sleep(self.rng.uniform(0, self.lengths.database))
        finally:
            self.trio.postgres.start()

    def _take_token_away(self) -> None:
        tokens = self.trio.home / "tokens"
        away = tokens.rename(tokens.with_name("tokens.away"))
        try:
            time.sleep(self.rng.uniform(0, self.lengths.token))
        finally:
            away.rename(tokens)

    def _stop_replica(self) -> None:
        pid = self._any().pid
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self.rng.uniform(self.lengths.replica / 2, self.lengths.replica))
        finally:
            os.kill(pid, signal.SIGCONT)

    def _kill_replica(self) -> None:
        replica = self._any()
        replica.kill()
        until(lambda: _started(replica), RESTART_SECONDS)

    def _any(self) -> Replica:
        return self.rng.choice(self.trio.replicas)


def _started(replica: Replica) -> bool:
    """As an orchestrator does: again where it ended. SoftHSM finds no token while another process logs in to it."""
    try:
        replica.start()
    except RuntimeError:
        return False
    return True
