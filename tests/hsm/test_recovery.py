"""A token in trouble: what calls answer meanwhile, and how the same `Token` goes on when it is over."""

from __future__ import annotations

import hmac
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import Attribute, ObjectClass
from support.softhsm import PIN, Tokens
from support.trouble import assert_unavailable_soon, directory_of, moved_away
from support.wrapped import AES, SHA256, adopted, stored

from keysvc.hsm import provisioning
from keysvc.hsm.attributes import Mapper
from keysvc.hsm.connection import TokenConfig, log_in
from keysvc.hsm.operations import Undecryptable
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable
from keysvc.model.hsm_keys import Purpose

pytestmark = pytest.mark.any_token

KEY = bytes(range(32))
MAC = hmac.digest(KEY, b"order 1", "sha256")
NEW_KEY = bytes(range(100, 132))
NEW_MAC = hmac.digest(NEW_KEY, b"order 1", "sha256")
OAEP_SHA1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)

OPERATIONS: dict[str, Callable[[Token], bool]] = {
    "hmac": lambda token: token.hmac(adopted(token, KEY), b"order 1") == MAC,
    "digest": lambda token: len(token.keyed_digest(Purpose.ROW, 1, b"row")) == 32,
    "random": lambda token: len(token.random(16)) == 16,
    "generate": lambda token: token.generate(SHA256, None).plain is not None,
    "generate-sealed": lambda token: token.generate(SHA256, token.import_public_key()).sealed is not None,
    "encrypt": lambda token: len(token.encrypt(adopted(token, KEY, AES), b"", b"")) == 28,
}


@pytest.fixture(autouse=True)
def fresh_module(tokens: Tokens) -> Iterator[None]:
    """What a test did to the module is not left for the next."""
    yield
    tokens.module.reset()


@pytest.mark.softhsm
@pytest.mark.parametrize("which", ["this token", "all tokens"])
def test_a_token_that_went_and_came_back_is_used_again(
    tokens: Tokens, shared_config: TokenConfig, token: Token, which: str
) -> None:
    key, never_used = adopted(token, KEY), adopted(token, NEW_KEY)
    assert MAC == token.hmac(key, b"order 1")

    with moved_away(tokens, directory_of(tokens, shared_config) if which == "this token" else tokens.directory):
        assert token.heal() is not None
        assert token.heal() is not None, "still away, and looked for again"
        for call in (
            lambda: token.hmac(key, b"order 1"),
            lambda: token.hmac(never_used, b"order 1"),
            lambda: token.keyed_digest(Purpose.ROW, 1, b"row"),
            lambda: token.generate(SHA256, None),
        ):
            assert_unavailable_soon(call)

    assert token.heal() is None
    assert [MAC, NEW_MAC] == [token.hmac(key, b"order 1"), token.hmac(never_used, b"order 1")]
    assert token.heal() is None


@pytest.mark.softhsm
def test_what_ends_while_the_token_is_away_is_forgotten_quietly(
    tokens: Tokens, shared_config: TokenConfig, token: Token
) -> None:
    """A revoke stands in SQL, and must not fail for what the token held."""
    key = adopted(token, KEY)
    token.hmac(key, b"order 1")
    with moved_away(tokens, directory_of(tokens, shared_config)):
        token.heal()
        token.forget([key.ident])
    assert token.heal() is None


@pytest.mark.parametrize(
    "operation", [pytest.param(name, marks=pytest.mark.softhsm if name == "encrypt" else ()) for name in OPERATIONS]
)
def test_a_reset_under_a_call_is_mended_by_the_call(tokens: Tokens, token: Token, operation: str) -> None:
    assert OPERATIONS[operation](token)
    tokens.module.reset()
    assert OPERATIONS[operation](token)


@pytest.mark.softhsm
def test_keys_in_the_cache_survive_a_reset(tokens: Tokens, token: Token) -> None:
    key, cipher = adopted(token, KEY), adopted(token, KEY, AES)
    ciphertext = token.encrypt(cipher, b"plain", b"context")
    assert MAC == token.hmac(key, b"order 1")
    for _ in range(3):
        tokens.module.reset()
        assert MAC == token.hmac(key, b"order 1")
        tokens.module.reset()
        assert b"plain" == token.decrypt(cipher, ciphertext, b"context")


def test_a_reset_is_not_taken_for_a_badly_sealed_key(tokens: Tokens, token: Token) -> None:
    """Both fail in the unwrapping; only one is the sender's fault."""
    sealed = token.import_public_key().encrypt(KEY, OAEP_SHA1)
    tokens.module.reset()
    assert MAC == token.hmac(stored(token.adopt_sealed(SHA256, sealed), SHA256), b"order 1")
    tokens.module.reset()
    with pytest.raises(Undecryptable):
        token.adopt_sealed(SHA256, bytes(len(sealed)))


@pytest.mark.softhsm
def test_a_reset_is_not_taken_for_a_ciphertext_that_does_not_decrypt(tokens: Tokens, token: Token) -> None:
    key = adopted(token, KEY, AES)
    ciphertext = token.encrypt(key, b"plain", b"context")
    tokens.module.reset()
    with pytest.raises(Undecryptable):
        token.decrypt(key, ciphertext, b"another")
    tokens.module.reset()
    assert b"plain" == token.decrypt(key, ciphertext, b"context")


def test_heal_mends_a_reset_before_a_call_meets_it(tokens: Tokens, token: Token) -> None:
    tokens.module.reset()
    assert token.heal() is None
    assert MAC == token.hmac(adopted(token, KEY), b"order 1")


@pytest.mark.softhsm
def test_a_token_that_lost_its_keys_answers_nothing(tokens: Tokens) -> None:
    """Made anew under the same name: what it would compute with other keys is no answer."""
    config = tokens.with_keys()
    token = tokens.open(config)
    used, never_used = adopted(token, KEY), adopted(token, NEW_KEY)
    assert MAC == token.hmac(used, b"order 1")
    make_anew(config)

    for key, mac in ((used, MAC), (never_used, NEW_MAC)):
        with suppress(HsmUnavailable):
            assert mac == token.hmac(key, b"order 1"), "the handles that were found still work"
    trouble = token.heal()
    assert trouble is not None
    assert "keysvc init" in trouble
    assert_unavailable_soon(lambda: token.hmac(used, b"order 1"))
    assert_unavailable_soon(lambda: token.hmac(never_used, b"order 1"))
    assert_unavailable_soon(lambda: token.keyed_digest(Purpose.ROW, 1, b"row"))


@pytest.fixture(scope="module")
def incomplete_config(tokens: Tokens) -> TokenConfig:
    """A token whose secret keys tests take away."""
    return tokens.with_keys()


@pytest.fixture
def other_config(tokens: Tokens, incomplete_config: TokenConfig) -> TokenConfig:
    """The same with all of its keys, new ones where some were taken away."""
    _, session = log_in(tokens.module, incomplete_config, writable=True)
    provisioning.make_missing_keys(session)
    session.close()
    return incomplete_config


def destroy(tokens: Tokens, config: TokenConfig, wanted: dict[Attribute, Any], *, and_make_anew: bool) -> None:
    """Token keys, under an open Token, whose login this uses."""
    session = tokens.module.token(config.label).open(rw=True, attribute_mapper=Mapper())
    for key in list(session.get_objects({Attribute.TOKEN: True, **wanted})):
        key.destroy()
    if and_make_anew:
        provisioning.make_missing_keys(session)
    session.close()


def test_a_lost_row_key_is_noticed_by_the_health_check(tokens: Tokens, other_config: TokenConfig) -> None:
    token = tokens.open(other_config)
    destroy(tokens, other_config, {Attribute.LABEL: "keysvc-row-1"}, and_make_anew=False)
    assert "lacks keysvc-row: run `keysvc init`" in (token.heal() or "")
    token.close()


def test_other_keys_of_the_same_names_are_not_gone_on_with(tokens: Tokens, other_config: TokenConfig) -> None:
    """With them a right API key would be told INVALID: its digest was made by the lost one."""
    token = tokens.open(other_config)
    digest = token.keyed_digest(Purpose.DIGEST, 1, b"api key")
    destroy(tokens, other_config, {Attribute.CLASS: ObjectClass.SECRET_KEY}, and_make_anew=True)
    tokens.module.reset()

    with suppress(HsmUnavailable):
        assert digest == token.keyed_digest(Purpose.DIGEST, 1, b"api key")
    assert token.heal() is not None
    assert_unavailable_soon(lambda: token.keyed_digest(Purpose.DIGEST, 1, b"api key"))
    token.close()


def make_anew(config: TokenConfig) -> None:
    """From another process, as an operator would: it destroys all that the token holds."""
    subprocess.run(
        ["softhsm2-util", "--init-token", "--token", config.label, "--label", config.label,
         "--so-pin", PIN, "--pin", PIN],
        check=True, capture_output=True, env=os.environ,
    )  # fmt: skip
