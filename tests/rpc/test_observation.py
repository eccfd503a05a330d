"""What is told of every call: its line, its count and its duration, and no label that a caller made up."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from keysvc.rpc.errors import CODES
from keysvc.rpc.observation import CallLine, Observer
from keysvc.service.verification import Result

VERIFY = "/keysvc.v1.CredentialService/VerifyHmac"
CREATE = "/keysvc.v1.MerchantService/CreateMerchant"
MERCHANT = "merchants/m"
ADMIN = "principals/admin"


class Observed:
    """An observer with what it wrote and counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lines: list[CallLine] = []
        self.observer = Observer([VERIFY, CREATE], self.registry, self.lines.append, lambda: 1000.5)

    def tell(self, method: str = VERIFY, result: str = "VALID", code: str = "OK", request_id: str = "") -> None:
        self.observer.told(method, ADMIN, MERCHANT, request_id, result, code, 0.003)

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


def test_a_call_becomes_a_line_with_its_names(observed: Observed) -> None:
    observed.tell()
    assert [
        CallLine(1000.5, "CredentialService/VerifyHmac", ADMIN, MERCHANT, "VALID", "OK", 0.003, "")
    ] == observed.lines  # fmt: skip


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


@pytest.mark.parametrize(
    ("sent", "written"),
    [("r-1", "r-1"), ("", ""), ("two words", ""), ("r\n{}", ""), ("r" * 65, "")],
    ids=["an id", "none", "a blank", "a newline", "too long"],
)
def test_only_a_request_id_that_is_an_id_is_written_down(observed: Observed, sent: str, written: str) -> None:
    observed.tell(request_id=sent)
    assert [written] == [line.request_id for line in observed.lines]


def test_no_call_of_many_threads_is_lost(observed: Observed) -> None:
    def call_often(_: int) -> None:
        for _ in range(2000):
            observed.tell()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call_often, range(8)))
    assert {("CredentialService/VerifyHmac", "OK", "VALID"): 16_000} == observed.counted()
    assert 16_000 == len(observed.lines)


def test_lines_carry_the_time_of_day() -> None:
    lines: list[CallLine] = []
    before = time.time()
    Observer([VERIFY], CollectorRegistry(), lines.append).told(VERIFY, ADMIN, MERCHANT, "", "VALID", "OK", 0.003)
    assert before <= lines[0].ended <= time.time()
