"""K: a million merchants with five filled slots each, against a thousand, both on PostgreSQL with servers of their own.

What both are asked, they are asked in turns. What a worker takes of memory is read when all that it remembers is full:
of more merchants and callers than it remembers, each was let through once.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from support.methods import message_of, path_of
from support.postgres import Postgres, running_postgres

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Series, Steps, pairwise
from bench.known_keys import KnownKey, read_key
from bench.load import Burst, Question, Target, WrongAnswer, call_each, call_for
from bench.multiply import A_PSP, DATED, PASSWORD, caller_id, multiply
from bench.questions import merchant_id, message_for
from bench.servers import keysvc
from keysvc.model.fleet import DueSlot
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.paging import encode_page_token
from keysvc.model.slots import Slot
from keysvc.service.remembered import MERCHANTS

SECTION = "K"
IN_FLIGHT = 16
GOAL_RATE, GOAL_CPU = Goal(0.9, at_least=True), Goal(1.1, at_least=False)
GOAL_START = Goal(5_000, at_least=False, unit="ms")
GOAL_MEMORY = Goal(400, at_least=False, unit="MB")
_RENEW = "RenewCredential"
_STARTS = 5
_MORE_THAN_FULL = 1.25
_CALL_SECONDS = 20.0
_WARM, _RATE, _CPU = "VerifyHmac of the same {} merchants", "calls/s", "µs/call"

Headers = tuple[tuple[str, str], ...]
Figures = dict[str, dict[int, Series]]
"""By what was measured, and how many merchants there were: a figure each round."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A home and a database with so many merchants."""

    home: Path
    url: str
    numbers: range
    callers: int

    @contextmanager
    def server(self, cores: Cores) -> Iterator[Target]:
        with keysvc(self.home, cores, KEYSVC_DATABASE_URL=self.url) as target:
            yield target

    def questions(self, numbers: range) -> list[Question]:
        """VerifyHmac of each of these merchants, with the answer VALID."""
        key = read_key(self.home)
        return [_verification(merchant_id(number), key) for number in numbers]


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
        few, many = _fleets(home, plan, cores, steps, postgres)
        figures, calls = _compared(few, many, plan, cores, steps)
        starts, memory = _starts(many, plan, cores, steps), _full(many, plan, cores, steps)
    return [*_rows(figures, calls, plan), *_rows_of_a_start(starts, plan), *_rows_of_memory(memory, plan)]


def _fleets(home: Path, plan: Plan, cores: Cores, steps: Steps, postgres: Postgres) -> tuple[Fleet, Fleet]:
    def made(numbers: range, callers: int) -> Fleet:
        size = len(numbers)
        fleet = Fleet(home.with_name(f"of-{size}"), postgres.new_database(), numbers, callers)
        done = steps.begin(f"K: making {size:,} merchants", size)
        multiply(fleet.home, fleet.url, numbers, callers, cores, done)
        return fleet

    return made(range(0, plan.most, plan.most // plan.few), 1), made(range(plan.most), plan.callers)


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
    psp = _basic(A_PSP)
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


def _starts(many: Fleet, plan: Plan, cores: Cores, steps: Steps) -> list[tuple[float, int]]:
    """(milliseconds from the start of a process to its first right answer, bytes resident then)."""
    rounds = min(plan.rounds, _STARTS)
    done = steps.begin("K: restarts", rounds)
    questions, found = many.questions(many.numbers[:rounds]), []
    for question in questions:
        begin = time.perf_counter()
        with many.server(cores) as target:
            call_each(target, [question], 1)
            found.append(((time.perf_counter() - begin) * 1e3, _memory_of(target.pids[0], "Rss")))
        done(1)
    return found


def _full(many: Fleet, plan: Plan, cores: Cores, steps: Steps) -> dict[str, float]:
    """Bytes of a worker that remembers as much as it may."""
    asked = many.numbers[: min(len(many.numbers), int(MERCHANTS * _MORE_THAN_FULL))]
    done = steps.begin("K: filling what a worker remembers", len(asked))
    callers = [_basic(caller_id(number)) for number in range(plan.callers)]
    with many.server(cores) as target:
        _let_through(target, many.questions(asked), callers, done)
        pid = target.pids[0]
        return {name: _memory_of(pid, name) for name in ("Rss", "Pss")}


def _let_through(
    target: Target, questions: list[Question], callers: list[Headers], done: Callable[[int], None]
) -> None:
    """Asks each once, every caller in its turn."""
    with grpc.insecure_channel(target.address) as channel, ThreadPoolExecutor(IN_FLIGHT) as threads:
        call: Callable[..., bytes] = channel.unary_unary(target.method)

        def ask(number: int) -> None:
            question = questions[number]
            headers = callers[number % len(callers)]
            if call(question.request, metadata=headers, timeout=_CALL_SECONDS) != question.answer:
                raise WrongAnswer(f"{target.address} gave another answer than the right one")

        left = iter(range(len(questions)))
        while some := list(islice(left, 500)):
            list(threads.map(ask, some))
            done(len(some))


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


def _rows_of_a_start(starts: list[tuple[float, int]], plan: Plan) -> list[Row]:
    what = f"From a worker's start to its first answer, of {plan.most:,}"
    times, resident = [each[0] for each in starts], [each[1] / 1e6 for each in starts]
    return [
        Row(SECTION, what, len(starts), times, "ms", goal=GOAL_START),
        Row(SECTION, "Resident memory of a worker then", len(starts), resident, "MB"),
    ]


def _rows_of_memory(memory: dict[str, float], plan: Plan) -> list[Row]:
    asked = min(plan.most, int(MERCHANTS * _MORE_THAN_FULL))
    what = f"with all that it remembers full: {asked:,} merchants asked about, {plan.callers:,} callers"
    return [
        Row(SECTION, f"Resident memory of a worker {what}", asked, [memory["Rss"] / 1e6], "MB", goal=GOAL_MEMORY),
        Row(SECTION, "Its share of what processes have in common counted once", asked, [memory["Pss"] / 1e6], "MB"),
    ]


def _memory_of(pid: int, name: str) -> int:
    """Bytes, as smaps_rollup tells them: Rss or Pss."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kilobytes) * 1024


def _verification(merchant: str, key: bytes) -> Question:
    return KnownKey(str(CredentialName(merchant, Slot.PRIMARY_HMAC_KEY)), key).verification(message_for(merchant))


def _basic(principal_id: str) -> Headers:
    return (("authorization", f"Basic {base64.b64encode(f'{principal_id}:{PASSWORD}'.encode()).decode()}"),)
