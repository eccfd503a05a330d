"""B: VerifyHmac where the database holds many merchants, against few. The same merchants are called in both."""

from __future__ import annotations

import random
from pathlib import Path

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Steps, pairwise
from bench.load import Burst, Question, Target, call_each, call_for
from bench.populate import copied, populate
from bench.questions import read_questions
from bench.servers import keysvc

SECTION = "B"
IN_FLIGHT = 16
GOAL_RATE = Goal(0.9, at_least=True)
GOAL_CPU = Goal(1.1, at_least=False)
_SEED = 1
_WARM, _COLD = "VerifyHmac of the same {working_set} merchants", "VerifyHmac of merchants not yet remembered"

Measured = dict[tuple[str, int], list[Burst]]


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    """`home` has the few merchants: every so-manieth of the many, spread over their table."""
    everyone = read_questions(home)
    homes = {plan.few: home, plan.many: copied(home, home.with_name("many"))}
    populate(homes[plan.many], range(plan.many), cores, steps.begin(f"B: making {plan.many:,} merchants", plan.many))
    measured: Measured = {(kind, size): [] for kind in (_COLD, _WARM) for size in homes}
    done = steps.begin("B: VerifyHmac among many merchants", plan.rounds * len(homes))
    for number in range(plan.rounds):
        for size in sorted(homes, reverse=number % 2 == 1):
            # A server of its own each time: it remembers nothing at first.
            with keysvc(homes[size], cores) as target:
                cold, warm = _measure(target, everyone, plan)
            measured[_COLD, size].append(cold)
            measured[_WARM, size].append(warm)
            done(1)
    return [*_rows(measured, plan, _WARM, goals=True), *_rows(measured, plan, _COLD, goals=False)]


def _measure(target: Target, everyone: list[Question], plan: Plan) -> tuple[Burst, Burst]:
    order = everyone.copy()
    random.Random(_SEED).shuffle(order)
    first, rest = order[:1], order[1:]
    call_each(target, first, 1)  # so that the caller's own header is known
    cold = call_each(target, rest, IN_FLIGHT)
    working_set = everyone[:: len(everyone) // plan.working_set]
    call_each(target, working_set, IN_FLIGHT)
    return cold, call_for(target, working_set, IN_FLIGHT, plan.seconds)


def _rows(measured: Measured, plan: Plan, kind: str, *, goals: bool) -> list[Row]:
    few, many = measured[kind, plan.few], measured[kind, plan.many]
    what = kind.format(working_set=plan.working_set)
    rates = {size: [burst.calls_per_second for burst in measured[kind, size]] for size in (plan.few, plan.many)}
    cpu = {size: [burst.cpu_per_call * 1e6 for burst in measured[kind, size]] for size in (plan.few, plan.many)}
    beside = f"{plan.few:,}'s"
    return [
        Row(SECTION, f"{what}, of {plan.few:,}", _calls(few), rates[plan.few], "calls/s"),
        Row(SECTION, f"{what}, of {plan.many:,}", _calls(many), rates[plan.many], "calls/s",
            pairwise(rates[plan.many], rates[plan.few]), beside, GOAL_RATE if goals else None),
        Row(SECTION, f"{what}, of {plan.few:,}: server's processor time", _calls(few), cpu[plan.few], "µs/call"),
        Row(SECTION, f"{what}, of {plan.many:,}: server's processor time", _calls(many), cpu[plan.many], "µs/call",
            pairwise(cpu[plan.many], cpu[plan.few]), beside, GOAL_CPU if goals else None),
    ]  # fmt: skip


def _calls(bursts: list[Burst]) -> int:
    return sum(burst.calls for burst in bursts)
