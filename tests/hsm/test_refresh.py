"""A connection that has made its share of keys is replaced: the module gives its memory back, and no call fails."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pkcs11
import pytest
from pkcs11 import Session
from support.processes import status_of
from support.softhsm import Tokens
from support.waiting import until
from support.wrapped import SHA256, adopted

from keysvc.hsm.connection import Connection, TokenConfig
from keysvc.hsm.keys import WrappedKey
from keysvc.hsm.token import Token

LIFE = 100
VALUES = [bytes([number]) * 32 for number in range(200)]
MACS = [hmac.digest(value, b"order 1", "sha256") for value in VALUES]


@pytest.fixture(autouse=True)
def fresh_module(tokens: Tokens) -> Iterator[None]:
    """Handles of other tests' tokens are gone with a reset."""
    yield
    tokens.module.reset()


@pytest.fixture
def config(shared_config: TokenConfig) -> TokenConfig:
    """The cache of handles is smaller than the set of keys: each use unwraps."""
    return replace(shared_config, handle_cache=16, refresh_after=LIFE)


@pytest.fixture
def token(tokens: Tokens, config: TokenConfig) -> Iterator[Token]:
    opened = tokens.open(config)
    yield opened
    opened.close()


def keys(token: Token) -> list[WrappedKey]:
    return [adopted(token, value) for value in VALUES]


def refreshes(token: Token) -> int:
    return token.figures().refreshes


def test_calls_of_many_threads_go_on_while_the_connection_is_replaced_again_and_again(token: Token) -> None:
    known = keys(token)
    with ThreadPoolExecutor(8) as threads:
        rounds = [threads.submit(lambda: [token.hmac(key, b"order 1") for key in known]) for _ in range(16)]
        made = [threads.submit(token.generate, SHA256, None) for _ in range(100)]
        assert [MACS] * 16 == [done.result() for done in rounds]
        assert all(new.result().plain for new in made)
    assert refreshes(token) > 1
    assert 0 == token.figures().errors


def test_keys_that_are_made_count_as_those_that_are_unwrapped(token: Token) -> None:
    for _ in range(LIFE):
        token.generate(SHA256, None)
    until(lambda: 1 == refreshes(token))


def test_a_connection_without_an_end_is_never_replaced(tokens: Tokens, config: TokenConfig) -> None:
    token = tokens.open(replace(config, refresh_after=0))
    connection = token._sessions.connection
    assert MACS == [token.hmac(key, b"order 1") for key in keys(token)]
    assert (0, connection) == (refreshes(token), token._sessions.connection)
    token.close()


def test_while_a_call_does_not_come_back_the_connection_serves_on(token: Token) -> None:
    release = threading.Event()

    def wait(_connection: Connection, _session: Session) -> None:
        release.wait(20)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(token._sessions.call, wait)
        assert MACS == [token.hmac(key, b"order 1") for key in keys(token)]
        assert 0 == refreshes(token)
        release.set()
    for key in keys(token):
        token.hmac(key, b"order 1")
    until(lambda: refreshes(token) > 0)


def test_a_module_that_does_not_initialise_at_once_is_asked_again_while_calls_wait(
    tokens: Tokens, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may be while another process initialises it."""
    reset, failures = tokens.module.reset, [pkcs11.GeneralError()]

    def fail_once() -> None:
        reset()
        if failures:
            raise failures.pop()

    monkeypatch.setattr(token._sessions._link, "_module", _Resetting(tokens, fail_once))
    assert MACS == [token.hmac(key, b"order 1") for key in keys(token)]
    until(lambda: refreshes(token) > 0)
    assert [] == failures
    assert 0 == token.figures().errors


class _Resetting:
    """The module, with another `reset`."""

    def __init__(self, tokens: Tokens, reset: object) -> None:
        self._module, self.reset = tokens.module, reset

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


@pytest.mark.long
def test_what_the_module_keeps_of_ended_keys_is_given_back(tokens: Tokens, config: TokenConfig) -> None:
    """SoftHSM keeps 290 bytes of each: 2.9 MB in the 10,000 that are looked at."""
    token = tokens.open(replace(config, refresh_after=1_000))
    known = keys(token)

    def grown(rounds: int) -> float:
        before = _resident()
        for _ in range(rounds):
            for key in known:
                token.hmac(key, b"order 1")
        return _resident() - before

    grown(30)
    assert grown(50) < 1.0
    assert refreshes(token) > 10
    token.close()


def _resident() -> float:
    """MB"""
    return status_of("self", "VmRSS") / 1024
