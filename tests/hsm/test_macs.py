"""MACs by merchants' keys, against Python's own hmac, whatever the lengths of key and message."""

from __future__ import annotations

import hmac
import itertools
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pkcs11 import ObjectHandleInvalid, PKCS11Error
from support.softhsm import Tokens
from support.wrapped import SHA256, STDLIB_HASHES, adopted

from keysvc.hsm.keys import KeyShape, WrappedKey, handle_of
from keysvc.hsm.signer import Signer
from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable
from keysvc.model.hsm_keys import Purpose
from keysvc.model.slots import HmacAlgorithm

pytestmark = pytest.mark.any_token

MESSAGES = {"empty": b"", "short": b"order 1", "binary": bytes(range(256)), "4 MiB": b"m" * (4 << 20)}
# 8 is the least that is taken; 64 and 128 are the hashes' blocks, above which a key is hashed first;
# 33, 65 and 131 are no multiples of 8, to which AES key wrap pads; 1024 is the most that is taken.
KEY_LENGTHS = (8, 19, 20, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 131, 1024)

NO_KEY = 2**31 + 1
"""A handle that needs more than 31 bits, of nothing."""

KEYS = st.integers(8, 200).flatmap(lambda length: st.binary(min_size=length, max_size=length))


def expected_mac(key: bytes, message: bytes, algorithm: HmacAlgorithm) -> bytes:
    return hmac.digest(key, message, STDLIB_HASHES[algorithm])


@pytest.mark.parametrize("algorithm", HmacAlgorithm)
@pytest.mark.parametrize("length", KEY_LENGTHS)
def test_a_key_of_any_length_macs_as_hmac_does(token: Token, algorithm: HmacAlgorithm, length: int) -> None:
    key = bytes(itertools.islice(itertools.cycle(range(1, 252)), length))
    wrapped = adopted(token, key, KeyShape(algorithm))
    assert expected_mac(key, b"order 1", algorithm) == token.hmac(wrapped, b"order 1")


@pytest.mark.parametrize("algorithm", HmacAlgorithm)
@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_any_length_is_macd(token: Token, algorithm: HmacAlgorithm, message: str) -> None:
    key = b"k" * 64
    wrapped = adopted(token, key, KeyShape(algorithm))
    assert expected_mac(key, MESSAGES[message], algorithm) == token.hmac(wrapped, MESSAGES[message])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(HmacAlgorithm), KEYS, st.binary(max_size=300))
def test_any_key_and_message_are_macd_as_hmac_does(
    token: Token, algorithm: HmacAlgorithm, key: bytes, message: bytes
) -> None:
    """Keys that begin or end with zeros are the ones that padding could confuse."""
    wrapped = adopted(token, key, KeyShape(algorithm))
    assert expected_mac(key, message, algorithm) == token.hmac(wrapped, message)


@pytest.mark.parametrize("holding", [True, False], ids=["keeping-the-gil", "letting-go-of-it"])
@pytest.mark.parametrize("algorithm", HmacAlgorithm)
def test_the_signer_is_right_for_fast_and_for_slow_tokens(
    tokens: Tokens, token: Token, algorithm: HmacAlgorithm, holding: bool
) -> None:
    signer = Signer(tokens.module)
    signer.holding = holding
    connection = token._sessions.connection
    key = connection.unwrap(adopted(token, b"k" * 64, KeyShape(algorithm)))
    answer = signer.sign(connection.holder, handle_of(key), algorithm, b"order 1")
    key.destroy()
    assert expected_mac(b"k" * 64, b"order 1", algorithm) == answer


@pytest.mark.softhsm
def test_a_run_ends_with_the_first_mac_that_fails_and_the_next_run_is_right(tokens: Tokens, token: Token) -> None:
    signer, connection = Signer(tokens.module), token._sessions.connection
    key = connection.unwrap(adopted(token, b"k" * 64, SHA256))
    session, algorithm = connection.holder, HmacAlgorithm.HMAC_SHA256
    with pytest.raises(ObjectHandleInvalid):
        signer.sign_each(session, NO_KEY, algorithm, [b"order 1", b"order 2"])
    answers = signer.sign_each(session, handle_of(key), algorithm, [b"order 1", b"order 2"])
    key.destroy()
    assert [expected_mac(b"k" * 64, message, algorithm) for message in (b"order 1", b"order 2")] == answers


@pytest.mark.parametrize("messages", [["order 1"], [b"order 1", None], 1], ids=["text", "nothing", "no-messages"])
def test_what_is_no_bytes_is_signed_by_nobody(tokens: Tokens, token: Token, messages: Any) -> None:
    signer, connection = Signer(tokens.module), token._sessions.connection
    with pytest.raises(TypeError):
        signer.sign_each(connection.holder, connection.known_answer_key, HmacAlgorithm.HMAC_SHA256, messages)


def test_signing_keeps_no_memory(tokens: Tokens, token: Token) -> None:
    """Neither of what was signed nor of what failed: its module counts references by itself."""
    signer, connection = Signer(tokens.module), token._sessions.connection
    good, sha256, message = connection.known_answer_key, HmacAlgorithm.HMAC_SHA256, b"order 1" * 100
    wrong: Any = [message, "text"]
    before = sys.getrefcount(message)
    for key, messages in ((good, [message]), (good, wrong), (NO_KEY, [message])):
        with suppress(PKCS11Error, TypeError):
            signer.sign_each(connection.holder, key, sha256, messages)
    del messages
    macs = signer.sign_each(connection.holder, good, sha256, [message, message])
    assert before == sys.getrefcount(message)
    assert [3, 3] == [sys.getrefcount(mac) for mac in macs]  # the list, the loop and the question


def test_a_token_key_digests_as_one_key_does(token: Token) -> None:
    """Its bytes are nobody's, so only sameness can be asked."""
    first = token.keyed_digest(Purpose.ROW, 1, b"row")
    assert 32 == len(first)
    assert first == token.keyed_digest(Purpose.ROW, 1, b"row")
    assert first != token.keyed_digest(Purpose.ROW, 1, b"row ")
    assert first != token.keyed_digest(Purpose.DIGEST, 1, b"row")


@pytest.mark.softhsm
def test_altered_material_is_refused_and_the_token_goes_on(token: Token) -> None:
    """Nothing is signed with whatever an altered blob would unwrap to (RFC 5649 section 3 checks it)."""
    key = adopted(token, b"k" * 32)
    material = bytes([key.material[0] ^ 1]) + key.material[1:]
    with pytest.raises(HsmUnavailable):
        token.hmac(WrappedKey("altered", SHA256, material, 1), b"order 1")
    assert expected_mac(b"k" * 32, b"order 1", HmacAlgorithm.HMAC_SHA256) == token.hmac(key, b"order 1")


def test_random_bytes_are_as_many_as_asked_and_never_the_same(token: Token) -> None:
    drawn = [token.random(16) for _ in range(100)]
    assert {16} == {len(value) for value in drawn}
    assert 100 == len(set(drawn))
