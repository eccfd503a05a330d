"""A token that fails in every way, under clients that go on: no wrong answer, a reason in time, and back by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from support import healthcheck
from support.askers import ANSWER_SECONDS, MESSAGE, Askers, Merchant
from support.asking import ask, refused, slot_of, verify_mac
from support.faulty import FOR_EVER, Answer, Faults, Place
from support.server import Client, DevServer
from support.waiting import until

THREADS = 6
NETWORK_SECONDS = 0.0005
"""A token that takes as long for a MAC may hang, and keysvc does not: it is called with the GIL let go."""
FAULT_SECONDS = 2.5
"""Longer than the health check takes to find a token that hangs, with a machine that is busy."""
SETTLED_SECONDS = 6.0

Order = Callable[[Faults], None]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults") / "orders", NETWORK_SECONDS)


@pytest.fixture(scope="module")
def running(faults: Faults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    home = tmp_path_factory.mktemp("faulty") / "home"
    server = DevServer(home, KEYSVC_THREADS=str(THREADS), **faults.settings).start()
    yield server
    assert 0 == server.stop()


@pytest.fixture
def broken(running: DevServer, faults: Faults) -> Iterator[DevServer]:
    """The server, well before and after the test."""
    with running.client() as client:
        until(lambda: serving(client))
        running.log.write_text("")
        yield running
        faults.none()
        until(lambda: serving(client))


@pytest.fixture
def merchant(broken: DevServer, merchant_ids: Callable[[], str]) -> Merchant:
    with broken.client() as client:
        return Merchant(client, merchant_ids())


def serving(client: Client) -> bool:
    return healthcheck.SERVING == healthcheck.check(client.channel)


def assert_well_again(askers: Askers, client: Client) -> None:
    """Within seconds of the fault's end, verifications and changes alike."""
    begin, changed, valid = time.monotonic(), askers.changed, askers.answers["VALID"]
    until(lambda: askers.answers["VALID"] > valid and askers.changed > changed and serving(client), SETTLED_SECONDS)
    # What was asked while the fault lasted may be told so a little later; from then on nothing is refused.
    time.sleep(max(0.0, begin + ANSWER_SECONDS - time.monotonic()))
    refused_before = askers.answers["HSM_UNAVAILABLE"]
    time.sleep(0.3)
    assert refused_before == askers.answers["HSM_UNAVAILABLE"]


def assert_nothing_wrong(askers: Askers, server: DevServer, *words: str) -> None:
    assert [] == askers.wrong
    assert askers.slowest < ANSWER_SECONDS
    log = server.log.read_text()
    assert [] == [word for word in words if word not in log]
    shown = [*askers.merchant.secrets, (server.home / "pin").read_text()]
    assert [] == [secret for secret in shown if secret in log]


def gone(faults: Faults) -> None:
    faults.gone(Answer.DEVICE_REMOVED)


def hanging(faults: Faults) -> None:
    faults.hang(Place.SIGN)


def hanging_everywhere(faults: Faults) -> None:
    for place in Place:
        faults.hang(place)


def without_sessions(faults: Faults) -> None:
    faults.answer(Place.OPEN_SESSION, Answer.SESSION_COUNT)
    faults.poison(FOR_EVER)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (gone, ("DeviceRemoved", "hsm.recovered")),
        (hanging, ("hsm.late", "the token does not answer", "hsm.recovered")),
        pytest.param(
            hanging_everywhere, ("hsm.late", "the token does not answer", "hsm.recovered"), marks=pytest.mark.long
        ),
        (without_sessions, ("FunctionFailed", "SessionCount", "hsm.recovered")),
    ],
)
def test_a_token_that_fails_altogether_is_told_and_used_again(
    broken: DevServer, faults: Faults, merchant: Merchant, order: Order, words: tuple[str, ...]
) -> None:
    with broken.client() as client, Askers(broken, merchant) as askers:
        until(lambda: askers.answers["VALID"] > 0 and askers.changed > 1)
        order(faults)
        until(lambda: not serving(client), FAULT_SECONDS + ANSWER_SECONDS)
        time.sleep(0.5)
        valid, refusals = askers.answers["VALID"], askers.answers["HSM_UNAVAILABLE"]
        time.sleep(0.5)
        assert valid == askers.answers["VALID"]
        assert refusals < askers.answers["HSM_UNAVAILABLE"], "told at once, so again and again"
        assert not serving(client)
        faults.none()
        assert_well_again(askers, client)
    assert_nothing_wrong(askers, broken, *words)


def one_call_hangs(faults: Faults) -> None:
    faults.hang(Place.SIGN, 1)


def one_unwrapping_fails(faults: Faults) -> None:
    faults.answer(Place.UNWRAP_KEY, Answer.DEVICE_ERROR, 1)


def one_session_is_poisoned(faults: Faults) -> None:
    faults.poison(1)


def one_session_is_refused(faults: Faults) -> None:
    faults.answer(Place.OPEN_SESSION, Answer.SESSION_COUNT, 1)
    faults.poison(1)


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (one_call_hangs, "hsm.late"),
        (one_unwrapping_fails, "DeviceError"),
        (one_session_is_poisoned, "hsm.fault"),
        (one_session_is_refused, "SessionCount"),
    ],
)
def test_one_operation_that_fails_costs_its_call_and_no_other(
    broken: DevServer, faults: Faults, merchant: Merchant, order: Order, word: str
) -> None:
    with broken.client() as client, Askers(broken, merchant) as askers:
        until(lambda: askers.answers["VALID"] > 0 and askers.changed > 1)
        order(faults)
        until(lambda: word in broken.log.read_text())
        valid, well = askers.answers["VALID"], []
        until(lambda: well.append(serving(client)) or (len(well) > 60 and askers.answers["VALID"] > valid + 5))  # type: ignore[func-returns-value]
    assert {True} == set(well), "one that fails does not take the replica out"
    assert askers.answers["HSM_UNAVAILABLE"] <= 1, broken.log.read_text()
    assert_nothing_wrong(askers, broken, word)


def test_a_token_that_computes_wrong_macs_makes_none_valid_and_is_told_of(
    broken: DevServer, faults: Faults, merchant: Merchant
) -> None:
    """Until the health check's known answer tells, a right MAC may be called wrong: nobody could know better."""
    with broken.client() as client:
        assert "VALID" == verify_mac(client, merchant.name, MESSAGE, merchant.mac)
        faults.flip(FOR_EVER)
        begin = time.monotonic()
        assert "INVALID" == verify_mac(client, merchant.name, MESSAGE, merchant.mac[:-1] + b"\0")
        until(lambda: not serving(client), SETTLED_SECONDS)
        assert time.monotonic() - begin < SETTLED_SECONDS
        for mac in (merchant.mac, merchant.wrong_mac):
            told = refused(client, "VerifyHmac", name=merchant.name, message=MESSAGE, mac=mac)
            assert "HSM_UNAVAILABLE" == told.reason
        faults.none()
        until(lambda: serving(client), SETTLED_SECONDS)
        assert "VALID" == verify_mac(client, merchant.name, MESSAGE, merchant.mac)
    assert "wrong HMAC" in broken.log.read_text()


@pytest.mark.parametrize("how", ["fails", pytest.param("hangs", marks=pytest.mark.long)])
def test_a_change_that_meets_a_fault_midway_leaves_nothing(
    broken: DevServer, faults: Faults, merchant: Merchant, how: str
) -> None:
    empty = {"secondary-hmac-key": Place.WRAP_KEY, "api-password": Place.GENERATE_RANDOM}
    full = {"primary-hmac-key": Place.GENERATE_KEY}
    with broken.client() as client:
        before = ask(client, "ListCredentials", parent=merchant.name)
        for slot, place in (*empty.items(), *full.items()):
            method = "CreateCredential" if slot in empty else "RenewCredential"
            asked = {"name": slot_of(merchant.name, slot), "request_id": f"{merchant.name[10:]}-{slot}"}
            if how == "hangs":
                faults.hang(place, 1)
            else:
                faults.answer(place, Answer.FUNCTION_FAILED, 1)
            begin = time.monotonic()
            told = refused(client, method, **asked)
            assert (grpc.StatusCode.UNAVAILABLE, "HSM_UNAVAILABLE") == (told.code, told.reason)
            assert time.monotonic() - begin < ANSWER_SECONDS
            assert before == ask(client, "ListCredentials", parent=merchant.name)
            faults.none()
            until(lambda place=place: 0 == faults.waiting(place))  # type: ignore[misc]
            assert before == ask(client, "ListCredentials", parent=merchant.name), "nor when it comes back at last"
        assert "VALID" == verify_mac(client, merchant.name, MESSAGE, merchant.mac)
        for slot in (*empty, *full):
            method = "CreateCredential" if slot in empty else "RenewCredential"
            asked = {"name": slot_of(merchant.name, slot), "request_id": f"{merchant.name[10:]}-{slot}"}
            assert ask(client, method, **asked).secret.value, "the request_id was not used up"


def test_a_token_that_is_made_anew_under_the_service_is_not_gone_on_with_until_its_keys_are_back(
    broken: DevServer, merchant: Merchant, tmp_path: Path
) -> None:
    """As an operator would do it, from another process. What he saved before is what brings the keys back."""
    tokens, saved, pin = broken.home / "tokens", tmp_path / "saved", (broken.home / "pin").read_text()
    shutil.copytree(tokens, saved)
    with broken.client() as client, Askers(broken, merchant) as askers:
        until(lambda: askers.answers["VALID"] > 0)
        until(lambda: made_anew(broken.home, pin))
        until(lambda: not serving(client))
        shutil.rmtree(tokens)
        shutil.copytree(saved, tokens)
        assert_well_again(askers, client)
    assert_nothing_wrong(askers, broken, "keysvc init", "hsm.recovered")


def made_anew(home: Path, pin: str) -> bool:
    """SoftHSM refuses it at times while another process looks at the token: an operator would try again."""
    done = subprocess.run(
        ["softhsm2-util", "--init-token", "--token", "keysvc", "--label", "keysvc", "--so-pin", pin, "--pin", pin],
        check=False, capture_output=True, text=True, env={**os.environ, "SOFTHSM2_CONF": str(home / "softhsm2.conf")},
    )  # fmt: skip
    print(done.stderr)
    return done.returncode == 0


def test_the_health_is_told_while_every_thread_is_busy(broken: DevServer, faults: Faults, merchant: Merchant) -> None:
    """A replica that is slow is not unwell: whoever asks for its health does not wait behind its calls."""
    with broken.client() as client, ThreadPoolExecutor(3 * THREADS) as pool:
        slot = slot_of(merchant.name, "encryption-password")
        ask(client, "CreateCredential", name=slot)
        faults.slow(Place.GENERATE_RANDOM, 0.4)
        busy = [pool.submit(ask, client, "Encrypt", name=slot, plaintext=b"x") for _ in range(3 * THREADS)]
        until(lambda: faults.waiting(Place.GENERATE_RANDOM) == THREADS)
        begin = time.monotonic()
        assert serving(client)
        assert time.monotonic() - begin < 0.3
        faults.slow(Place.GENERATE_RANDOM, 0, 0)
        assert all(each.result().ciphertext for each in busy)
