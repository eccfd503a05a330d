"""Mutated requests to every rpc, by callers of every kind: whatever is sent, the answer is one that is documented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.server import CALL_SECONDS, Client, DevServer, Refusal

from endurance import planted
from endurance.conftest import Sizes
from endurance.contract import CODES, Rpc, rpcs
from endurance.fuzz_world import JWT_CALLER, FuzzWorld
from endurance.fuzzers import Fuzzer, fuzzers
from endurance.likely import Likely
from endurance.logs import trouble_in
from endurance.mutations import Sent, requests
from keysvc.v1.credential_service_pb2 import BatchVerifyHmacResponse

PARTS = 2
"""Each takes every other rpc, with a server of its own, so that two processes can share the work."""
RENEW_AFTER = 250
"""Calls, after which merchants are taken that nothing has happened to."""
MAX_REQUEST = 8 * 1024 * 1024
"""Bytes. gRPC refuses a longer one itself, before keysvc sees who calls."""
KEEPERS = {"admin-credentials", "pin"}
SHORT_SECONDS = 0.004
"""A deadline that most calls miss."""


@dataclass
class Judge:
    """Calls, and notes each answer that is not documented."""

    world: FuzzWorld
    channel: grpc.Channel
    met: Counter[str] = field(default_factory=Counter)
    """What was answered, by rpc and result."""
    faults: set[str] = field(default_factory=set)
    calls: int = 0

    def call(self, rpc: Rpc, raw: bytes, fuzzer: Fuzzer, hurried: bool) -> None:
        if self.calls % RENEW_AFTER == RENEW_AFTER - 1:
            self.world.renew()
        self.calls += 1
        filled = self.world.actual.fill(raw)
        if planted.strayed(GetMessageClass(rpc.method.input_type), filled):
            return
        call: Any = self.channel.unary_unary(rpc.path)
        metadata = tuple(("authorization", header) for header in fuzzer.headers())
        try:
            answer = call(filled, metadata=metadata, timeout=SHORT_SECONDS if hurried else CALL_SECONDS)
        except grpc.RpcError as error:
            refused = Refusal(error)
            self.met[f"{rpc} {refused.reason or refused.code.name}"] += 1
            # Told by the client's own clock or by gRPC itself: there is nothing of keysvc's to judge.
            late = hurried and refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
            too_long = len(filled) > MAX_REQUEST and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            if not (late or too_long):
                said = f"{refused.message} {error.trailing_metadata()}".encode()
                self.faults.update(f"{rpc}, called by {fuzzer.label}: {fault}" for fault in _faults(rpc, refused, said))
                if not fuzzer.known and refused.reason != "UNAUTHENTICATED":
                    self.faults.add(f"{rpc} told {fuzzer.label} {refused.reason}")
        else:
            told = GetMessageClass(rpc.method.output_type).FromString(answer)
            self.faults.update(f"{rpc}: {fault}" for fault in _faults_within(told))
            self.met[f"{rpc} OK"] += 1
            if not fuzzer.known:
                self.faults.add(f"{rpc} answered {fuzzer.label}")


def _faults(rpc: Rpc, refused: Refusal, said: bytes) -> Iterator[str]:
    if planted.stands_in(said):
        yield f"the refusal tells a secret: {said!r}"
    if refused.reason not in rpc.reasons:
        yield f"{refused.code} {refused.reason} is not documented: {refused.message}"
    elif CODES[refused.reason] != refused.code.name or refused.info.domain != "keysvc":
        yield f"{refused.reason} came with {refused.code}, from {refused.info.domain}"
    if (refused.reason == "INVALID_FIELD") != bool(refused.fields):
        yield f"{refused.reason} names the fields {refused.fields}"


def _faults_within(told: Any) -> Iterator[str]:
    """Of the errors that the answer to a batch holds: each is one that the call alone may end with."""
    if isinstance(told, BatchVerifyHmacResponse):
        [alone] = [rpc.reasons for rpc in rpcs() if rpc.method.name == "VerifyHmac"]
        for error in [each.error for each in told.results if each.HasField("error")]:
            info = ErrorInfo()
            if not error.details[0].Unpack(info) or info.reason not in alone:
                yield f"{error} is not documented"
            if planted.stands_in(error.SerializeToString()):
                yield f"an error tells a secret: {error}"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_answer_to_mutated_requests_is_documented(tmp_path: Path, sizes: Sizes, part: int) -> None:
    server = DevServer(tmp_path / "home").start()
    try:
        with server.client() as client:
            world = FuzzWorld(server, client)
            judge, likely = Judge(world, client.channel), world.likely()
            for rpc in rpcs()[part::PARTS]:
                _fuzz(judge, rpc, likely, sizes)
            _check_still_serves(client)
    finally:
        exit_code = server.stop()
    assert 0 == exit_code
    assert [] == sorted(judge.faults)
    print(f"{judge.calls} calls: {dict(sorted(judge.met.items()))}")
    assert judge.calls >= sizes.fuzzed_calls // PARTS * 0.95
    unanswered = {f"{rpc} OK" for rpc in rpcs()[part::PARTS]} - judge.met.keys()
    assert not unanswered or not sizes.soak, f"nothing right was sent: {unanswered}"
    assert [] == [file.name for file in _files(server) if _tells(file.read_bytes(), world)]
    assert [] == trouble_in(server)


def _fuzz(judge: Judge, rpc: Rpc, likely: Likely, sizes: Sizes) -> None:
    world = judge.world
    callers = fuzzers(world.passwords, world.signer, JWT_CALLER)
    hurried = st.sampled_from([False] * 49 + [True])

    @settings(
        max_examples=-(-sizes.fuzzed_calls // len(rpcs())),
        deadline=None,
        database=None,
        derandomize=not sizes.soak,
        print_blob=True,
        # A smaller request tells no more: what it meets has changed since.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(rpc, likely), callers, hurried)
    def run(request: Sent, fuzzer: Fuzzer, hurried: bool) -> None:
        judge.call(rpc, request.raw, fuzzer, hurried)

    world.renew()
    run()


def _check_still_serves(client: Client) -> None:
    name = client.active_merchant("after-all")
    assert "merchants/after-all" == name


def _tells(data: bytes, world: FuzzWorld) -> bool:
    return planted.stands_in(data) or any(secret.encode() in data for secret in world.secrets)


def _files(server: DevServer) -> Iterator[Path]:
    yield from sorted(path for path in server.home.rglob("*") if path.is_file() and path.name not in KEEPERS)
    yield server.log
