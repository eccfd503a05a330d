"""What SoftHSM never does by itself, done to a `Token`: hangs, sessions refused, operations that fail midway."""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pkcs11 import Session
from support.faulty import FOR_EVER, VARIABLE, Answer, Faults, Place, built
from support.softhsm import Tokens
from support.trouble import ANSWER_SECONDS, assert_unavailable_soon
from support.waiting import until
from support.wrapped import SHA256, adopted

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.keys import WrappedKey
from keysvc.hsm.module import Module
from keysvc.hsm.token import Token

KEY, NEW_KEY = bytes(range(32)), bytes(range(100, 132))
MAC = hmac.digest(KEY, b"order 1", "sha256")
NEW_MAC = hmac.digest(NEW_KEY, b"order 1", "sha256")
NETWORK_SECONDS = 0.0005
"""A token that takes as long for a MAC is called with the GIL let go."""
SETTLED_SECONDS = 5.0


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """The one page of the process: the module maps what it is told of when it is loaded, once."""
    return Faults(tmp_path_factory.mktemp("faults") / "orders")


@pytest.fixture(scope="module")
def faulty(tokens: Tokens, shared_config: TokenConfig, orders: Faults) -> Iterator[tuple[Module, Faults]]:
    """SoftHSM behind the faulty module, in the place of the one that other tests share: a process has one SoftHSM."""
    faults = orders
    tokens.module._call(Place.FINALIZE, None)
    os.environ[VARIABLE] = str(faults.path)
    module = Module(str(built()))
    yield module, faults
    del os.environ[VARIABLE]
    module._call(Place.FINALIZE, None)
    tokens.module.reset()


@pytest.fixture
def faults(faulty: tuple[Module, Faults]) -> Iterator[Faults]:
    yield faulty[1]
    faulty[1].none()
    faulty[0].reset()


@pytest.fixture
def token(faulty: tuple[Module, Faults], faults: Faults, shared_config: TokenConfig) -> Iterator[Token]:
    """Four sessions with a token that seems to be across a network."""
    faults.slow(Place.SIGN, NETWORK_SECONDS)
    opened = Token(faulty[0], shared_config)
    assert not opened._sessions.connection.signer.holding
    faults.none()
    yield opened
    faults.none()
    until(lambda: all(0 == faults.waiting(place) for place in Place))
    opened.close()


def used_and_new(token: Token) -> tuple[WrappedKey, WrappedKey]:
    """A key that the token has unwrapped, and one that it has not."""
    used, new = adopted(token, KEY), adopted(token, NEW_KEY)
    assert MAC == token.hmac(used, b"order 1")
    return used, new


def heals(token: Token) -> None:
    """By itself and soon, as the health check would have it."""
    until(lambda: token.heal() is None, SETTLED_SECONDS)


def in_threads(threads: ThreadPoolExecutor, token: Token, key: WrappedKey, calls: int) -> list[float]:
    """Calls that all end in HsmUnavailable, at once; how long each took."""

    def call(_: int) -> float:
        begin = time.monotonic()
        assert_unavailable_soon(lambda: token.hmac(key, b"order 1"))
        return time.monotonic() - begin

    return list(threads.map(call, range(calls)))


def test_a_call_that_hangs_is_left_behind_and_the_others_go_on(token: Token, faults: Faults) -> None:
    used, _ = used_and_new(token)
    logins = faults.calls(Place.LOGIN)
    faults.hang(Place.SIGN, 1)
    assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    for _ in range(20):
        assert MAC == token.hmac(used, b"order 1")
    assert token.heal() is None
    assert 1 == token.figures().sessions_in_use
    faults.none()
    until(lambda: 0 == token.figures().sessions_in_use)
    assert (4, logins) == (token.figures().sessions, faults.calls(Place.LOGIN))


def test_a_token_that_hangs_altogether_is_told_at_once_and_goes_on_with_all_it_held(
    token: Token, faults: Faults
) -> None:
    used, _ = used_and_new(token)
    logins = faults.calls(Place.LOGIN)
    faults.hang(Place.SIGN)
    with ThreadPoolExecutor(16) as threads:
        in_threads(threads, token, used, 16)
        assert token.heal() is not None
        assert all(seconds < 0.5 for seconds in in_threads(threads, token, used, 16))
    assert "does not answer" in str(token.heal())
    faults.none()
    heals(token)
    assert MAC == token.hmac(used, b"order 1")
    assert (4, logins) == (token.figures().sessions, faults.calls(Place.LOGIN))


def test_the_health_check_finds_a_token_that_hangs_before_a_call_does(token: Token, faults: Faults) -> None:
    used, _ = used_and_new(token)
    faults.hang(Place.SIGN)
    assert "does not answer" in str(token.heal())
    assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    faults.none()
    heals(token)


def test_a_self_test_that_fails_for_a_moment_is_no_trouble(token: Token, faults: Faults) -> None:
    """As SoftHSM's does while another process logs in."""
    logins = faults.calls(Place.LOGIN)
    faults.answer(Place.GET_TOKEN_INFO, Answer.GENERAL_ERROR)
    over = threading.Timer(0.03, faults.none)
    over.start()
    assert token.heal() is None
    over.join()
    assert logins == faults.calls(Place.LOGIN)


def test_an_unwrapping_that_hangs_keeps_no_key_in_use_waiting(token: Token, faults: Faults) -> None:
    used, new = used_and_new(token)
    faults.hang(Place.UNWRAP_KEY, 1)
    with ThreadPoolExecutor(4) as threads:
        in_threads(threads, token, new, 4)
        assert MAC == token.hmac(used, b"order 1")
    assert "unwrapped" in str(token.heal())
    assert MAC == token.hmac(used, b"order 1")
    faults.none()
    heals(token)
    assert NEW_MAC == token.hmac(new, b"order 1")


def test_a_session_that_the_token_does_not_give_is_gone_without(token: Token, faults: Faults) -> None:
    used, _ = used_and_new(token)
    logins = faults.calls(Place.LOGIN)
    faults.answer(Place.OPEN_SESSION, Answer.SESSION_COUNT)
    faults.poison(2)
    for _ in range(2):
        assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    until(lambda: (2, 0) == (token.figures().sessions, token.figures().sessions_in_use))
    for _ in range(8):
        assert MAC == token.hmac(used, b"order 1")
    assert token.heal() is None
    assert 2 == token.figures().sessions
    faults.none()
    assert token.heal() is None
    assert (4, logins) == (token.figures().sessions, faults.calls(Place.LOGIN))
    assert MAC == token.hmac(used, b"order 1")


def test_without_any_session_the_token_is_looked_for(token: Token, faults: Faults) -> None:
    used, _ = used_and_new(token)
    faults.answer(Place.OPEN_SESSION, Answer.SESSION_COUNT)
    faults.poison(4)
    for _ in range(5):
        assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    assert "SessionCount" in str(token.heal())
    faults.none()
    heals(token)
    assert (4, MAC) == (token.figures().sessions, token.hmac(used, b"order 1"))


def test_an_operation_that_fails_midway_costs_one_call(token: Token, faults: Faults) -> None:
    """Also with the code of a token that is gone: that it opens another session says that it is not."""
    used, _ = used_and_new(token)
    logins = faults.calls(Place.LOGIN)
    orders: list[Callable[[], None]] = [
        lambda: faults.poison(1),
        lambda: faults.answer(Place.SIGN, Answer.DEVICE_ERROR, 1),
    ]
    for order in orders:
        order()
        assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
        for _ in range(8):
            assert MAC == token.hmac(used, b"order 1")
    assert token.heal() is None
    assert logins == faults.calls(Place.LOGIN)


def test_one_test_that_fails_takes_no_service_down(token: Token, faults: Faults) -> None:
    logins = faults.calls(Place.LOGIN)
    faults.poison(1)
    assert token.heal() is None
    faults.hang(Place.SIGN, 1)
    assert token.heal() is None
    assert logins == faults.calls(Place.LOGIN)


@pytest.mark.parametrize("answer", [Answer.DEVICE_REMOVED, Answer.TOKEN_NOT_PRESENT, Answer.GENERAL_ERROR])
def test_a_token_that_answers_nothing_but_that_it_is_gone_is_used_again_when_it_is_back(
    token: Token, faults: Faults, answer: Answer
) -> None:
    used, new = used_and_new(token)
    faults.gone(answer)
    for _ in range(6):
        assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    assert token.heal() is not None
    assert_unavailable_soon(lambda: token.generate(SHA256, None))
    faults.none()
    heals(token)
    assert [MAC, NEW_MAC] == [token.hmac(used, b"order 1"), token.hmac(new, b"order 1")]


def test_a_token_that_computes_wrong_macs_is_not_gone_on_with(token: Token, faults: Faults) -> None:
    used, _ = used_and_new(token)
    faults.flip(FOR_EVER)
    assert token.heal() is not None
    assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    faults.none()
    heals(token)
    assert MAC == token.hmac(used, b"order 1")


def test_a_reset_that_hangs_keeps_no_call_waiting(faulty: tuple[Module, Faults], token: Token, faults: Faults) -> None:
    used, _ = used_and_new(token)
    faulty[0].reset()
    faults.hang(Place.INITIALIZE)
    with ThreadPoolExecutor(8) as threads:
        in_threads(threads, token, used, 8)
    assert "reset" in str(token.heal())
    faults.none()
    heals(token)
    assert MAC == token.hmac(used, b"order 1")


def test_the_module_is_not_finalised_under_a_call_that_hangs(token: Token, faults: Faults) -> None:
    """It could crash the process (PKCS#11 2.40 section 5.4, C_Finalize)."""
    used, _ = used_and_new(token)
    finalised = faults.calls(Place.FINALIZE)
    faults.hang(Place.SIGN, 1)
    assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    faults.gone(Answer.DEVICE_REMOVED)
    assert token.heal() is not None
    assert "does not come back" in str(token.heal())
    assert finalised == faults.calls(Place.FINALIZE)
    faults.none()
    heals(token)
    assert MAC == token.hmac(used, b"order 1")


def test_a_token_that_hangs_is_closed_in_time(
    faulty: tuple[Module, Faults], faults: Faults, shared_config: TokenConfig
) -> None:
    faults.slow(Place.SIGN, NETWORK_SECONDS)
    token = Token(faulty[0], shared_config)
    key = adopted(token, KEY)
    faults.hang(Place.SIGN, 1)
    assert_unavailable_soon(lambda: token.hmac(key, b"order 1"))
    begin = time.monotonic()
    token.close()
    assert time.monotonic() - begin < 2 * ANSWER_SECONDS
    faults.none()
    until(lambda: 0 == faults.waiting(Place.SIGN))


def test_a_token_that_was_fast_and_is_slow_is_let_go_of(
    faulty: tuple[Module, Faults], faults: Faults, shared_config: TokenConfig
) -> None:
    """While it keeps the GIL, a token that hangs stops the process: the slower it is, the likelier."""
    token = Token(faulty[0], shared_config)
    used, _ = used_and_new(token)
    assert token.heal() is None
    assert token._sessions.connection.signer.holding
    faults.slow(Place.SIGN, 0.003)
    assert token.heal() is None
    assert not token._sessions.connection.signer.holding
    faults.hang(Place.SIGN, 1)
    assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    faults.none()
    token.close()


def test_a_token_that_unwraps_a_key_is_not_at_hand(
    faulty: tuple[Module, Faults], faults: Faults, shared_config: TokenConfig
) -> None:
    """It may hang there, and whoever waits for no token must not wait behind it with a key of its own to unwrap."""
    token = Token(faulty[0], shared_config)
    _, new = used_and_new(token)
    assert token.is_at_hand()
    faults.hang(Place.UNWRAP_KEY, 1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(assert_unavailable_soon, lambda: token.hmac(new, b"order 1"))
        until(lambda: 1 == faults.waiting(Place.UNWRAP_KEY))
        assert not token.is_at_hand()
        waiting.result()
    assert not token.is_at_hand(), "nor when the call has given up"
    faults.none()
    until(token.is_at_hand)
    token.close()


def test_sessions_are_lent_once_their_connection_is_in_use(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handles begin anew with a reset: one of the old connection may name another key in a new session."""
    link = token._sessions._link
    before, release, in_use = link.connection, link.pool.release_all, []

    def released(sessions: list[Session]) -> None:
        in_use.append(link.connection is not before)
        release(sessions)

    monkeypatch.setattr(link.pool, "release_all", released)
    link.reset(before, time.monotonic() + SETTLED_SECONDS)
    assert [True] == in_use
