"""Keys that the token makes: what goes to SQL, what the caller gets, and what stays in the token."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import Attribute, MechanismFlag
from support.wrapped import AES, SHA256, STDLIB_HASHES, stored

from keysvc.hsm.keys import KeyShape, NewKey
from keysvc.hsm.token import Token
from keysvc.model.slots import HmacAlgorithm

pytestmark = pytest.mark.any_token

SHAPES = [*(KeyShape(algorithm) for algorithm in HmacAlgorithm), AES]
USABLE_SHAPES = [*SHAPES[:-1], pytest.param(AES, marks=pytest.mark.softhsm)]
"""openCryptoki makes encryption keys, and cannot encrypt with them by AES-GCM."""
OAEP_SHA1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
NONCE_BYTES = 12


@pytest.fixture(scope="module", params=[2048, 3072, 4096])
def recipient(request: pytest.FixtureRequest) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=request.param)


def session_objects(token: Token) -> int:
    """How many objects the token keeps for this process alone."""
    return len(list(token._sessions.connection.login.get_objects({Attribute.TOKEN: False})))


def assert_is_the_key(token: Token, new: NewKey, shape: KeyShape, value: bytes) -> None:
    """That `value` is what the token works with."""
    key = stored(new, shape)
    assert shape.size == len(value)
    if shape.algorithm:
        assert hmac.digest(value, b"order 1", STDLIB_HASHES[shape.algorithm]) == token.hmac(key, b"order 1")
    else:
        sealed = token.encrypt(key, b"order 1", b"context")
        assert b"order 1" == AESGCM(value).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], b"context")


@pytest.mark.parametrize("shape", USABLE_SHAPES, ids=str)
def test_a_new_key_is_shown_once_and_is_the_one_that_works(token: Token, shape: KeyShape) -> None:
    new = token.generate(shape, None)
    assert new.plain is not None
    assert new.sealed is None
    assert new.plain not in new.material
    assert_is_the_key(token, new, shape, new.plain)


@pytest.mark.parametrize("shape", USABLE_SHAPES, ids=str)
def test_a_sealed_key_opens_for_its_recipient_alone(
    token: Token, recipient: rsa.RSAPrivateKey, shape: KeyShape
) -> None:
    new = token.generate(shape, recipient.public_key())
    assert new.plain is None
    assert new.sealed is not None
    assert_is_the_key(token, new, shape, recipient.decrypt(new.sealed, OAEP_SHA1))


def test_no_two_new_keys_are_the_same(token: Token) -> None:
    assert 50 == len({token.generate(SHA256, None).plain for _ in range(50)})


def test_neither_copy_of_a_new_key_prints(token: Token, recipient: rsa.RSAPrivateKey) -> None:
    shown, sealed = token.generate(SHA256, None), token.generate(SHA256, recipient.public_key())
    assert "NewKey(generation=1)" == repr(shown) == repr(sealed)


@pytest.mark.parametrize(
    "make",
    [
        lambda token: token.generate(SHA256, None),
        lambda token: token.generate(SHA256, token.import_public_key()),
        lambda token: token.adopt(SHA256, b"k" * 32),
        lambda token: token.adopt_sealed(SHA256, token.import_public_key().encrypt(b"k" * 32, OAEP_SHA1)),
    ],
    ids=["shown", "sealed", "adopted", "adopted-sealed"],
)
def test_nothing_of_a_new_key_stays_in_the_token(token: Token, make: Callable[[Token], NewKey]) -> None:
    before = session_objects(token)
    make(token)
    assert before == session_objects(token)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_unwrapped_key_has_its_one_use_and_is_not_readable(token: Token, shape: KeyShape) -> None:
    key = token._sessions.connection.unwrap(stored(token.generate(shape, None), shape))
    uses = {
        flag
        for attribute, flag in {
            Attribute.SIGN: MechanismFlag.SIGN,
            Attribute.VERIFY: MechanismFlag.VERIFY,
            Attribute.ENCRYPT: MechanismFlag.ENCRYPT,
            Attribute.DECRYPT: MechanismFlag.DECRYPT,
            Attribute.WRAP: MechanismFlag.WRAP,
            Attribute.UNWRAP: MechanismFlag.UNWRAP,
            Attribute.DERIVE: MechanismFlag.DERIVE,
        }.items()
        if key[attribute]
    }
    assert ({MechanismFlag.SIGN} if shape.algorithm else {MechanismFlag.ENCRYPT, MechanismFlag.DECRYPT}) == uses
    assert (True, False) == (key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE])
    assert not key[Attribute.TOKEN]
    with pytest.raises(pkcs11.AttributeSensitive):
        key[Attribute.VALUE]
    key.destroy()
