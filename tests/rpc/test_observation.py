"""What is counted of every call: its result and its duration, and no label that a caller made up."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from keysvc.rpc.errors import CODES
from keysvc.rpc.observation import CallCounts, CallLine, rpc_of
from keysvc.service.trials import Result

VERIFY = "/keysvc.v1.CredentialService/VerifyHmac"
CREATE = "/keysvc.v1.MerchantService/CreateMerchant"
MERCHANT = "merchants/m"
ADMIN = "principals/admin"


class Observed:
    """Counts, and what they come to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counts = CallCounts([VERIFY, CREATE], self.registry)

    def tell(self, method: str = VERIFY, result: str = "VALID", code: str = "OK") -> None:
        self.counts.count([CallLine(1000.5, rpc_of(method), ADMIN, MERCHANT, result, code, 0.003, "")])

    def counted(self) -> dict[tuple[str, str, str], float]:
        """By rpc, code and result."""
        return {
            (sample.labels["rpc"], sample.labels["code"], sample.labels["result"]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "keysvc_calls_total"
        }


@pytest.fixture
def observed() -> Observed:
    return Observed()


def test_calls_are_counted_by_rpc_code_and_result(observed: Observed) -> None:
    for result, code in (("VALID", "OK"), ("VALID", "OK"), ("INVALID", "OK"), ("HSM_UNAVAILABLE", "UNAVAILABLE")):
        observed.tell(result=result, code=code)
    observed.tell(CREATE, "OK")
    assert {
        ("CredentialService/VerifyHmac", "OK", "VALID"): 2,
        ("CredentialService/VerifyHmac", "OK", "INVALID"): 1,
        ("CredentialService/VerifyHmac", "UNAVAILABLE", "HSM_UNAVAILABLE"): 1,
        ("MerchantService/CreateMerchant", "OK", "OK"): 1,
    } == observed.counted()


def test_durations_fall_into_buckets_from_a_tenth_of_a_millisecond_to_ten_seconds(observed: Observed) -> None:
    observed.tell()
    labels = {"rpc": "CredentialService/VerifyHmac"}
    below = {
        bound: observed.registry.get_sample_value("keysvc_call_seconds_bucket", {**labels, "le": bound})
        for bound in ("0.0001", "0.0025", "0.005", "10.0")
    }
    assert {"0.0001": 0, "0.0025": 0, "0.005": 1, "10.0": 1} == below
    assert 0.003 == observed.registry.get_sample_value("keysvc_call_seconds_sum", labels)


def test_every_reason_and_every_result_has_a_label_of_its_own(observed: Observed) -> None:
    told = {(error.reason, code.name) for error, code in CODES.items()} | {(str(each), "OK") for each in Result}
    told |= {("OK", "OK"), ("INTERNAL", "INTERNAL")}
    for result, code in told:
        observed.tell(result=result, code=code)
    assert told == {(result, code) for _, code, result in observed.counted()}


def test_what_nobody_knows_shares_one_label(observed: Observed) -> None:
    """However many methods, codes and results are made up, they make no series of their own."""
    for number in range(100):
        observed.tell(f"/keysvc.v1.CredentialService/Made{number}", f"RESULT_{number}", f"CODE_{number}")
    assert {("OTHER", "OTHER", "OTHER"): 100} == observed.counted()
