"""C: CreateCredential over the wire against the token's own generate-and-wrap, and where the time goes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc

from bench.cores import Cores
from bench.figures import Goal, Plan, Row, Series, Steps, pairwise
from bench.load import Target
from bench.populate import copied, populate
from bench.questions import read_merchants
from bench.servers import asked, keysvc, program
from keysvc.model.names import CredentialName
from keysvc.model.slots import Slot
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

SECTION = "C"
AT_ONCE = 8
GOAL = Goal(3, at_least=False)
_CALL_SECONDS = 30.0
_METHOD = "/keysvc.v1.CredentialService/CreateCredential"
_GENERATE = "generate"
_JOBS = {
    _GENERATE: "In process: Token.generate (generate and wrap)",
    "create": "In process: Lifecycle.create, a change with all its rows",
    "create-unsynced": "In process: Lifecycle.create, its commit without fsync",
    "commit": "In process: a change of one audit event",
    "commit-unsynced": "In process: a change of one audit event, its commit without fsync",
    "read": "In process: reading a merchant's rows",
    "macs": "In process: the four row MACs of a create",
}
_ALONE, _TOGETHER, _EACH, _SLOWEST = "alone", "together", "each", "slowest"


@dataclass
class Wire:
    """Creates one credential after another, each at a merchant whose slot is empty."""

    target: Target
    channel: grpc.Channel
    merchants: Iterator[str]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self) -> float:
        """Seconds. Raises RpcError, or AssertionError where there is no secret in the answer."""
        with self._lock:
            name = CredentialName(next(self.merchants), Slot.SECONDARY_HMAC_KEY)
        request = pb.CreateCredentialRequest(name=str(name)).SerializeToString()
        call: Callable[..., bytes] = self.channel.unary_unary(_METHOD)
        begin = time.perf_counter()
        answer = call(request, metadata=self.target.metadata, timeout=_CALL_SECONDS)
        taken = time.perf_counter() - begin
        response = pb.CreateCredentialResponse.FromString(answer)
        assert response.credential.state == Credential.ACTIVE
        assert response.secret.value
        return taken


def run(home: Path, plan: Plan, cores: Cores, steps: Steps) -> list[Row]:
    served = copied(home, home.with_name("served"))
    needed = plan.creates * (1 + 2 * plan.rounds)
    if needed > plan.few:
        populate(served, range(needed), cores, steps.begin(f"C: making {needed:,} merchants", needed))
    alone = copied(served, home.with_name("alone"))
    with (
        program(cores, "bench.in_process", str(alone)) as helper,
        keysvc(served, cores) as target,
        grpc.insecure_channel(target.address) as channel,
    ):
        return _rows(_measure(Wire(target, channel, iter(read_merchants(served))), helper, plan, steps), plan)


def _measure(wire: Wire, helper: subprocess.Popen[str], plan: Plan, steps: Steps) -> dict[str, Series]:
    """Median seconds a round."""
    measured: dict[str, Series] = {name: [] for name in (*_JOBS, _ALONE, _TOGETHER, _EACH, _SLOWEST)}
    done = steps.begin("C: CreateCredential", plan.rounds * (len(_JOBS) + 2))
    for _ in range(plan.creates // 10):
        wire.create()
    for name in _JOBS:
        _ask(helper, name, plan.creates // 10)
    for _ in range(plan.rounds):
        for name in _JOBS:
            measured[name].append(median(_ask(helper, name, plan.creates)))
            done(1)
        measured[_ALONE].append(median(wire.create() for _ in range(plan.creates)))
        done(1)
        each, taken = _together(wire, plan.creates)
        measured[_TOGETHER].append(taken / plan.creates)
        measured[_EACH].append(median(each))
        measured[_SLOWEST].append(max(each))
        done(1)
    return measured


def _together(wire: Wire, creates: int) -> tuple[list[float], float]:
    """The seconds of each, and of all together."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        begin = time.perf_counter()
        each = list(threads.map(lambda _: wire.create(), range(creates)))
        return each, time.perf_counter() - begin


def _ask(helper: subprocess.Popen[str], job: str, times: int) -> list[float]:
    taken: list[float] = asked(helper, f"{job} {times}")
    return taken


def _rows(measured: dict[str, Series], plan: Plan) -> list[Row]:
    base = measured[_GENERATE]

    def row(name: str, what: str, goal: Goal | None = None) -> Row:
        values = [seconds * 1e6 for seconds in measured[name]]
        ratios = None if name == _GENERATE else pairwise(measured[name], base)
        return Row(SECTION, what, plan.rounds * plan.creates, values, "µs", ratios, "Token.generate's", goal)

    wire = "CreateCredential over the wire"
    return [
        row(_GENERATE, _JOBS[_GENERATE]),
        row(_ALONE, f"{wire}, one after another", GOAL),
        row(_TOGETHER, f"{wire}, {AT_ONCE} in flight: time for one more", GOAL),
        row(_EACH, f"{wire}, {AT_ONCE} in flight: until the answer"),
        row(_SLOWEST, f"{wire}, {AT_ONCE} in flight: until the slowest answer of a round"),
        *(row(name, what) for name, what in _JOBS.items() if name != _GENERATE),
    ]
