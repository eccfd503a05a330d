"""Two replicas, one truth: what is changed on one holds on the other at once, and each does without the other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import pytest
from support.asking import ask, slot_of, verify_mac
from support.outside import mac_of
from support.server import Client
from support.timed import meanwhile
from support.waiting import code_of, until

from containers.stack import REPLICAS, STATE, Stack

FIRST, SECOND = REPLICAS
MESSAGE = b"*TID-1*shop*1234*EUR"
PRIMARY = "primary-hmac-key"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def first(stack: Stack) -> Iterator[Client]:
    with stack.client(FIRST) as client:
        yield client


@pytest.fixture(scope="module")
def second(stack: Stack) -> Iterator[Client]:
    with stack.client(SECOND) as client:
        yield client


@pytest.fixture
def merchant(first: Client) -> str:
    return first.active_merchant(f"container-{next(_numbers)}")


def created(client: Client, merchant: str) -> bytes:
    """A new key; a MAC of the message by it, made outside of keysvc."""
    return mac_by(ask(client, "CreateCredential", name=slot_of(merchant, PRIMARY)).secret)


def mac_by(secret: Any) -> bytes:
    return mac_of(bytes.fromhex(secret.value), MESSAGE)


@contextmanager
def called_meanwhile(call: Callable[[], str], threads: int = 1) -> Iterator[list[list[str]]]:
    """What the calls of each thread end with, one after another, for as long as the block lasts."""
    ended = [list[str]() for _ in range(threads)]

    def call_once(ended: list[str]) -> None:
        try:
            ended.append(call())
        except grpc.RpcError as error:
            ended.append(error.code().name)

    with meanwhile(*(partial(call_once, each) for each in ended), pause=0):
        yield ended


def test_a_revoked_key_is_refused_by_the_other_replica_at_once(first: Client, second: Client, merchant: str) -> None:
    for here, there in [(first, second), (second, first)] * 10:
        mac = created(here, merchant)
        assert "VALID" == verify_mac(there, merchant, MESSAGE, mac)
        ask(here, "RevokeCredential", name=slot_of(merchant, PRIMARY))
        assert "NO_LIVE_KEY" == verify_mac(there, merchant, MESSAGE, mac)


def test_a_merchant_suspended_on_one_is_suspended_on_the_other(first: Client, second: Client, merchant: str) -> None:
    mac = created(second, merchant)
    assert "VALID" == verify_mac(second, merchant, MESSAGE, mac)
    ask(first, "SuspendMerchant", name=merchant)
    assert "MERCHANT_NOT_ACTIVE" == verify_mac(second, merchant, MESSAGE, mac)


def test_a_rotation_walked_on_one_replica_is_seen_on_the_other(
    stack: Stack, first: Client, second: Client, merchant: str
) -> None:
    """`keysvc rotate` in the container of the first; receivers and senders call the second."""
    rotate = ("keysvc", "rotate", merchant.removeprefix("merchants/"), "--yes", "--secret-file", f"{STATE}/new-key")
    old = created(first, merchant)
    assert "VALID" == verify_mac(second, merchant, MESSAGE, old)

    stopped = stack.run(FIRST, *rotate)
    assert (3, b"") == (stopped.returncode, re.sub(rb"keysvc: stopped: .*\n", b"", stopped.stderr))
    new = mac_of(bytes.fromhex(stack.file("new-key").decode()), MESSAGE)
    assert ("VALID", "VALID") == (
        verify_mac(second, merchant, MESSAGE, old),
        verify_mac(second, merchant, MESSAGE, new),
    )
    assert old == ask(second, "GenerateHmac", name=merchant, message=MESSAGE).mac

    swapped = stack.run(FIRST, *rotate)
    assert 3 == swapped.returncode
    assert new == ask(second, "GenerateHmac", name=merchant, message=MESSAGE).mac

    done = stack.run(FIRST, *rotate, "--unused-hours", "0", "--wait", "20")
    assert (0, b"") == (done.returncode, done.stderr)
    assert ("INVALID", "VALID") == (
        verify_mac(second, merchant, MESSAGE, old),
        verify_mac(second, merchant, MESSAGE, new),
    )


def test_a_replica_that_is_killed_takes_no_call_of_the_other_with_it(
    stack: Stack, first: Client, second: Client, merchant: str
) -> None:
    mac = created(first, merchant)
    with called_meanwhile(lambda: verify_mac(second, merchant, MESSAGE, mac)) as [ended]:
        until(lambda: len(ended) > 20)
        stack.docker("kill", FIRST)
        assert grpc.StatusCode.UNAVAILABLE == code_of(lambda: verify_mac(first, merchant, MESSAGE, mac))
        so_far = len(ended)
        until(lambda: len(ended) > so_far + 50)
    assert {"VALID"} == set(ended)
    renewed = ask(second, "RenewCredential", name=slot_of(merchant, PRIMARY))

    stack.docker("start", FIRST)
    stack.await_health(FIRST, "healthy")
    with stack.client(FIRST) as again:
        assert "INVALID" == verify_mac(again, merchant, MESSAGE, mac)
        assert "VALID" == verify_mac(again, merchant, MESSAGE, mac_by(renewed.secret))


def test_sigterm_ends_calls_before_the_process_and_the_exit_code_is_0(
    stack: Stack, second: Client, merchant: str
) -> None:
    mac = created(second, merchant)
    try:
        with called_meanwhile(lambda: verify_mac(second, merchant, MESSAGE, mac), threads=8) as ended:
            until(lambda: all(len(calls) > 20 for calls in ended))
            stack.docker("stop --time 25", SECOND)
        state = stack.inspect(SECOND)["State"]
        assert (0, False) == (state["ExitCode"], state["OOMKilled"])
        for calls in ended:
            answered = calls.index("UNAVAILABLE")
            assert ({"VALID"}, {"UNAVAILABLE"}) == (set(calls[:answered]), set(calls[answered:]))
    finally:
        stack.docker("start", SECOND)
        stack.await_health(SECOND, "healthy")


def test_without_the_database_the_probe_tells_and_nothing_is_restarted(
    stack: Stack, first: Client, merchant: str
) -> None:
    mac = created(first, merchant)
    restarts = stack.inspect(FIRST)["RestartCount"]
    stack.docker("stop", "db")
    try:
        until(lambda: 3 == stack.run(FIRST, "keysvc-probe").returncode)
        alive = stack.run(FIRST, "keysvc-probe", "--alive")
        assert (0, b"NOT_SERVING\n") == (alive.returncode, alive.stdout)
        assert grpc.StatusCode.UNAVAILABLE == code_of(lambda: verify_mac(first, merchant, MESSAGE, mac))
    finally:
        stack.docker("start", "db")
    until(lambda: 0 == stack.run(FIRST, "keysvc-probe").returncode, 60)
    assert "VALID" == verify_mac(first, merchant, MESSAGE, mac)
    assert restarts == stack.inspect(FIRST)["RestartCount"]
