"""K: a million merchants with five filled slots each, against a thousand, both on PostgreSQL with servers of their own.

What both are asked, they are asked in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from support.methods import message_of, path_of
from support.postgres import running_postgres

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Series, Steps, pairwise
from bench.fleets import Fleet, Headers, basic, few_and_many
from bench.load import Burst, Question, Target, call_each, call_for
from bench.multiply import A_PSP, DATED
from bench.one_worker import rows_of_memory, rows_of_starts
from bench.questions import merchant_id
from keysvc.model.fleet import DueSlot
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.paging import encode_page_token
from keysvc.model.slots import Slot

SECTION = "K"
IN_FLIGHT = 16
GOAL_RATE, GOAL_CPU = Goal(0.9, at_least=True), Goal(1.1, at_least=False)
_RENEW = "RenewCredential"
_CALL_SECONDS = 20.0
_WARM, _RATE, _CPU = "VerifyHmac of the same {} merchants", "calls/s", "µs/call"

Figures = dict[str, dict[int, Series]]
"""By what was measured, and how many merchants there were: a figure each round."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question whose time is compared. Each of a round asks with a number of its own."""

    what: str
    method: str
    fields: Callable[[int], dict[str, Any]]
    times: int
    """In a round."""
    headers: Headers | None = None
    """Where it is not the administrator who asks."""
    goal: Goal | None = None


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    with running_postgres() as postgres:
        few, many = few_and_many(home, plan, cores, steps, postgres)
        figures, calls = _compared(few, many, plan, cores, steps)
        starts = rows_of_starts(SECTION, many, plan, cores, steps)
        memory = rows_of_memory(SECTION, many, plan, cores, steps)
    return [*_rows(figures, calls, plan), *starts, *memory]


def _compared(few: Fleet, many: Fleet, plan: Plan, cores: Cores, steps: Steps) -> tuple[Figures, dict[str, int]]:
    """Of what both are asked: the figures, and how many calls each is of."""
    asks = _asks(few.numbers, plan)
    figures: Figures = {what: {plan.few: [], plan.most: []} for what in (_RATE, _CPU, *(ask.what for ask in asks))}
    calls = {ask.what: plan.rounds * ask.times for ask in asks} | {_RATE: 0, _CPU: 0}
    done = steps.begin("K: the same calls among few and many merchants", plan.rounds * 3)
    with ExitStack() as stack:
        targets = {len(fleet.numbers): stack.enter_context(fleet.server(cores)) for fleet in (few, many)}
        working_set = few.numbers[:: len(few.numbers) // plan.working_set]
        warm = {len(fleet.numbers): fleet.questions(working_set) for fleet in (few, many)}
        for number in range(plan.rounds):
            for size in sorted(targets, reverse=number % 2 == 1):
                burst = _warm(targets[size], warm[size], plan)
                figures[_RATE][size].append(burst.calls_per_second)
                figures[_CPU][size].append(burst.cpu_per_call * 1e6)
                calls[_RATE] += burst.calls
                calls[_CPU] += burst.calls
                done(1)
            for ask in asks:
                for size, taken in _times_of(targets, ask, number).items():
                    figures[ask.what][size].append(taken)
            done(1)
    return figures, calls


def _warm(target: Target, questions: list[Question], plan: Plan) -> Burst:
    call_each(target, questions, IN_FLIGHT)
    return call_for(target, questions, IN_FLIGHT, plan.seconds)


def _asks(numbers: range, plan: Plan) -> list[Ask]:
    """`numbers` are those of the merchants that are in both."""
    others = numbers[1 :: len(numbers) // plan.working_set]
    deep = numbers[len(numbers) * 9 // 10]
    psp = basic(A_PSP)
    week = timedelta(days=7)
    in_six_days = DueSlot(datetime.now(UTC) + timedelta(days=6), merchant_id(0), DATED)
    due = {"parent": "merchants/-", "due_within": week}
    few_times = max(1, plan.working_set // 20)

    def page(list_name: str, after: str) -> dict[str, Any]:
        return {"page_token": encode_page_token(list_name, after)}

    def renewed(number: int) -> dict[str, Any]:
        return {"name": str(CredentialName(merchant_id(others[number % len(others)]), Slot.SECONDARY_HMAC_KEY))}

    def rotation(number: int) -> dict[str, Any]:
        return {"name": merchant_name(merchant_id(others[number % len(others)])), "kind": "HMAC_KEY"}

    return [
        Ask(_RENEW, _RENEW, renewed, max(1, plan.working_set // 2), goal=GOAL_CPU),
        Ask("ListMerchants, the first page", "ListMerchants", lambda _: {}, few_times),
        Ask("ListMerchants, a page after nine tenths", "ListMerchants",
            lambda _: page("merchants", merchant_id(deep)), few_times),
        Ask("ListMerchants of a PSP with one in 500", "ListMerchants", lambda _: {}, few_times, psp),
        Ask("ListCredentials due within a week", "ListCredentials", lambda _: due, few_times),
        Ask("ListCredentials due within a week, a page after six days", "ListCredentials",
            lambda _: due | page("merchants/- due", str(in_six_days)), few_times),
        Ask("GetRotation", "GetRotation", rotation, few_times),
        Ask("SummarizeCredentials, which counts every row", "SummarizeCredentials",
            lambda _: {"parent": "merchants/-"}, 1),
    ]  # fmt: skip


def _times_of(targets: dict[int, Target], ask: Ask, number: int) -> dict[int, float]:
    """The median of a round in microseconds, of each. They are asked in turns, call by call."""
    path, taken = path_of(ask.method), {size: Series() for size in targets}
    with ExitStack() as stack:
        calls = {size: _caller(stack, target, path, ask.headers) for size, target in targets.items()}
        for turn in range(ask.times):
            body = message_of(path, ask.fields(number * ask.times + turn)).SerializeToString()
            for size in sorted(calls, reverse=turn % 2 == 1):
                begin = time.perf_counter()
                calls[size](body)
                taken[size].append((time.perf_counter() - begin) * 1e6)
    return {size: median(times) for size, times in taken.items()}


def _caller(stack: ExitStack, target: Target, path: str, headers: Headers | None) -> Callable[[bytes], bytes]:
    """Over a connection of its own, which is there."""
    channel = stack.enter_context(grpc.insecure_channel(target.address))
    grpc.channel_ready_future(channel).result(_CALL_SECONDS)
    call: Callable[..., bytes] = channel.unary_unary(path)
    return partial(call, metadata=headers or target.metadata, timeout=_CALL_SECONDS)


def _rows(figures: Figures, calls: dict[str, int], plan: Plan) -> list[Row]:
    warm = _WARM.format(plan.working_set)
    kinds = {
        _RATE: (warm, _RATE, GOAL_RATE), _CPU: (f"{warm}: server's processor time", _CPU, GOAL_CPU),
        _RENEW: (f"{_RENEW}, one after another", "µs", GOAL_CPU),
    }  # fmt: skip
    rows = []
    for name, found in figures.items():
        what, unit, goal = kinds.get(name, (name, "µs", None))
        few, many = found[plan.few], found[plan.most]
        beside = f"{plan.few:,}'s"
        rows += [
            Row(SECTION, f"{what}, of {plan.few:,}", calls[name], few, unit),
            Row(SECTION, f"{what}, of {plan.most:,}", calls[name], many, unit, pairwise(many, few), beside, goal),
        ]
    return rows
