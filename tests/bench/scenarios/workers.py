"""H: two workers on two cores beside one worker on one core; and how a port's connections are spread over workers.

On a machine of two cores the load takes its part of them. So beside the calls that were answered stands the
capacity: what so many cores would answer if the workers had them for themselves, by their processor time a call.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

from bench.cores import Cores, cpu_seconds, on_cores
from bench.figures import Goal, Plan, Row, Series, Steps, pairwise
from bench.load import Burst, Question, Target, check, h2load
from bench.questions import read_questions
from bench.servers import workers

SECTION = "H"
IN_FLIGHT = 64
CONNECTIONS = 16
"""Four calls on each: enough that neither worker is left without."""
SPREAD = (1, 2, 4, 16, 64)
GOAL = Goal(1.7, at_least=True)
_WARM_UP = 0.5
_ONE, _TWO = "one worker on one core", "two workers on two cores"
_WORKERS = {_ONE: 1, _TWO: 2}


@dataclass(frozen=True, slots=True)
class Round:
    """A burst on one of the two."""

    burst: Burst
    load_per_call: float
    """Seconds of the load generator's processor time."""
    busiest: float
    """The share of the busiest worker in the processor time of all."""


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    """All are on one database with one token, and called in turns, never at once."""
    question = read_questions(home)[0]
    both = (cores.server, cores.load)
    with workers(home, 1, cores.server) as one, workers(home, 2, *both) as two:
        targets = {_ONE: one, _TWO: two}
        measured = _measure(targets, question, both, plan, steps)
        spread = _spread(two, question, both, plan, steps)
    return [*_rows(measured), *spread]


def _measure(
    targets: dict[str, Target], question: Question, both: tuple[int, int], plan: Plan, steps: Steps
) -> dict[str, list[Round]]:
    measured: dict[str, list[Round]] = {name: [] for name in targets}
    rounds, seconds = plan.rounds * plan.finer, plan.seconds / plan.finer
    done = steps.begin("H: one worker and two", (plan.warm_ups + rounds) * len(targets))
    # The load of two workers goes where they leave room; that of one stays off its core.
    places = {_ONE: both[1:], _TWO: both}
    for name in list(targets) * plan.warm_ups:
        _round(targets[name], question, places[name], min(_WARM_UP, seconds), CONNECTIONS)
        done(1)
    for number in range(rounds):
        for name in sorted(targets, reverse=number % 2 == 1):
            measured[name].append(_round(targets[name], question, places[name], seconds, CONNECTIONS))
            done(1)
        for target in targets.values():
            check(target, question)
    return measured


def _spread(two: Target, question: Question, both: tuple[int, int], plan: Plan, steps: Steps) -> list[Row]:
    """Each burst has new connections: the kernel chooses their worker by their addresses and ports."""
    done = steps.begin("H: connections over two workers", plan.rounds * len(SPREAD))
    rows = []
    for connections in SPREAD:
        rounds = []
        for _ in range(plan.rounds):
            rounds.append(_round(two, question, both, plan.seconds / plan.finer, connections))
            done(1)
        what = f"The busier worker's share of the processor time, connections: {connections}"
        rows.append(Row(SECTION, what, _calls(rounds), [100 * each.busiest for each in rounds], "%"))
    return rows


def _round(target: Target, question: Question, load_on: tuple[int, ...], seconds: float, connections: int) -> Round:
    before = [cpu_seconds(pid) for pid in target.pids]
    load_before = _children_seconds()
    with on_cores(*load_on):
        burst = h2load(target, question, IN_FLIGHT, seconds, connections)
    load = _children_seconds() - load_before
    used = [cpu_seconds(pid) - earlier for pid, earlier in zip(target.pids, before, strict=True)]
    return Round(burst, load / burst.calls, max(used) / sum(used))


def _children_seconds() -> float:
    """Of those that have ended and were waited for: the load generator, and no server."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _rows(measured: dict[str, list[Round]]) -> list[Row]:
    rates = {name: [each.burst.calls_per_second for each in rounds] for name, rounds in measured.items()}
    cpu = {name: [each.burst.cpu_per_call * 1e6 for each in rounds] for name, rounds in measured.items()}
    load = {name: [each.load_per_call * 1e6 for each in rounds] for name, rounds in measured.items()}
    capacity = {name: [_WORKERS[name] * 1e6 / each for each in series] for name, series in cpu.items()}
    answered = "VerifyHmac, {}"

    def rows(what: str, figures: dict[str, Series], unit: str, goal: Goal | None = None) -> list[Row]:
        one, two = figures[_ONE], figures[_TWO]
        return [
            Row(SECTION, what.format(_ONE), _calls(measured[_ONE]), one, unit),
            Row(SECTION, what.format(_TWO), _calls(measured[_TWO]), two, unit, pairwise(two, one), "one's", goal),
        ]

    return [
        *rows(answered, rates, "calls/s", GOAL),
        *rows(f"{answered}: servers' processor time", cpu, "µs/call"),
        *rows(f"{answered}: the load's processor time", load, "µs/call"),
        *rows(f"{answered}: capacity", capacity, "calls/s", GOAL),
    ]


def _calls(rounds: list[Round]) -> int:
    return sum(each.burst.calls for each in rounds)
