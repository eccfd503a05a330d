"""F: BatchVerifyHmac beside the batches of OpenBao's transit engine, each on the same core in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Series, Steps, pairwise
from bench.known_keys import make_key
from bench.load import Burst, Question, Target, check, h2load, post
from bench.openbao import OpenBao, audited, in_memory
from bench.questions import MESSAGE_BYTES, read_questions
from bench.servers import keysvc
from keysvc.v1 import credential_service_pb2 as pb

SECTION = "F"
ITEMS = 100
IN_FLIGHT = 16
GOAL = Goal(1, at_least=True)
_METHOD = "/keysvc.v1.CredentialService/BatchVerifyHmac"
_WARM_UP = 0.5
_IN_MEMORY, _AUDITED = "OpenBao, in memory, without audit", "OpenBao, raft storage and a file audit device"
_ONE_KEY, _MANY_KEYS = f"keysvc, {ITEMS} messages of one key", f"keysvc, messages of {ITEMS} keys"

Measured = dict[str, list[Burst]]


@dataclass(frozen=True, slots=True)
class Side:
    """One server with one batch: what puts load on it for so many seconds, and what checks its answer."""

    load: Callable[[float], Burst]
    check: Callable[[], None]


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    messages = [b'{"number": %03d, "note": "' % number for number in range(ITEMS)]
    messages = [message.ljust(MESSAGE_BYTES - 2, b"x") + b'"}' for message in messages]
    with ExitStack() as stack:
        ours = replace(stack.enter_context(keysvc(home, cores, KEYSVC_METRICS_LISTEN="127.0.0.1:0")), method=_METHOD)
        known = make_key(ours, "batches")
        others = islice(cycle(read_questions(home)), ITEMS)  # the shortest bench has fewer merchants
        sides = {
            _ONE_KEY: _ours(ours, batch_of([known.verification(message) for message in messages])),
            _MANY_KEYS: _ours(ours, batch_of(list(others))),
        }
        for name, server in ((_IN_MEMORY, in_memory), (_AUDITED, audited)):
            directory = home.with_name(f"openbao-{server.__name__}")
            sides[name] = _theirs(stack.enter_context(server(directory, cores)), messages)
        measured = _measure(sides, plan, steps)
    return _rows(measured)


def batch_of(questions: list[Question]) -> Question:
    """All in one call, each with its right answer."""
    requests = [pb.VerifyHmacRequest.FromString(question.request) for question in questions]
    answers = [pb.VerifyHmacResponse.FromString(question.answer) for question in questions]
    outcomes = [pb.BatchVerifyHmacResponse.Outcome(response=answer) for answer in answers]
    return Question(
        pb.BatchVerifyHmacRequest(requests=requests).SerializeToString(),
        pb.BatchVerifyHmacResponse(results=outcomes).SerializeToString(),
    )


def _ours(target: Target, question: Question) -> Side:
    return Side(lambda seconds: h2load(target, question, IN_FLIGHT, seconds), lambda: check(target, question))


def _theirs(server: OpenBao, messages: list[bytes]) -> Side:
    batch = server.verification(messages, IN_FLIGHT)
    return Side(lambda seconds: post(batch, IN_FLIGHT, seconds), lambda: server.check(batch))


def _measure(sides: dict[str, Side], plan: Plan, steps: Steps) -> Measured:
    measured: Measured = {name: [] for name in sides}
    done = steps.begin("F: batches beside OpenBao's", (plan.warm_ups + plan.rounds) * len(sides))
    for side in sides.values():
        side.check()
    for side in list(sides.values()) * plan.warm_ups:
        side.load(min(_WARM_UP, plan.seconds))
        done(1)
    for number in range(plan.rounds):
        for name in sorted(sides, reverse=number % 2 == 1):
            measured[name].append(sides[name].load(plan.seconds))
            done(1)
        for side in sides.values():
            side.check()
    return measured


def _rows(measured: Measured) -> list[Row]:
    """In verifications: a call holds many."""
    rates = {name: [burst.calls_per_second * ITEMS for burst in bursts] for name, bursts in measured.items()}
    cpu = {name: [burst.cpu_per_call / ITEMS * 1e6 for burst in bursts] for name, bursts in measured.items()}
    calls = {name: ITEMS * sum(burst.calls for burst in bursts) for name, bursts in measured.items()}

    def rate(name: str, base: str | None = None, beside: str = "", goal: Goal | None = None) -> Row:
        ratios: Series | None = pairwise(rates[name], rates[base]) if base else None
        return Row(SECTION, name, calls[name], rates[name], "verifies/s", ratios, beside, goal)

    def time(name: str) -> Row:
        what, beside = f"{name}: server's processor time", "in memory's"
        ratios = None if name == _IN_MEMORY else pairwise(cpu[name], cpu[_IN_MEMORY])
        return Row(SECTION, what, calls[name], cpu[name], "µs/verify", ratios, beside)

    return [
        rate(_IN_MEMORY),
        rate(_AUDITED, _IN_MEMORY, "in memory's"),
        rate(_ONE_KEY, _IN_MEMORY, "OpenBao's in memory", GOAL),
        rate(_MANY_KEYS, _IN_MEMORY, "OpenBao's in memory"),
        replace(rate(_ONE_KEY, _AUDITED, "OpenBao's with audit"), what=f"{_ONE_KEY}, again"),
        *(time(name) for name in (_IN_MEMORY, _AUDITED, _ONE_KEY, _MANY_KEYS)),
    ]
