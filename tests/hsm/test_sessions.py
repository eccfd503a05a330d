"""The pool of worker sessions: spoiled ones, none free, and closing."""

from __future__ import annotations

import ctypes
import hmac
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.softhsm import Tokens
from support.trouble import assert_unavailable_soon, directory_of, moved_away
from support.wrapped import SHA256, adopted, stored

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable

pytestmark = pytest.mark.any_token

KEY = bytes(range(32))
MAC = hmac.digest(KEY, b"order 1", "sha256")
CKM_SHA256_HMAC = 0x251
CKR_OK = 0x000
CKR_SESSION_HANDLE_INVALID = 0x0B3


@pytest.fixture(autouse=True)
def fresh_module(tokens: Tokens) -> Iterator[None]:
    """What a test did to the module is not left for the next."""
    yield
    tokens.module.reset()


@pytest.mark.softhsm
def test_a_spoiled_session_is_thrown_away(tokens: Tokens, shared_config: TokenConfig) -> None:
    """It answers OperationActive for ever (PKCS#11 2.40 section 5.11, C_SignInit)."""
    token = tokens.open(replace(shared_config, workers=1))
    key = adopted(token, KEY)
    module = ctypes.CDLL(tokens.module.so)
    spoiled = begin_and_leave_a_signature(token, module)

    assert_unavailable_soon(lambda: token.hmac(key, b"order 1"))
    assert MAC == token.hmac(key, b"order 1")
    assert CKR_SESSION_HANDLE_INVALID == module.C_GetSessionInfo(ctypes.c_ulong(spoiled), bytes(64)), "left open"
    assert token.heal() is None
    token.close()


def test_one_spoiled_session_of_several_costs_one_call(tokens: Tokens, token: Token) -> None:
    key = adopted(token, KEY)
    begin_and_leave_a_signature(token, ctypes.CDLL(tokens.module.so))
    failed = 0
    for _ in range(20):
        try:
            assert MAC == token.hmac(key, b"order 1")
        except HsmUnavailable:
            failed += 1
    assert 1 == failed


def begin_and_leave_a_signature(token: Token, module: ctypes.CDLL) -> int:
    """Spoils the session that is borrowed next; returns its handle."""
    spoilt = token._sessions._link.pool.idle.get()
    mechanism = (ctypes.c_ulong * 3)(CKM_SHA256_HMAC, 0, 0)
    key = ctypes.c_ulong(token._sessions.connection.known_answer_key)
    handle = int(spoilt.session.handle)  # type: ignore[attr-defined]  # the stub leaves it out
    assert CKR_OK == module.C_SignInit(ctypes.c_ulong(handle), mechanism, key)
    others = [token._sessions._link.pool.idle.get() for _ in range(token._sessions._link._config.workers - 1)]
    for waiting in (spoilt, *others):
        token._sessions._link.pool.idle.put(waiting)
    return handle


def test_a_call_that_finds_every_session_taken_says_so_in_time(tokens: Tokens, shared_config: TokenConfig) -> None:
    token = tokens.open(replace(shared_config, workers=1))
    key = adopted(token, KEY)
    taken = token._sessions._link.pool.idle.get()
    assert_unavailable_soon(lambda: token.hmac(key, b"order 1"))
    token._sessions._link.pool.idle.put(taken)
    assert MAC == token.hmac(key, b"order 1")
    token.close()


def test_a_closed_token_answers_no_call_and_stays_closed(tokens: Tokens, shared_config: TokenConfig) -> None:
    token = tokens.open(shared_config)
    key = adopted(token, KEY)
    token.close()
    assert_unavailable_soon(lambda: token.hmac(key, b"order 1"))
    assert token.heal() is not None
    assert_unavailable_soon(lambda: token.hmac(key, b"order 1"))


def test_closing_logs_out(tokens: Tokens, shared_config: TokenConfig) -> None:
    """A second login would be refused while the first lasts."""
    for _ in range(3):
        token = tokens.open(shared_config)
        made = stored(token.generate(SHA256, None), SHA256)
        assert 32 == len(token.hmac(made, b"order 1"))
        token.close()


def test_a_token_that_was_reset_closes_quietly(tokens: Tokens, shared_config: TokenConfig) -> None:
    """A service that stops while its token is out of reach still ends well."""
    token = tokens.open(shared_config)
    tokens.module.reset()
    token.close()


@pytest.mark.softhsm
def test_a_token_that_is_away_closes_quietly(tokens: Tokens, shared_config: TokenConfig) -> None:
    token = tokens.open(shared_config)
    with moved_away(tokens, directory_of(tokens, shared_config)):
        assert token.heal() is not None
        token.close()
