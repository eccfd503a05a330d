"""What is counted of the token's work: nothing is lost with a session, and a failure is told from a success."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pkcs11 import PKCS11Error, Session
from support.softhsm import Tokens
from support.waiting import until
from support.wrapped import adopted

from keysvc.hsm.connection import Connection
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable

KEY = bytes(range(32))


class DeviceMemory(PKCS11Error):
    """A failure that throws the session away, and does not reset the token."""


def fail(_connection: Connection, _session: Session) -> None:
    raise DeviceMemory


@pytest.fixture
def token(tokens: Tokens) -> Iterator[Token]:
    opened = tokens.open()
    yield opened
    opened.close()


def test_operations_of_all_threads_are_counted(token: Token) -> None:
    key = adopted(token, KEY)
    before = token.figures().operations
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: token.hmac(key, b"order 1"), range(400)))
    assert 400 == token.figures().operations - before
    assert 0 == token.figures().errors


def test_a_session_that_is_thrown_away_takes_no_count_along(token: Token) -> None:
    before = token.figures()
    for _ in range(10):
        with pytest.raises(HsmUnavailable):
            token._sessions.call(fail)
        token.random(8)
    after = token.figures()
    assert (20, 10) == (after.operations - before.operations, after.errors - before.errors)
    # The last that was thrown away is replaced beside the calls.
    until(lambda: (4, 0) == (token.figures().sessions, token.figures().sessions_in_use))


def test_counts_outlive_a_reset_of_the_token(tokens: Tokens, token: Token) -> None:
    for _ in range(10):
        token.random(8)
    before = token.figures()
    tokens.module.reset()
    assert 8 == len(token.random(8))
    after = token.figures()
    assert after.operations > before.operations >= 10
    assert after.errors > before.errors
    assert (4, 0) == (after.sessions, after.sessions_in_use)


def test_a_session_in_a_call_is_in_use(token: Token) -> None:
    release = threading.Event()

    def wait(_connection: Connection, _session: Session) -> None:
        release.wait(20)

    with ThreadPoolExecutor(3) as threads:
        for _ in range(3):
            threads.submit(token._sessions.call, wait)
        until(lambda: 3 == token.figures().sessions_in_use)
        release.set()
    assert 0 == token.figures().sessions_in_use


def test_handles_are_counted_with_their_hits_and_misses(token: Token) -> None:
    first, second = adopted(token, KEY), adopted(token, KEY[::-1])
    for key in (first, second, first, first):
        token.hmac(key, b"order 1")
    figures = token.figures()
    assert (2, 2, 2) == (figures.handles, figures.handle_hits, figures.handle_misses)
    token.forget([first.ident])
    assert 1 == token.figures().handles
