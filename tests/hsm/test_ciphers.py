"""AES-256-GCM in the token: what was not sealed so is refused, and refusing it harms nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.softhsm import Tokens
from support.wrapped import AES, adopted

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.keys import WrappedKey
from keysvc.hsm.operations import Undecryptable
from keysvc.hsm.token import Token

KEY = bytes(range(32))
NONCE_BYTES, TAG_BYTES = 12, 16
CONTEXT = b"merchants/m-1/credentials/encryption-password"


@pytest.fixture
def token(tokens: Tokens, shared_config: TokenConfig) -> Iterator[Token]:
    """With one worker session, which an operation left unfinished would spoil for the next."""
    opened = tokens.open(replace(shared_config, workers=1))
    yield opened
    opened.close()


@pytest.fixture
def key(token: Token) -> WrappedKey:
    return adopted(token, KEY, AES)


@pytest.mark.parametrize("plaintext", [b"", b"1", b"x" * 16, b"x" * 100_001], ids=["0", "1", "16", "100001"])
@pytest.mark.parametrize("context", [b"", CONTEXT], ids=["no-context", "context"])
def test_what_was_encrypted_decrypts(token: Token, key: WrappedKey, plaintext: bytes, context: bytes) -> None:
    sealed = token.encrypt(key, plaintext, context)
    assert NONCE_BYTES + len(plaintext) + TAG_BYTES == len(sealed)
    assert plaintext == token.decrypt(key, sealed, context)


@pytest.mark.parametrize("context", [b"", CONTEXT], ids=["no-context", "context"])
def test_it_is_the_aes_gcm_that_others_speak(token: Token, key: WrappedKey, context: bytes) -> None:
    sealed = token.encrypt(key, b"plain", context)
    assert b"plain" == AESGCM(KEY).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    theirs = bytes(NONCE_BYTES) + AESGCM(KEY).encrypt(bytes(NONCE_BYTES), b"plain", context)
    assert b"plain" == token.decrypt(key, theirs, context)


def test_no_nonce_is_used_twice(token: Token, key: WrappedKey) -> None:
    assert 200 == len({token.encrypt(key, b"", b"")[:NONCE_BYTES] for _ in range(200)})


@pytest.mark.parametrize("plaintext", [b"", b"plain"], ids=["empty", "not-empty"])
def test_every_altered_byte_is_noticed(token: Token, key: WrappedKey, plaintext: bytes) -> None:
    sealed = token.encrypt(key, plaintext, CONTEXT)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 0x80
        with pytest.raises(Undecryptable):
            token.decrypt(key, bytes(altered), CONTEXT)
    assert plaintext == token.decrypt(key, sealed, CONTEXT)


def test_every_cut_is_noticed(token: Token, key: WrappedKey) -> None:
    """Down to nothing at all, and so to a nonce or a tag that is too short."""
    sealed = token.encrypt(key, b"plain", CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(Undecryptable):
            token.decrypt(key, sealed[:length], CONTEXT)
    assert b"plain" == token.decrypt(key, sealed, CONTEXT)


@pytest.mark.parametrize("context", [b"", CONTEXT[:-1], CONTEXT + b"\0"], ids=["none", "shorter", "longer"])
def test_another_context_is_noticed(token: Token, key: WrappedKey, context: bytes) -> None:
    sealed = token.encrypt(key, b"plain", CONTEXT)
    with pytest.raises(Undecryptable):
        token.decrypt(key, sealed, context)
    assert b"plain" == token.decrypt(key, sealed, CONTEXT)


def test_another_key_is_noticed(token: Token, key: WrappedKey) -> None:
    sealed = token.encrypt(key, b"plain", CONTEXT)
    with pytest.raises(Undecryptable):
        token.decrypt(adopted(token, bytes(32), AES), sealed, CONTEXT)


def test_a_key_that_the_token_lost_is_not_called_a_wrong_ciphertext(token: Token, key: WrappedKey) -> None:
    """Both fail in the decryption. The one is mended, the other is the caller's fault."""
    sealed = token.encrypt(key, b"plain", CONTEXT)
    handles = token._sessions.connection.handles
    handle = handles.borrow(key.ident, lambda: token._sessions.connection.unwrap(key))
    handle.key.destroy()
    handles.give_back(handle)
    assert b"plain" == token.decrypt(key, sealed, CONTEXT)


def test_a_refusal_does_not_cost_the_worker_session(token: Token, key: WrappedKey) -> None:
    """An unfinished operation would answer OperationActive to all that comes after (PKCS#11 2.40 section 5.8)."""
    for _ in range(20):
        with pytest.raises(Undecryptable):
            token.decrypt(key, bytes(40), CONTEXT)
        assert b"plain" == token.decrypt(key, token.encrypt(key, b"plain", b""), b"")
        assert 32 == len(token.random(32))
