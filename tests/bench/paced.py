"""Calls that come at a rate, at random moments, whether or not earlier ones have been answered.

So it is in production: a server that is slow for a moment finds the calls of that moment waiting. Times are
from when a call was due, so that what waits for a connection counts.
"""

from __future__ import annotations

import gc
import random
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from bench.cores import cpu_seconds
from bench.load import Burst, Post, Times, WrongAnswer
from bench.wires import Http1, Http2, Wire

_LATE_SECONDS = 20.0
"""A server that takes longer for a call, or for those that are left at the end, does not stand the rate."""


def paced(what: Post, rate: float, seconds: float, seed: int) -> Burst:
    """So many calls a second on average, with exponential gaps (a Poisson process). Raises WrongAnswer.

    Of one seed, the gaps are the same but for the rate. Spins on its core: a sleep would end late.
    """
    calls = max(1, round(rate * seconds))
    rng = random.Random(seed)
    gaps = [rng.expovariate(rate) for _ in range(calls)]
    with _wires(what) as wires, _no_collection():
        for wire in wires:
            _run([wire], [0.0])  # so that the first call of a connection is not counted
        before = cpu_seconds(*what.pids)
        taken, elapsed = _run(wires, gaps)
        used = cpu_seconds(*what.pids) - before
    return Burst(calls, calls / elapsed, used / calls, Times.of(taken))


def _run(wires: Sequence[Wire], gaps: Sequence[float]) -> tuple[list[float], float]:
    """Seconds that each call took, in the order of their answers; and from the start until the last of them."""
    by_number = {wire.fileno(): wire for wire in wires}
    due: list[float] = []
    taken: list[float] = []
    with closing(select.epoll()) as poll:
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        begin = next_due = time.perf_counter()
        next_due += gaps[0]
        while len(taken) < len(gaps):
            now = time.perf_counter()
            if len(due) < len(gaps) and next_due <= now and (wire := _free(wires)):
                due.append(next_due)
                wire.send(len(due) - 1)
                next_due += gaps[len(due)] if len(due) < len(gaps) else 0.0
            for number, _ in poll.poll(0):
                answered = list(by_number[number].answered())
                now = time.perf_counter()
                taken += [now - due[call] for call in answered]
            if now > next_due + _LATE_SECONDS:
                raise WrongAnswer(f"{len(gaps) - len(taken)} calls of {len(gaps)} were not answered at this rate")
    return taken, time.perf_counter() - begin


def _free(wires: Sequence[Wire]) -> Wire | None:
    return next((wire for wire in wires if wire.free), None)


@contextmanager
def _wires(what: Post) -> Iterator[list[Wire]]:
    kind = Http2 if what.streams else Http1
    with ExitStack() as stack:
        yield [stack.enter_context(closing(kind(what))) for _ in range(what.connections)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """A collection of garbage would be counted as the server's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
