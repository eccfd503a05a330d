"""What a verification is made of, timed without gRPC: `python -m bench.budget HOME`, a program of its own.

Each line of its input, a number, is answered by a line with the microseconds of processor time of every step, each
done so many times in a row, as JSON.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from bench.questions import read_questions
from keysvc.cli import assembly, development, wiring
from keysvc.cli.assembly import Core, Limits
from keysvc.cli.logs import call_as_json
from keysvc.cli.settings import read_settings
from keysvc.model.names import merchant_of, parse_merchant_or_credential
from keysvc.model.permissions import PERMISSIONS
from keysvc.model.slots import Kind
from keysvc.rpc.guarded import GuardedMethod
from keysvc.rpc.observation import CallCounts, CallLine
from keysvc.rpc.turn import Turn
from keysvc.service.authority import Authority
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller, no_peer
from keysvc.service.live_keys import LiveKeys, wrapped
from keysvc.service.trials import Trial, Trials
from keysvc.service.usage import Usage
from keysvc.v1 import credential_service_pb2 as pb

_SERVICE = "/keysvc.v1.CredentialService"
VERIFY, BATCH = f"{_SERVICE}/VerifyHmac", f"{_SERVICE}/BatchVerifyHmac"
ITEMS = 100
"""Of a batch."""
WHOLE, WHOLE_BATCH, TOLD = "whole", "whole batch", "told"

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Context:
    """A call that came over no connection."""

    authorization: str

    def time_remaining(self) -> float:
        return 60.0

    def is_active(self) -> bool:
        return True

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "bench"), ("te", "trailers"), ("authorization", self.authorization))

    def peer(self) -> str:
        return ""

    def auth_context(self) -> Mapping[str, bytes]:
        return {}


def _steps(core: Core, context: _Context, raw: bytes) -> dict[str, Step]:
    settings, usage, lines = read_settings(), Usage(core.store), list[CallLine]()
    cache, authority, limits = (
        Cache(core.store, core.token, core.sealer),
        Authority(core.store, core.sealer),
        Limits.of(settings),
    )
    guards = assembly.guards(core, cache, limits, authority, lines.append)
    handlers = assembly.servicers(core, cache, usage, limits, authority).handlers()
    verify, batch = (GuardedMethod(path, handlers[path], guards) for path in (VERIFY, BATCH))
    request = pb.VerifyHmacRequest.FromString(raw)
    many = pb.BatchVerifyHmacRequest(requests=[request] * ITEMS).SerializeToString()

    def turn(of: bytes = raw) -> Turn:
        return Turn(of, context, cache.arrival())

    right = verify.answer(turn())
    assert isinstance(right, bytes), "the question is not answered"
    known = guards.access.authenticate(turn().proof)
    caller = Caller(known.record.principal_id, VERIFY, no_peer, known, context.time_remaining)
    trials = Trials(LiveKeys(cache), usage, limits.verifications, core.now)
    name = parse_merchant_or_credential(request.name)
    trial = trials.begin(caller, name, Kind.HMAC_KEY)
    assert isinstance(trial, Trial)
    key, counts = trial.keys[0], CallCounts(PERMISSIONS, CollectorRegistry())
    answer = pb.VerifyHmacResponse.FromString(right)
    made = turn()

    def told() -> None:
        call_as_json(lines[0])
        counts.count(lines[:1])

    return {
        "the call's own things, and its header found": turn,
        "parsed, and whether all is at hand": lambda: verify.is_quick(_again(made)),
        "the epoch read": lambda: cache.refresh(cache.arrival()),
        "who calls, and what it may call": lambda: authority.grant(guards.access.authenticate(made.proof), VERIFY),
        "whose merchant it is": lambda: authority.check(known, known.grants[VERIFY], VERIFY, merchant_of(request.name)),
        "the keys to try": lambda: trials.begin(caller, name, Kind.HMAC_KEY),
        "the MAC by the token": lambda: core.token.hmac(wrapped(key), request.message),
        "compared, and the use noted": lambda: (hmac.compare_digest(b"", b""), trials.matched(trial, key)),
        "the answer written": answer.SerializeToString,
        TOLD: told,
        WHOLE: lambda: verify.answer(turn()),
        WHOLE_BATCH: lambda: batch.answer(turn(many)),
        "the MACs of a batch": lambda: core.token.hmacs([(wrapped(key), [request.message] * ITEMS)]),
    }


def _again(turn: Turn) -> Turn:
    """As it was before it was read."""
    turn.request, turn.proof.key = None, None
    return turn


def _microseconds(step: Step, times: int) -> float:
    begin = time.thread_time()
    for _ in range(times):
        step()
    return (time.thread_time() - begin) / times * 1e6


def main(home: Path) -> None:
    os.environ["KEYSVC_HOME"] = str(home)
    settings, module = development.provision(read_settings())
    credentials = (home / "admin-credentials").read_bytes()
    context = _Context(f"Basic {base64.b64encode(credentials).decode()}")
    with ExitStack() as stack:
        core = stack.enter_context(wiring.opened(settings, module, wiring.token_config(settings)))
        steps = _steps(core, context, read_questions(home)[0].request)
        for line in sys.stdin:
            print(json.dumps({name: _microseconds(step, int(line)) for name, step in steps.items()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
