"""A: keysvc beside OpenBao and a bare gRPC server, by calls in flight and verifications a call; and at half load."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench.cores import Cores, resident_mib
from bench.figures import Goal, Loaded, Paced, Plan, Series, Steps, pairwise
from bench.load import Burst, post
from bench.paced import paced
from bench.sides import AUDITED, ECHO, IN_FLIGHT, IN_MEMORY, KEYSVC, Asked, Cell, all_asked

SECTION = "A"
COMPARED = (AUDITED, IN_MEMORY, ECHO)
"""What ratios are to."""
PACED = (KEYSVC, *COMPARED)
GOALS = {
    Cell(KEYSVC, 1, 1): {ECHO: Goal(0.75, at_least=True)},
    Cell(KEYSVC, 1, 64): {AUDITED: Goal(1.5, at_least=True), ECHO: Goal(0.85, at_least=True)},
    Cell(KEYSVC, 100, 16): {IN_MEMORY: Goal(1.5, at_least=True)},
    Cell(KEYSVC, 100, 64): {IN_MEMORY: Goal(1.5, at_least=True)},
}
"""By what the ratio is to."""
GOAL_P99 = Goal(0.5, at_least=False)
_HALF, _SAME = "half of its own most", "half of the slowest's most"
_CYCLES = 2
"""Calls that each place in flight has at least in a round of batches."""
_TURNS, _OF_A_TURN = 3, 0.5
"""Turns of servers that are compared, in a round, and of its seconds: they meet the same moments of the machine."""
_PACED_TURNS = 4
"""How often each server is asked at half load in a round: one moment in which the machine stands still is a p99."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """A burst, and the server's memory after it."""

    burst: Burst
    memory: float


Turns = dict[Cell, list[Turn]]
Halves = dict[tuple[str, str], list[Burst]]
"""By pace and server."""


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Loaded | Paced]:
    with all_asked(home, cores) as asked:
        turns, halves = _measure(asked, plan, steps)
    return [*(_line(cell, turns) for cell in turns), *_paced_lines(halves)]


def _measure(asked: dict[Cell, Asked], plan: Plan, steps: Steps) -> tuple[Turns, Halves]:
    turns: Turns = {cell: [] for cell in asked}
    halves: Halves = {(pace, server): [] for pace in (_HALF, _SAME) for server in PACED}
    done = steps.begin(
        "A: beside OpenBao and a bare server",
        len(asked) + plan.headline * (_TURNS * len(asked) + _PACED_TURNS * len(halves)),
    )
    rates = {}
    for cell, side in asked.items():
        side.check()
        # A warm-up, and how many calls of a batch a round takes.
        rates[cell] = _burst(cell, side, plan.seconds / 2, None).calls_per_second
        done(1)
    for number in range(plan.headline):
        for cell in _in_turns(asked, number):
            burst = _burst(cell, asked[cell], plan.seconds * _OF_A_TURN, rates[cell])
            turns[cell].append(Turn(burst, resident_mib(*asked[cell].post.pids)))
            done(1)
        most = {server: max(_latest_rates(turns, server)) for server in PACED}
        for key, burst in _at_half_load(asked, most, plan.seconds, number):
            halves[key].append(burst)
            done(1)
        for side in asked.values():
            side.check()
    return turns, halves


def _in_turns(cells: Iterable[Cell], number: int) -> Iterator[Cell]:
    """Those of a round, one turn after another of what is compared with each other."""
    alike: dict[tuple[int, int], list[Cell]] = {}
    for cell in cells:
        alike.setdefault((cell.items, cell.in_flight), []).append(cell)
    for group in _ordered(alike.values(), number):
        for turn in range(number * _TURNS, (number + 1) * _TURNS):
            yield from _ordered(group, turn)


def _at_half_load(
    asked: dict[Cell, Asked], most: dict[str, float], seconds: float, number: int
) -> Iterator[tuple[tuple[str, str], Burst]]:
    """By pace and server, in turns; `most` are the servers' rates in this round."""
    for turn in range(number * _PACED_TURNS, (number + 1) * _PACED_TURNS):
        for pace, server in _ordered(itertools.product((_HALF, _SAME), PACED), turn):
            rate = most[server] / 2 if pace == _HALF else min(most.values()) / 2
            sent = asked[Cell(server, 1, max(IN_FLIGHT))].post
            yield (pace, server), paced(sent, rate, seconds, seed=turn)


def _ordered(what: Iterable[T], number: int) -> list[T]:
    """Every other round runs the other way, so that nothing always comes after the same."""
    return list(what)[:: -1 if number % 2 else 1]


def _burst(cell: Cell, side: Asked, seconds: float, rate: float | None) -> Burst:
    """Batches by their number, not by time: the calls that time cuts off would be a large part of a round."""
    if cell.items == 1:
        return post(side.post, seconds)
    at_least = _CYCLES if rate else 1
    each = max(at_least, round((rate or 0) * seconds / cell.in_flight))
    return post(side.post, seconds, each * cell.in_flight)


def _latest_rates(turns: Turns, server: str) -> Iterator[float]:
    for in_flight in IN_FLIGHT:
        latest = turns[Cell(server, 1, in_flight)][-_TURNS:]
        yield median(turn.burst.calls_per_second for turn in latest)


def _line(cell: Cell, turns: Turns) -> Loaded:
    bursts = [each.burst for each in turns[cell]]
    p50, p99 = _times(bursts)
    rates = _rates(cell, turns)
    others = {of: replace(cell, server=of) for of in COMPARED if of != cell.server}
    return Loaded(
        SECTION, cell.server, cell.items, cell.in_flight, sum(burst.calls for burst in bursts), rates, p50, p99,
        cpu=[burst.cpu_per_call / cell.items * 1e6 for burst in bursts],
        memory=[each.memory for each in turns[cell]],
        ratios={of: pairwise(rates, _rates(other, turns)) for of, other in others.items()},
        goals=GOALS.get(cell, {}),
    )  # fmt: skip


def _rates(cell: Cell, turns: Turns) -> Series:
    """In verifications: a call holds many."""
    return [each.burst.calls_per_second * cell.items for each in turns[cell]]


def _paced_lines(halves: Halves) -> Iterator[Paced]:
    times = {key: _times(bursts) for key, bursts in halves.items()}
    for (pace, server), bursts in halves.items():
        p50, p99 = times[pace, server]
        ratios = {of: pairwise(p99, times[pace, of][1]) for of in COMPARED if of != server}
        goals = {AUDITED: GOAL_P99} if (pace, server) == (_HALF, KEYSVC) else {}
        calls, rates = sum(burst.calls for burst in bursts), [burst.calls_per_second for burst in bursts]
        yield Paced(SECTION, server, pace, calls, rates, p50, p99, ratios, goals)


def _times(bursts: list[Burst]) -> tuple[Series, Series]:
    """The p50 and the p99 of each, in microseconds."""
    times = [burst.times for burst in bursts if burst.times]
    return [each.p50 * 1e6 for each in times], [each.p99 * 1e6 for each in times]
