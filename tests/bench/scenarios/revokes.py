"""I: from a revoke on one of three replicas until all of them have refused its key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.postgres import running_postgres
from support.replicas import Replica
from support.server import Client

from bench.cores import Cores, on_cores
from bench.figures import Goal, Plan, Row, Steps
from bench.revocations import Revoked, until_refused_everywhere
from bench.servers import THIS_TREE

SECTION = "I"
REPLICAS = ("a", "b", "c")
GOAL = Goal(20_000, at_least=False, unit="µs")
_MERCHANT = "revoked"


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    # Replicas, database and callers share all cores: none of them is idle while it matters.
    with on_cores(cores.server, cores.load), _replicas(home.with_name("replicas")) as clients:
        merchant = clients[0].active_merchant(_MERCHANT)
        done = steps.begin("I: revokes on three replicas", plan.warm_ups + plan.rounds)
        rounds = []
        for _ in range(plan.warm_ups + plan.rounds):
            rounds.append(until_refused_everywhere(clients, merchant, plan.creates))
            done(1)
    return _rows(rounds[plan.warm_ups :])


@contextmanager
def _replicas(home: Path) -> Iterator[list[Client]]:
    """A client of each."""
    with running_postgres() as postgres, ExitStack() as stack:
        url, clients = postgres.new_database(), []
        for name in REPLICAS:
            replica = Replica(home, name, url, PYTHONPATH=THIS_TREE.path)
            stack.callback(replica.kill)
            clients.append(stack.enter_context(replica.start().client()))
        yield clients


def _rows(rounds: Sequence[Sequence[Revoked]]) -> list[Row]:
    """A round's median, and what 99 of 100 of its revokes stay within."""
    calls = sum(map(len, rounds))
    rows = []
    for since, kind in (("its call", "since_call"), ("its answer", "since_answer")):
        ordered = [sorted(1e6 * getattr(each, kind) for each in revokes) for revokes in rounds]
        what = f"A revoke, from {since} until {len(REPLICAS)} replicas have refused the key"
        medians = [taken[len(taken) // 2] for taken in ordered]
        most = [taken[(len(taken) * 99 - 1) // 100] for taken in ordered]
        rows += [
            Row(SECTION, what, calls, medians, "µs", goal=GOAL),
            Row(SECTION, f"{what}: 99 of 100", calls, most, "µs"),
        ]
    return rows
