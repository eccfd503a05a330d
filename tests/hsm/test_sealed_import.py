"""Keys sealed under the import key: opened inside the token, or refused without harm to it."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import Attribute
from support.softhsm import Tokens
from support.wrapped import AES, SHA256, STDLIB_HASHES, stored

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.keys import KeyShape
from keysvc.hsm.operations import Undecryptable, UnusableKey
from keysvc.hsm.token import Token
from keysvc.model.slots import HmacAlgorithm

pytestmark = pytest.mark.any_token

OAEP_SHA1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
OAEP_SHA256 = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
NONCE_BYTES = 12


def sealed(token: Token, key: bytes) -> bytes:
    return token.import_public_key().encrypt(key, OAEP_SHA1)


def works(token: Token) -> bool:
    """Whether the token still does what the refusals before might have spoiled."""
    key = stored(token.adopt_sealed(SHA256, sealed(token, b"k" * 32)), SHA256)
    return hmac.digest(b"k" * 32, b"order 1", "sha256") == token.hmac(key, b"order 1")


@pytest.mark.parametrize("algorithm", HmacAlgorithm)
@pytest.mark.parametrize("more", [0, 1, 40])
def test_a_sealed_hmac_key_is_the_one_that_works(token: Token, algorithm: HmacAlgorithm, more: int) -> None:
    """From the hash's length upwards: shorter ones the token would refuse to use."""
    shape = KeyShape(algorithm)
    key = b"k" * (algorithm.size + more)
    new = token.adopt_sealed(shape, sealed(token, key))
    assert hmac.digest(key, b"order 1", STDLIB_HASHES[algorithm]) == token.hmac(stored(new, shape), b"order 1")
    assert (None, None) == (new.plain, new.sealed)


@pytest.mark.softhsm
def test_a_sealed_encryption_key_is_the_one_that_works(token: Token) -> None:
    key = stored(token.adopt_sealed(AES, sealed(token, b"k" * 32)), AES)
    ciphertext = token.encrypt(key, b"order 1", b"")
    assert b"order 1" == AESGCM(b"k" * 32).decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], None)


@pytest.mark.softhsm
@pytest.mark.parametrize("algorithm", HmacAlgorithm)
@pytest.mark.parametrize("less", [1, 8])
def test_a_sealed_hmac_key_too_short_for_the_token_is_refused(
    token: Token, algorithm: HmacAlgorithm, less: int
) -> None:
    """Wrapping rounds its length up to 8 bytes: 31 bytes would come back as 32 with a zero that is not the key's."""
    with pytest.raises(UnusableKey):
        token.adopt_sealed(KeyShape(algorithm), sealed(token, b"k" * (algorithm.size - less)))
    assert works(token)


@pytest.mark.parametrize("algorithm", HmacAlgorithm)
def test_a_sealed_hmac_key_longer_than_a_block_never_macs_wrongly(token: Token, algorithm: HmacAlgorithm) -> None:
    """HMAC hashes such a key, so the zeros that some tokens wrap it with would change every MAC."""
    shape, key = KeyShape(algorithm), b"k" * 131
    try:
        new = token.adopt_sealed(shape, sealed(token, key))
    except UnusableKey:
        return
    assert hmac.digest(key, b"order 1", STDLIB_HASHES[algorithm]) == token.hmac(stored(new, shape), b"order 1")


@pytest.mark.softhsm
@pytest.mark.parametrize("size", [8, 16, 24, 31, 33, 40, 64])
def test_a_sealed_encryption_key_that_is_not_32_bytes_is_refused(token: Token, size: int) -> None:
    with pytest.raises(UnusableKey):
        token.adopt_sealed(AES, sealed(token, b"k" * size))
    assert works(token)


def test_what_is_not_sealed_under_the_import_key_is_refused(token: Token) -> None:
    right = sealed(token, b"k" * 32)
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=3072).public_key()
    wrong = {
        "one bit changed": bytes([right[0] ^ 1]) + right[1:],
        "cut short": right[:-1],
        "one byte more": right + b"\0",
        "empty": b"",
        "zeros": bytes(len(right)),
        "of another key": foreign.encrypt(b"k" * 32, OAEP_SHA1),
        "of another padding": token.import_public_key().encrypt(b"k" * 32, padding.PKCS1v15()),
        "of another hash": token.import_public_key().encrypt(b"k" * 32, OAEP_SHA256),
    }
    accepted = []
    for name, ciphertext in wrong.items():
        try:
            token.adopt_sealed(SHA256, ciphertext)
        except Undecryptable:
            continue
        accepted.append(name)
    assert [] == accepted
    assert works(token)


@pytest.mark.softhsm
def test_an_empty_key_is_refused(token: Token) -> None:
    for shape in (SHA256, AES):
        with pytest.raises((Undecryptable, UnusableKey)):
            token.adopt_sealed(shape, sealed(token, b""))
    assert works(token)


@pytest.mark.softhsm
def test_a_refused_key_leaves_nothing_in_the_token(tokens: Tokens, shared_config: TokenConfig) -> None:
    token = tokens.open(shared_config)

    def session_objects() -> int:
        return len(list(token._sessions.connection.login.get_objects({Attribute.TOKEN: False})))

    before = session_objects()
    for _ in range(5):
        with pytest.raises(UnusableKey):
            token.adopt_sealed(AES, sealed(token, b"k" * 16))
        with pytest.raises(UnusableKey):
            token.adopt_sealed(SHA256, sealed(token, b"k" * 16))
    assert before == session_objects()
    token.close()


def test_the_import_key_is_rsa_of_3072_bits(token: Token) -> None:
    public = token.import_public_key()
    assert (3072, 65537) == (public.key_size, public.public_numbers().e)
