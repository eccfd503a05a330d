"""Concurrent verifications go together, and each caller gets its own answer, error and deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.asking import ask, slot_of
from support.server import Client as ServersClient
from support.server import DevServer

from client.either import Open
from client.scripted import BATCH, THREADS, VERIFY, Scripted, batch_verified, unavailable
from keysvc.client import AsyncClient, Basic, Batching, CallFailed, Client, Verdict

CALLERS = THREADS
Verify = tuple[str, bytes, bytes]


PROOF = Basic.of("admin", "password")


def everybody(address: str, client: Open, verifies: list[Verify], **options: Any) -> list[Verdict | CallFailed]:
    """All at once, on one client: by threads, or by tasks."""
    options.setdefault("authorization", PROOF)
    return by_threads(address, verifies, **options) if client is Client else by_tasks(address, verifies, **options)


def by_threads(address: str, verifies: list[Verify], **options: Any) -> list[Verdict | CallFailed]:
    def outcome(verify: Verify) -> Verdict | CallFailed:
        try:
            return client.verify_hmac(*verify)
        except CallFailed as failed:
            return failed

    with Client(address, **options) as client, ThreadPoolExecutor(CALLERS) as threads:
        return list(threads.map(outcome, verifies))


def by_tasks(address: str, verifies: list[Verify], **options: Any) -> list[Verdict | CallFailed]:
    async def outcome(calling: Awaitable[Verdict]) -> Verdict | CallFailed:
        try:
            return await calling
        except CallFailed as failed:
            return failed

    async def run() -> list[Verdict | CallFailed]:
        async with AsyncClient(address, **options) as client:
            return list(await asyncio.gather(*(outcome(client.verify_hmac(*verify)) for verify in verifies)))

    return asyncio.run(run())


def sizes(script: Scripted) -> list[int]:
    return [len(request.requests) for request in script.requests if hasattr(request, "requests")]


def slowly(seconds: float) -> Callable[[Any], Any]:
    def answer(request: Any) -> Any:
        time.sleep(seconds)
        return batch_verified(request)

    return answer


@pytest.fixture
def held(script: Scripted) -> Iterator[threading.Event]:
    """Batches are answered once this is set."""
    go = threading.Event()
    script.answers[BATCH] = lambda request: (go.wait(10), batch_verified(request))[1]
    yield go
    go.set()


def test_each_caller_gets_its_own_answer(opened: Open, script: Scripted) -> None:
    """Every other MAC is wrong; the version of the answer is the message's length."""
    script.answers[BATCH] = slowly(0.02)
    verifies = [("m", b"ab" * number, (b"ba" if number % 2 else b"no") * number) for number in range(1, 201)]
    told = everybody(script.address, opened, verifies, batching=Batching())
    assert [2 * number if number % 2 else 0 for number in range(1, 201)] == [
        verdict.version if isinstance(verdict, Verdict) else verdict for verdict in told
    ]


def test_what_comes_while_batches_are_under_way_goes_together(opened: Open, script: Scripted) -> None:
    script.answers[BATCH] = slowly(0.1)
    everybody(script.address, opened, [("m", b"a", b"a")] * CALLERS, batching=Batching())
    assert [1, 1] == sizes(script)[:2]
    assert CALLERS == sum(sizes(script))
    assert 8 > script.count(BATCH)
    assert 0 == script.count(VERIFY)


def test_a_batch_holds_no_more_than_asked_for(opened: Open, script: Scripted) -> None:
    script.answers[BATCH] = slowly(0.05)
    everybody(script.address, opened, [("m", b"a", b"a")] * CALLERS, batching=Batching(max_items=10, in_flight=1))
    assert (CALLERS, 10) == (sum(sizes(script)), max(sizes(script)))


def test_no_more_batches_are_under_way_than_asked_for(opened: Open, script: Scripted) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def counted(request: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return batch_verified(request)

    script.answers[BATCH] = counted
    everybody(script.address, opened, [("m", b"a", b"a")] * CALLERS, batching=Batching(max_items=4, in_flight=3))
    assert 3 == most


def test_a_batch_is_parted_by_its_bytes(opened: Open, script: Scripted) -> None:
    script.answers[BATCH] = slowly(0.02)
    message = b"a" * 30_000
    told = everybody(
        script.address, opened, [("m", message, message)] * 300, batching=Batching(max_items=1000, in_flight=1)
    )
    assert all(told)
    batches = [request.ByteSize() for request in script.requests]
    assert 4_200_000 > max(batches) > 1_000_000


def test_a_large_message_goes_on_its_own(opened: Open, script: Scripted) -> None:
    script.answers[BATCH] = batch_verified
    with opened(script.address, batching=Batching()) as client:
        client.verify_hmac("m", b"a" * 65_536, b"a")
        client.verify_hmac("m", b"a" * 1000, b"a")
    assert [VERIFY, BATCH] == script.calls


def test_keysvc_answers_each_caller_of_a_batch(
    opened: Open, server: DevServer, credentials: Path, client: ServersClient, merchant: str
) -> None:
    """Right and wrong MACs, a merchant that is not there, and a name that is none."""
    ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key"))
    mac = ask(client, "GenerateHmac", name=merchant, message=b"a").mac
    verifies = [(merchant, b"a", mac), (merchant, b"b", mac), ("merchants/nobody", b"a", mac), ("a b", b"a", mac)]
    proof = Basic.from_file(credentials)
    told = everybody(server.address, opened, verifies * 50, authorization=proof, batching=Batching(), timeout=20.0)
    assert ["VALID", "INVALID", "NOT_FOUND", "INVALID_FIELD"] * 50 == [
        outcome.reason if isinstance(outcome, CallFailed) else outcome.result for outcome in told
    ]


def test_an_item_that_fails_harms_no_other(opened: Open, script: Scripted) -> None:
    script.answers[BATCH] = slowly(0.05)
    verifies = [("bad" if number % 5 == 0 else "m", b"a", b"a") for number in range(CALLERS)]
    told = everybody(script.address, opened, verifies, batching=Batching())
    assert [("NOT_FOUND", "NOT_FOUND") if number % 5 == 0 else True for number in range(CALLERS)] == [
        (outcome.code, outcome.reason) if isinstance(outcome, CallFailed) else bool(outcome) for outcome in told
    ]


def test_a_batch_that_is_refused_fails_its_callers_with_an_error_each(opened: Open, script: Scripted) -> None:
    script.refuse(BATCH, grpc.StatusCode.PERMISSION_DENIED, "May not verify", "PERMISSION_DENIED")
    told = everybody(script.address, opened, [("m", b"a", b"a")] * CALLERS, batching=Batching())
    assert {("PERMISSION_DENIED", "May not verify")} == {(error.code, error.message) for error in failures(told)}
    assert CALLERS == len({id(error) for error in told})


def failures(told: list[Verdict | CallFailed]) -> list[CallFailed]:
    assert [] == [outcome for outcome in told if not isinstance(outcome, CallFailed)]
    return [outcome for outcome in told if isinstance(outcome, CallFailed)]


def test_a_batch_is_tried_again_while_the_server_is_unavailable(opened: Open, script: Scripted) -> None:
    script.fail_first(BATCH, 2, batch_verified)
    assert all(everybody(script.address, opened, [("m", b"a", b"a")] * 4, batching=Batching(in_flight=1)))


def test_an_answer_with_too_few_results_leaves_nobody_waiting(opened: Open, script: Scripted) -> None:
    script.answers[BATCH] = lambda request: type(batch_verified(request))()
    with opened(script.address, batching=Batching()) as client, pytest.raises(CallFailed) as failed:
        client.verify_hmac("m", b"a", b"a")
    assert "INTERNAL" == failed.value.code


def test_a_proof_that_cannot_be_made_is_told_to_who_waits_for_it(opened: Open, script: Scripted) -> None:
    def broken() -> str:
        raise LookupError("no key today")

    with opened(script.address, broken, batching=Batching()) as client:
        for _ in range(3):  # more than may be under way: none was left so
            with pytest.raises(LookupError, match="no key today"):
                client.verify_hmac("m", b"a", b"a")


def test_each_caller_has_its_own_deadline(script: Scripted, held: threading.Event) -> None:
    """The first two are under way, the others wait. Who gives up is not sent any more."""
    with Client(script.address, batching=Batching()) as client, ThreadPoolExecutor(8) as threads:
        patient = [threads.submit(client.verify_hmac, "m", b"a", b"a", timeout=10) for _ in range(3)]
        hasty = [threads.submit(client.verify_hmac, "m", b"b", b"b", timeout=0.1) for _ in range(3)]
        assert {"DEADLINE_EXCEEDED"} == {code_of(each.exception()) for each in hasty}
        held.set()
        assert all(each.result() for each in patient)
    assert [1, 1, 1] == sizes(script)


def test_tasks_have_deadlines_of_their_own_and_may_be_cancelled(script: Scripted, held: threading.Event) -> None:
    async def run() -> list[Any]:
        async with AsyncClient(script.address, batching=Batching()) as client:

            def verify(timeout: float) -> asyncio.Task[Verdict]:
                return asyncio.create_task(client.verify_hmac("m", b"a", b"a", timeout=timeout))

            tasks = [*(verify(10) for _ in range(4)), verify(0.1)]
            await asyncio.sleep(0.2)
            tasks[2].cancel()
            await asyncio.sleep(0)
            held.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, cancelled, last, late = asyncio.run(run())
    assert [True] * 3 == [bool(first), bool(second), bool(last)]
    assert isinstance(cancelled, asyncio.CancelledError)
    assert "DEADLINE_EXCEEDED" == code_of(late)
    assert [1, 1, 1] == sizes(script)


@pytest.mark.parametrize("batching", [None, Batching()])
def test_closing_ends_calls_under_way_and_those_that_wait(
    script: Scripted, held: threading.Event, batching: Batching | None
) -> None:
    script.answers[VERIFY] = lambda _: held.wait(10)  # type: ignore[assignment, return-value]
    with ThreadPoolExecutor(8) as threads:
        client = Client(script.address, batching=batching)
        waiting = [threads.submit(client.verify_hmac, "m", b"a", b"a") for _ in range(5)]
        time.sleep(0.1)
        client.close()
        assert {"CANCELLED"} == {code_of(each.exception(1)) for each in waiting}
        held.set()


@pytest.mark.parametrize("batching", [None, Batching()])
def test_closing_ends_tasks_under_way_and_those_that_wait(
    script: Scripted, held: threading.Event, batching: Batching | None
) -> None:
    script.answers[VERIFY] = lambda _: held.wait(10)  # type: ignore[assignment, return-value]

    async def run() -> list[Any]:
        client = AsyncClient(script.address, batching=batching)
        tasks = [asyncio.create_task(client.verify_hmac("m", b"a", b"a")) for _ in range(5)]
        await asyncio.sleep(0.1)
        await client.close()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)

    told = asyncio.run(run())
    held.set()
    assert {"CANCELLED"} == {code_of(each) for each in told}


@pytest.mark.parametrize("wrong", [{"max_items": 0}, {"max_items": 1001}, {"in_flight": 0}])
def test_limits_that_the_contract_does_not_take_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_items of 1 to 1000"):
        Batching(**wrong)


def test_a_restart_between_batches_is_not_noticed(opened: Open, script: Scripted) -> None:
    left = iter([True])

    def away_once(request: Any) -> Any:
        if next(left, False):
            raise unavailable()
        return batch_verified(request)

    script.answers[BATCH] = away_once
    assert all(everybody(script.address, opened, [("m", b"a", b"a")] * 20, batching=Batching(max_items=5)))


def code_of(error: Any) -> str:
    assert isinstance(error, CallFailed), error
    return error.code
