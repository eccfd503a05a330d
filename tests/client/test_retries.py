"""What is tried again, and what never is; and that a call ends at its deadline."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from client.either import Open
from client.scripted import VERIFY, Scripted, scripted, verified
from keysvc.client import Basic, CallFailed, Client
from keysvc.client.methods import METHODS

ADMIN = Basic.of("admin", "secret")
CHANGING = [name for name, method in METHODS.items() if not method.changes_nothing]
READING = [name for name, method in METHODS.items() if method.changes_nothing]


def failure(opened: Open, script: Scripted, method: str, timeout: float = 5.0) -> CallFailed:
    with opened(script.address, ADMIN) as client, pytest.raises(CallFailed) as failed:
        client.call(method, {}, timeout=timeout)
    return failed.value


def test_the_contract_says_what_changes_something() -> None:
    """A change that was marked otherwise by mistake would be carried out twice."""
    slots = ("Create", "Renew", "Revoke", "Import", "Swap", "Schedule")
    verbs = (*slots, "Update", "Disable", "Activate", "Suspend", "Terminate", "Request", "Approve", "Withdraw")
    assert [name for name in METHODS if name.partition("/")[2].startswith(verbs)] == CHANGING


def test_what_changes_nothing_is_tried_again_and_what_changes_something_is_not(opened: Open, script: Scripted) -> None:
    for name in METHODS:
        script.fail_first(name, 1)

    def outcome(name: str) -> str:
        with opened(script.address, ADMIN) as client:
            try:
                client.call(name, {})
            except CallFailed as failed:
                return failed.code
        return "OK"

    with ThreadPoolExecutor(8) as threads:
        told = dict(zip(METHODS, threads.map(outcome, METHODS), strict=True))
    assert {**dict.fromkeys(READING, "OK"), **dict.fromkeys(CHANGING, "UNAVAILABLE")} == told
    assert {**dict.fromkeys(READING, 2), **dict.fromkeys(CHANGING, 1)} == {name: script.count(name) for name in METHODS}


def test_after_four_attempts_the_last_error_is_told(opened: Open, script: Scripted) -> None:
    script.fail_first(VERIFY, 9)
    assert "HSM_UNAVAILABLE" == failure(opened, script, VERIFY).reason
    assert 4 == script.count(VERIFY)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE")])
def test_nothing_but_unavailable_is_tried_again(script: Scripted, code: grpc.StatusCode) -> None:
    script.refuse(VERIFY, code)
    assert code.name == failure(Client, script, VERIFY).code
    assert 1 == script.count(VERIFY)


def test_in_an_outage_retries_cease(script: Scripted) -> None:
    """A server that is down, or over its limits, is not met with four times the calls."""
    script.refuse(VERIFY, grpc.StatusCode.UNAVAILABLE)
    with Client(script.address, ADMIN) as client, ThreadPoolExecutor(60) as threads:
        tried = [threads.submit(client.call, VERIFY, {}) for _ in range(60)]
        assert {"UNAVAILABLE"} == {error.code for each in tried if isinstance(error := each.exception(), CallFailed)}
        before = script.count(VERIFY)
        with pytest.raises(CallFailed):
            client.call(VERIFY, {})
    assert 1 == script.count(VERIFY) - before


def test_a_call_ends_at_its_deadline_whatever_is_left_to_try(opened: Open, script: Scripted) -> None:
    script.fail_first(VERIFY, 9)
    begin = time.monotonic()
    failure(opened, script, VERIFY, timeout=0.25)
    assert 0.6 > time.monotonic() - begin


def test_an_answer_that_does_not_come_is_not_waited_for(opened: Open, script: Scripted) -> None:
    go = threading.Event()
    script.answers[VERIFY] = lambda request: (go.wait(10), verified(request))[1]
    with opened(script.address, timeout=0.2) as client, pytest.raises(CallFailed) as failed:
        client.verify_hmac("m", b"a", b"a")
    go.set()
    assert "DEADLINE_EXCEEDED" == failed.value.code


def test_a_large_request_is_tried_again_too(opened: Open, script: Scripted) -> None:
    """gRPC's own limit on what it keeps for a retry is 256 KiB."""
    script.fail_first(VERIFY, 1, verified)
    with opened(script.address, ADMIN) as client:
        assert client.verify_hmac("m", b"a" * 4_000_000, b"a" * 4_000_000)


def test_a_header_made_for_one_call_is_sent_once(opened: Open, script: Scripted) -> None:
    """A JWT works once: repeated, it would be refused, and hide why the first attempt failed."""
    script.fail_first(VERIFY, 1)
    numbers = iter(range(9))
    with opened(script.address, lambda: f"Bearer {next(numbers)}") as client:
        with pytest.raises(CallFailed, match="out of reach"):
            client.verify_hmac("m", b"a", b"a")
        client.verify_hmac("m", b"a", b"a")
    assert ["Bearer 0", "Bearer 1"] == script.headers


def test_a_server_that_is_soon_back_is_not_missed(opened: Open, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'socket'}"
    with scripted(address), opened(address, ADMIN) as client:
        client.verify_hmac("m", b"a", b"a")
    with ThreadPoolExecutor(1) as threads, opened(address, ADMIN) as client:
        waiting = threads.submit(client.verify_hmac, "m", b"a", b"a")
        time.sleep(0.2)
        with scripted(address) as script:
            script.answers[VERIFY] = verified
            assert waiting.result()


def test_a_server_that_is_away_is_told_and_not_waited_for(opened: Open, tmp_path: Path) -> None:
    with opened(f"unix:{tmp_path / 'nothing'}", ADMIN, timeout=20.0) as client:
        begin = time.monotonic()
        with pytest.raises(CallFailed) as failed:
            client.call("MerchantService/CreateMerchant", {"merchant_id": "m"})
        assert 2 > time.monotonic() - begin
    assert ("UNAVAILABLE", "", None) == (failed.value.code, failed.value.reason, failed.value.retry_after)
