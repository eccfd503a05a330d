"""A: VerifyHmac over the wire beside bare grpcio servers, one core for the server and another for the load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.bare import SERVICE
from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Steps, pairwise
from bench.load import Burst, Question, Target, check, h2load
from bench.questions import read_questions
from bench.servers import bare_server, keysvc
from keysvc.cli.settings import read_settings

SECTION = "A"
IN_FLIGHT = (1, 64)
GOAL = Goal(0.75, at_least=True)
_WARM_UP = 0.5
_KEYSVC, _ECHO, _TYPED = "keysvc", "bare echo", "bare, typed"

Measured = dict[tuple[int, str], list[Burst]]


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    question = read_questions(home)[0]
    threads = read_settings().threads
    with bare_server(threads, cores) as (address, pid), keysvc(home, cores) as ours:
        # Called with the same header as keysvc, so that both read as many bytes.
        echo = Target(address, (pid,), ours.authorization, f"/{SERVICE}/Echo")
        targets = {
            _KEYSVC: (ours, question),
            _ECHO: (echo, Question(question.request, question.request)),
            _TYPED: (replace(echo, method=f"/{SERVICE}/Typed"), question),
        }
        measured = _measure(targets, plan, steps)
    return [row for in_flight in IN_FLIGHT for row in _rows(measured, in_flight)]


def _measure(targets: dict[str, tuple[Target, Question]], plan: Plan, steps: Steps) -> Measured:
    measured: Measured = {(in_flight, name): [] for in_flight in IN_FLIGHT for name in targets}
    done = steps.begin("A: VerifyHmac beside bare servers", (plan.warm_ups + plan.rounds) * len(measured))
    for in_flight, name in list(measured) * plan.warm_ups:
        h2load(*targets[name], in_flight, min(_WARM_UP, plan.seconds))
        done(1)
    _check(targets)
    for number in range(plan.rounds):
        # Every other round runs the other way, so that nothing always comes after the same.
        for in_flight, name in sorted(measured, reverse=number % 2 == 1):
            measured[in_flight, name].append(h2load(*targets[name], in_flight, plan.seconds))
            done(1)
        _check(targets)
    return measured


def _check(targets: dict[str, tuple[Target, Question]]) -> None:
    """By an ordinary client, before and after each round."""
    for target, question in targets.values():
        check(target, question)


def _rows(measured: Measured, in_flight: int) -> list[Row]:
    ours, echo, typed = (measured[in_flight, name] for name in (_KEYSVC, _ECHO, _TYPED))
    rates = [burst.calls_per_second for burst in ours]
    echo_rates = [burst.calls_per_second for burst in echo]
    typed_rates = [burst.calls_per_second for burst in typed]
    cpu = [burst.cpu_per_call * 1e6 for burst in ours]
    echo_cpu = [burst.cpu_per_call * 1e6 for burst in echo]
    flight = f"{in_flight} in flight"
    return [
        Row(SECTION, f"Bare echo, {flight}", _calls(echo), echo_rates, "calls/s"),
        Row(SECTION, f"Bare server with VerifyHmac's messages, {flight}", _calls(typed), typed_rates, "calls/s",
            pairwise(typed_rates, echo_rates), "echo's"),
        Row(SECTION, f"VerifyHmac, {flight}", _calls(ours), rates, "calls/s",
            pairwise(rates, echo_rates), "echo's", GOAL),
        Row(SECTION, f"VerifyHmac, {flight}: server's processor time", _calls(ours), cpu, "µs/call",
            pairwise(cpu, echo_cpu), f"echo's {median(echo_cpu):.0f} µs"),
    ]  # fmt: skip


def _calls(bursts: list[Burst]) -> int:
    return sum(burst.calls for burst in bursts)
