"""D: what the rights, the audit record, the limits, the log of calls and the metrics cost a VerifyHmac."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc

from bench.commits import checked_out
from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Steps, pairwise
from bench.load import Burst, Question, Target, check, h2load
from bench.populate import copied, populate
from bench.questions import read_merchants, read_questions
from bench.servers import keysvc
from keysvc.model.names import merchant_name
from keysvc.v1 import principal_service_pb2 as pb
from keysvc.v1.principal_pb2 import Principal
from keysvc.v1.principal_service_pb2_grpc import PrincipalServiceStub

SECTION = "D"
IN_FLIGHT = (64, 1)
MERCHANTS = 10
GOAL_CPU = Goal(1.15, at_least=False)
GOAL_RATE = Goal(0.87, at_least=True)
"""15% more time for each call."""
_BEFORE, _ADMIN, _SERVICE, _QUIET = (
    "before, as ADMIN",
    "after, as ADMIN",
    "after, as SERVICE that lists its merchants",
    "after, as ADMIN, without the log of calls and metrics",
)
_WARM_UP = 0.5

Measured = dict[tuple[int, str], list[Burst]]


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    """Both have homes and tokens of their own, with the same merchants, each made by its own code."""
    old = checked_out(plan.before, home.with_name("tree-before"))
    before, after = home.with_name("before"), home.with_name("after")
    populate(before, plan.few_numbers, cores, steps.begin("D: making merchants", plan.few), old)
    copied(home, after)
    with ExitStack() as stack:
        earlier = stack.enter_context(keysvc(before, cores, old))
        quiet = stack.enter_context(keysvc(after, cores, KEYSVC_LOG_CALLS="false"))
        # Two servers on one database: the quiet one is called in turns with the others, never with them.
        now = stack.enter_context(keysvc(after, cores, KEYSVC_METRICS_LISTEN="127.0.0.1:0"))
        question = read_questions(after)[0]
        targets = {
            _BEFORE: (earlier, read_questions(before)[0]),
            _ADMIN: (now, question),
            _SERVICE: (_as_service(now, list(read_merchants(after))[:MERCHANTS]), question),
            _QUIET: (quiet, question),
        }
        measured = _measure(targets, plan, steps)
    return [row for in_flight in IN_FLIGHT for row in _rows(measured, in_flight)]


def _as_service(target: Target, merchants: list[str]) -> Target:
    """A SERVICE that lists these merchants."""
    principal = Principal(kind=Principal.SERVICE, merchants=[merchant_name(merchant) for merchant in merchants])
    request = pb.CreatePrincipalRequest(principal_id="checkout", principal=principal)
    with grpc.insecure_channel(target.address) as channel:
        stub = PrincipalServiceStub(channel)  # type: ignore[no-untyped-call]
        password = stub.CreatePrincipal(request, metadata=target.metadata).password
    encoded = base64.b64encode(f"checkout:{password}".encode()).decode()
    return replace(target, authorization=f"Basic {encoded}")


def _measure(targets: dict[str, tuple[Target, Question]], plan: Plan, steps: Steps) -> Measured:
    measured: Measured = {(in_flight, name): [] for in_flight in IN_FLIGHT for name in targets}
    rounds, seconds = plan.rounds * plan.finer, plan.seconds / plan.finer
    done = steps.begin("D: VerifyHmac before and after", (plan.warm_ups + rounds) * len(measured))
    for target, question in targets.values():
        check(target, question)
    for in_flight, name in list(measured) * plan.warm_ups:
        h2load(*targets[name], in_flight, min(_WARM_UP, seconds))
        done(1)
    for number in range(rounds):
        for in_flight, name in sorted(measured, reverse=number % 2 == 1):
            measured[in_flight, name].append(h2load(*targets[name], in_flight, seconds))
            done(1)
        for target, question in targets.values():
            check(target, question)
    return measured


def _rows(measured: Measured, in_flight: int) -> list[Row]:
    before = measured[in_flight, _BEFORE]
    rows = []
    for name in (_BEFORE, _ADMIN, _SERVICE, _QUIET):
        bursts = measured[in_flight, name]
        calls = sum(burst.calls for burst in bursts)
        what = f"VerifyHmac, {in_flight} in flight, {name}"
        rates, old_rates = ([burst.calls_per_second for burst in side] for side in (bursts, before))
        cpu, old_cpu = ([burst.cpu_per_call * 1e6 for burst in side] for side in (bursts, before))
        if name == _BEFORE:
            rows += [
                Row(SECTION, what, calls, rates, "calls/s"),
                Row(SECTION, f"{what}: server's processor time", calls, cpu, "µs/call"),
            ]
        else:
            goals = (GOAL_RATE, GOAL_CPU) if name != _QUIET else (None, None)
            rows += [
                Row(SECTION, what, calls, rates, "calls/s", pairwise(rates, old_rates), "before's", goals[0]),
                Row(SECTION, f"{what}: server's processor time", calls, cpu, "µs/call",
                    pairwise(cpu, old_cpu), "before's", goals[1]),
            ]  # fmt: skip
    return rows
