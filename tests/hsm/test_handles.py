"""The cache of unwrapped keys: bounded, least recently used out first, and never out from under a call."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pkcs11
import pytest
from pkcs11 import Attribute, Mechanism
from support.softhsm import Tokens
from support.wrapped import adopted

from keysvc.hsm.connection import Connection, TokenConfig
from keysvc.hsm.handles import Handle, HandleCache
from keysvc.hsm.keys import BoundKey, WrappedKey
from keysvc.hsm.token import Token

pytestmark = pytest.mark.any_token

CAPACITY = 3
Unwrap = Callable[[], pkcs11.SecretKey]


class WatchedCache:
    """A cache of three over real keys, with the count of what the token holds."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.cache = HandleCache(CAPACITY)
        self.unwrapped: list[str] = []
        self._connection: Connection = token._sessions.connection
        self._before = self._objects()

    def unwrap(self, name: str) -> pkcs11.SecretKey:
        self.unwrapped.append(name)
        return self._connection.unwrap(adopted(self.token, name.encode() * 32))

    def borrow(self, name: str) -> Handle:
        return self.cache.borrow(name, lambda: self.unwrap(name))

    def use(self, *names: str) -> None:
        for name in names:
            self.cache.give_back(self.borrow(name))

    def works(self, handle: Handle) -> bool:
        """Whether the token still holds the key."""
        session = self._connection.open_worker()
        try:
            mac: bytes = BoundKey(session, handle.value).sign(b"order 1", mechanism=Mechanism.SHA256_HMAC)
        except pkcs11.PKCS11Error:
            return False
        finally:
            session.close()
        name = str(handle.ident)
        return hmac.digest(name.encode() * 32, b"order 1", "sha256") == mac

    @property
    def held(self) -> int:
        """Keys in the token's memory since the test began."""
        return self._objects() - self._before

    def _objects(self) -> int:
        return len(list(self._connection.login.get_objects({Attribute.TOKEN: False})))


@pytest.fixture
def handles(token: Token) -> Iterator[WatchedCache]:
    made = WatchedCache(token)
    yield made
    made.cache.forget("abcdefghij")
    assert 0 == made.held, "a handle was not given back by its test, or is lost in the token"


def test_a_key_is_unwrapped_once_while_it_is_kept(handles: WatchedCache) -> None:
    handles.use("a", "a", "a")
    assert ["a"] == handles.unwrapped
    assert 1 == handles.held == len(handles.cache)


def test_the_cache_never_holds_more_than_its_capacity(handles: WatchedCache) -> None:
    for count, name in enumerate("abcdefghij", start=1):
        handles.use(name)
        assert min(count, CAPACITY) == handles.held == len(handles.cache)


def test_the_least_recently_used_key_goes_first(handles: WatchedCache) -> None:
    handles.use("a", "b", "c", "a", "d")
    handles.unwrapped.clear()
    handles.use("a", "c", "d")
    assert [] == handles.unwrapped
    handles.use("b")
    assert ["b"] == handles.unwrapped


def test_a_key_in_use_outlives_its_place(handles: WatchedCache) -> None:
    in_use = handles.borrow("a")
    handles.use("b", "c", "d", "e")
    assert handles.works(in_use)
    assert CAPACITY + 1 == handles.held

    handles.cache.give_back(in_use)
    assert not handles.works(in_use)
    assert CAPACITY == handles.held


def test_a_key_in_two_calls_waits_for_both(handles: WatchedCache) -> None:
    first, second = handles.borrow("a"), handles.borrow("a")
    handles.cache.forget(["a"])
    handles.cache.give_back(first)
    assert handles.works(second)
    handles.cache.give_back(second)
    assert not handles.works(second)


def test_a_forgotten_key_leaves_the_token_at_once(handles: WatchedCache) -> None:
    handles.use("a", "b")
    handles.cache.forget(["a", "never seen"])
    assert 1 == handles.held == len(handles.cache)
    handles.use("b")
    assert ["a", "b"] == handles.unwrapped


def test_a_forgotten_key_in_use_leaves_when_it_is_given_back(handles: WatchedCache) -> None:
    """A revoke does not break the call that is in the token just then."""
    in_use = handles.borrow("a")
    handles.cache.forget(["a"])
    assert 0 == len(handles.cache)
    assert handles.works(in_use)
    handles.cache.give_back(in_use)
    assert 0 == handles.held


def test_a_key_that_does_not_unwrap_leaves_nothing_behind(handles: WatchedCache) -> None:
    def fails() -> pkcs11.SecretKey:
        raise pkcs11.WrappedKeyInvalid

    with pytest.raises(pkcs11.WrappedKeyInvalid):
        handles.cache.borrow("a", fails)
    assert 0 == len(handles.cache)
    handles.use("a")
    assert 1 == handles.held


def test_two_threads_that_unwrap_one_key_leave_one_handle(handles: WatchedCache) -> None:
    both_unwrapped = threading.Barrier(2, timeout=10)

    def unwrap() -> pkcs11.SecretKey:
        key = handles.unwrap("a")
        both_unwrapped.wait()
        return key

    with ThreadPoolExecutor(2) as threads:
        borrowed = list(threads.map(lambda _: handles.cache.borrow("a", unwrap), range(2)))
    assert borrowed[0] is borrowed[1]
    assert ["a", "a"] == handles.unwrapped
    assert 1 == handles.held
    assert handles.works(borrowed[0])
    for handle in borrowed:
        handles.cache.give_back(handle)
    handles.cache.forget(["a"])


def test_a_handle_that_the_token_lost_is_let_go_quietly(handles: WatchedCache) -> None:
    """After a reset the cache still names objects that are gone."""
    handles.use("a")
    handle = handles.borrow("a")
    handle.key.destroy()
    handles.cache.give_back(handle)
    handles.cache.forget(["a"])


def test_many_keys_over_a_small_cache_each_mac_right(tokens: Tokens, shared_config: TokenConfig) -> None:
    token = tokens.open(replace(shared_config, handle_cache=CAPACITY))
    keys: dict[bytes, WrappedKey] = {bytes([n]) * 32: adopted(token, bytes([n]) * 32) for n in range(10)}
    before = len(list(token._sessions.connection.login.get_objects({Attribute.TOKEN: False})))
    for _ in range(5):
        for value, key in keys.items():
            assert hmac.digest(value, b"order 1", "sha256") == token.hmac(key, b"order 1")
    after = len(list(token._sessions.connection.login.get_objects({Attribute.TOKEN: False})))
    assert CAPACITY == after - before

    token.forget([key.ident for key in keys.values()])
    assert before == len(list(token._sessions.connection.login.get_objects({Attribute.TOKEN: False})))
    token.close()
