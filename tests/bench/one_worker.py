"""A worker among very many merchants by itself: how soon it answers after a start, and its memory when it is full.

That is when it has let through more merchants and callers than it remembers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import grpc

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Steps
from bench.fleets import Fleet, Headers, basic
from bench.load import Question, Target, WrongAnswer, call_each
from bench.multiply import caller_id
from keysvc.service.remembered import MERCHANTS

IN_FLIGHT = 16
GOAL_START = Goal(5_000, at_least=False, unit="ms")
GOAL_MEMORY = Goal(400, at_least=False, unit="MB")
_STARTS = 5
_MORE_THAN_FULL = 1.25
_CALL_SECONDS = 20.0


def rows_of_starts(section: str, many: Fleet, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    starts = _starts(many, plan, cores, steps)
    what = f"From a worker's start to its first answer, of {plan.most:,}"
    times, resident = [each[0] for each in starts], [each[1] / 1e6 for each in starts]
    return [
        Row(section, what, len(starts), times, "ms", goal=GOAL_START),
        Row(section, "Resident memory of a worker then", len(starts), resident, "MB"),
    ]


def rows_of_memory(section: str, many: Fleet, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    asked, memory = min(plan.most, int(MERCHANTS * _MORE_THAN_FULL)), _full(many, plan, cores, steps)
    what = f"with all that it remembers full: {asked:,} merchants asked about, {plan.callers:,} callers"
    return [
        Row(section, f"Resident memory of a worker {what}", asked, [memory["Rss"] / 1e6], "MB", goal=GOAL_MEMORY),
        Row(section, "Its share of what processes have in common counted once", asked, [memory["Pss"] / 1e6], "MB"),
    ]


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
    callers = [basic(caller_id(number)) for number in range(plan.callers)]
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


def _memory_of(pid: int, name: str) -> int:
    """Bytes, as smaps_rollup tells them: Rss or Pss."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kilobytes) * 1024
