"""J: VerifyHmac on PostgreSQL beside SQLite, where the epoch is a file's page: what asking a server for it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.postgres import running_postgres

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Steps, pairwise
from bench.known_keys import make_key
from bench.load import Burst, Question, Target, check, h2load
from bench.questions import message_for
from bench.servers import keysvc

SECTION = "J"
IN_FLIGHT = (64, 1)
GOAL_IN_FLIGHT = 64
GOAL = Goal(0.85, at_least=True)
_MERCHANT = "databases"
_WARM_UP = 0.5
_SQLITE, _POSTGRESQL = "on SQLite", "on PostgreSQL"

Asked = dict[str, tuple[Target, Question]]
Measured = dict[tuple[int, str], list[Burst]]


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    with _asked(home, cores) as asked:
        measured = _measure(asked, plan, steps)
    return [row for in_flight in IN_FLIGHT for row in _rows(measured, in_flight)]


@contextmanager
def _asked(home: Path, cores: Cores) -> Iterator[Asked]:
    """Each has a token of its own, with one merchant. PostgreSQL stays on the load's core, as on another machine."""
    with (
        running_postgres() as postgres,
        keysvc(home.with_name("on-sqlite"), cores) as near,
        keysvc(home.with_name("on-postgresql"), cores, KEYSVC_DATABASE_URL=postgres.new_database()) as far,
    ):
        body = message_for(_MERCHANT)
        targets = {_SQLITE: near, _POSTGRESQL: far}
        yield {name: (target, make_key(target, _MERCHANT).verification(body)) for name, target in targets.items()}


def _measure(asked: Asked, plan: Plan, steps: Steps) -> Measured:
    measured: Measured = {(in_flight, name): [] for in_flight in IN_FLIGHT for name in asked}
    rounds, seconds = plan.rounds * plan.finer, plan.seconds / plan.finer
    done = steps.begin("J: VerifyHmac on both databases", (plan.warm_ups + rounds) * len(measured))
    for name in asked:
        check(*asked[name])
    for in_flight, name in list(measured) * plan.warm_ups:
        h2load(*asked[name], in_flight, min(_WARM_UP, seconds))
        done(1)
    for number in range(rounds):
        for in_flight, name in sorted(measured, reverse=number % 2 == 1):
            measured[in_flight, name].append(h2load(*asked[name], in_flight, seconds))
            done(1)
        for name in asked:
            check(*asked[name])
    return measured


def _rows(measured: Measured, in_flight: int) -> list[Row]:
    near, far = (measured[in_flight, name] for name in (_SQLITE, _POSTGRESQL))
    what = f"VerifyHmac, {in_flight} in flight"
    goal = GOAL if in_flight == GOAL_IN_FLIGHT else None
    beside = "SQLite's"

    def rates(bursts: list[Burst]) -> list[float]:
        return [burst.calls_per_second for burst in bursts]

    def cpu(bursts: list[Burst]) -> list[float]:
        return [burst.cpu_per_call * 1e6 for burst in bursts]

    def row(name: str, figures: Callable[[list[Burst]], list[float]], unit: str, goal: Goal | None = None) -> Row:
        told = f"{what}, {name}" + ("" if figures is rates else ": server's processor time")
        bursts, against = measured[in_flight, name], None if name == _SQLITE else pairwise(figures(far), figures(near))
        return Row(SECTION, told, sum(burst.calls for burst in bursts), figures(bursts), unit, against, beside, goal)

    return [
        row(_SQLITE, rates, "calls/s"),
        row(_POSTGRESQL, rates, "calls/s", goal),
        row(_SQLITE, cpu, "µs/call"),
        row(_POSTGRESQL, cpu, "µs/call"),
    ]
