"""G: VerifyWebhook beside VerifyHmac of the same body under the same key."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Steps, pairwise
from bench.known_keys import KnownKey, make_key
from bench.load import Burst, Question, Target, check, h2load
from bench.questions import message_for
from bench.servers import keysvc
from keysvc.v1 import webhook_pb2 as pb

SECTION = "G"
IN_FLIGHT = (64, 1)
GOAL = Goal(0.9, at_least=True)
_METHOD = "/keysvc.v1.CredentialService/VerifyWebhook"
_MERCHANT = "webhooks"
_WARM_UP = 0.5
_PLAIN = "VerifyHmac"

Headers = dict[str, str]
Measured = dict[tuple[int, str], list[Burst]]


def _standard(key: KnownKey, body: bytes) -> Headers:
    event_id, now = "msg_2ZcPbHdnFvuNqLnkQsBtPRDbyRL", str(int(time.time()))
    mac = base64.b64encode(key.mac(f"{event_id}.{now}.".encode() + body)).decode()
    return {"webhook-id": event_id, "webhook-timestamp": now, "webhook-signature": f"v1,{mac}"}


def _stripe(key: KnownKey, body: bytes) -> Headers:
    now = str(int(time.time()))
    return {"stripe-signature": f"t={now},v1={key.mac(f'{now}.'.encode() + body).hex()}"}


def _github(key: KnownKey, body: bytes) -> Headers:
    return {"x-hub-signature-256": f"sha256={key.mac(body).hex()}"}


_SCHEMES: dict[str, Callable[[KnownKey, bytes], Headers]] = {
    "STANDARD_WEBHOOKS": _standard,
    "STRIPE": _stripe,
    "GITHUB": _github,
}
_ALSO_SENT = {"content-type": "application/json", "user-agent": "bench/1.0", "accept": "*/*", "host": "shop.example"}
"""Headers of a request that no scheme reads: a verifier hands over all that it received."""


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    with keysvc(home, cores, KEYSVC_METRICS_LISTEN="127.0.0.1:0") as target:
        measured = _measure(target, make_key(target, _MERCHANT), plan, steps)
    return [row for in_flight in IN_FLIGHT for row in _rows(measured, in_flight)]


def _asked(target: Target, key: KnownKey) -> dict[str, tuple[Target, Question]]:
    """Signed anew for each round: a signed time holds for some minutes only."""
    body = message_for(_MERCHANT)
    webhooks = replace(target, method=_METHOD)
    return {
        _PLAIN: (target, key.verification(body)),
        **{scheme: (webhooks, _question(key, scheme, body)) for scheme in _SCHEMES},
    }


def _question(key: KnownKey, scheme: str, body: bytes) -> Question:
    headers = {**_ALSO_SENT, **_SCHEMES[scheme](key, body)}
    request = pb.VerifyWebhookRequest(name=key.name, scheme=scheme, headers=headers, body=body)
    answer = pb.VerifyWebhookResponse(result="VALID", matched_credential=key.name, matched_version=1)
    return Question(request.SerializeToString(), answer.SerializeToString())


def _measure(target: Target, key: KnownKey, plan: Plan, steps: Steps) -> Measured:
    asked = _asked(target, key)
    measured: Measured = {(in_flight, name): [] for in_flight in IN_FLIGHT for name in asked}
    done = steps.begin("G: VerifyWebhook beside VerifyHmac", (plan.warm_ups + plan.rounds) * len(measured))
    for name in asked:
        check(*asked[name])
    for in_flight, name in list(measured) * plan.warm_ups:
        h2load(*asked[name], in_flight, min(_WARM_UP, plan.seconds))
        done(1)
    for number in range(plan.rounds):
        asked = _asked(target, key)
        for in_flight, name in sorted(measured, reverse=number % 2 == 1):
            measured[in_flight, name].append(h2load(*asked[name], in_flight, plan.seconds))
            done(1)
        for name in asked:
            check(*asked[name])
    return measured


def _rows(measured: Measured, in_flight: int) -> list[Row]:
    plain = measured[in_flight, _PLAIN]
    rows = []
    for name in (_PLAIN, *_SCHEMES):
        bursts = measured[in_flight, name]
        calls = sum(burst.calls for burst in bursts)
        what = f"{name}, {in_flight} in flight" if name == _PLAIN else f"VerifyWebhook of {name}, {in_flight} in flight"
        rates, cpu = _figures(bursts)
        plain_rates, plain_cpu = _figures(plain)
        beside = f"{_PLAIN}'s"
        if name == _PLAIN:
            rows += [
                Row(SECTION, what, calls, rates, "calls/s"),
                Row(SECTION, f"{what}: server's processor time", calls, cpu, "µs/call"),
            ]
        else:
            rows += [
                Row(SECTION, what, calls, rates, "calls/s", pairwise(rates, plain_rates), beside, GOAL),
                Row(SECTION, f"{what}: server's processor time", calls, cpu, "µs/call",
                    pairwise(cpu, plain_cpu), beside),
            ]  # fmt: skip
    return rows


def _figures(bursts: list[Burst]) -> tuple[list[float], list[float]]:
    """Calls a second, and microseconds of processor time a call."""
    return [burst.calls_per_second for burst in bursts], [burst.cpu_per_call * 1e6 for burst in bursts]
