"""L: where the processor time of a verification goes, step by step, and of one in a batch."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from bench.budget import BATCH, ITEMS, TOLD, WHOLE, WHOLE_BATCH
from bench.cores import Cores
from bench.figures import Plan, Row, Series, Steps, pairwise
from bench.load import Question, Target, h2load
from bench.populate import copied
from bench.questions import read_questions
from bench.servers import asked, keysvc, program
from keysvc.v1 import credential_service_pb2 as pb

SECTION = "L"
IN_FLIGHT = 64
BATCHES_IN_FLIGHT = 16
_TIMES = 500
_WIRE, _WIRE_BATCH = "wire", "wire batch"
_MACS = "the MACs of a batch"

Measured = dict[str, Series]


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    alone = copied(home, home.with_name("budget"))
    with program(cores, "bench.budget", str(alone)) as helper, keysvc(home, cores) as target:
        measured = _measure(helper, target, read_questions(home)[0], plan, steps)
    return _rows(measured, plan)


def _measure(helper: subprocess.Popen[str], target: Target, question: Question, plan: Plan, steps: Steps) -> Measured:
    """Microseconds of a call, or of a batch, in each round."""
    batch = _batch_of(question)
    measured: Measured = {}
    done = steps.begin("L: where a verification's time goes", plan.warm_ups + plan.rounds)
    for number in range(plan.warm_ups + plan.rounds):
        found: dict[str, float] = asked(helper, str(_TIMES))
        found[_WIRE] = h2load(target, question, IN_FLIGHT, plan.seconds).cpu_per_call * 1e6
        batches = replace(target, method=BATCH)
        found[_WIRE_BATCH] = h2load(batches, batch, BATCHES_IN_FLIGHT, plan.seconds).cpu_per_call * 1e6
        if number >= plan.warm_ups:
            for name, microseconds in found.items():
                measured.setdefault(name, []).append(microseconds)
        done(1)
    return measured


def _batch_of(question: Question) -> Question:
    outcome = pb.BatchVerifyHmacResponse.Outcome(response=pb.VerifyHmacResponse.FromString(question.answer))
    request = pb.BatchVerifyHmacRequest(requests=[pb.VerifyHmacRequest.FromString(question.request)] * ITEMS)
    answer = pb.BatchVerifyHmacResponse(results=[outcome] * ITEMS)
    return Question(request.SerializeToString(), answer.SerializeToString())


def _rows(measured: Measured, plan: Plan) -> list[Row]:
    whole, told, wire = measured[WHOLE], measured[TOLD], measured[_WIRE]
    batch, macs, wire_batch = (_each(measured[name]) for name in (WHOLE_BATCH, _MACS, _WIRE_BATCH))
    steps = [name for name in measured if name not in (WHOLE, WHOLE_BATCH, TOLD, _MACS, _WIRE, _WIRE_BATCH)]

    def row(what: str, values: Series, of: Series, whose: str) -> Row:
        ratios = None if values is of else pairwise(values, of)
        return Row(SECTION, what, plan.rounds * _TIMES, values, "µs", ratios, whose)

    a_call, one = "a call", "a verification"
    return [
        row(f"VerifyHmac, {IN_FLIGHT} in flight, all of it", wire, wire, a_call),
        *(row(f"of which: {name}", measured[name], wire, a_call) for name in steps),
        row("of which: all of the service, as one", whole, wire, a_call),
        row("of which: its line of the log written, and counted, by other threads", told, wire, a_call),
        row("the rest: gRPC, the kernel's network, Python between them", _less(wire, whole, told), wire, a_call),
        row(f"One of a batch of {ITEMS}, {BATCHES_IN_FLIGHT} in flight, all of it", wire_batch, wire_batch, one),
        row("of which: its MAC by the token", macs, wire_batch, one),
        row("of which: the service beside it", _less(batch, macs), wire_batch, one),
        row("the rest, as above", _less(wire_batch, batch), wire_batch, one),
    ]  # fmt: skip


def _each(values: Series) -> Series:
    return [value / ITEMS for value in values]


def _less(values: Series, *others: Series) -> Series:
    return [value - sum(parts) for value, *parts in zip(values, *others, strict=True)]
