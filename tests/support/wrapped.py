"""Merchants' keys for tests of the token layer: from bytes that the test chose, or made by the token."""

from __future__ import annotations

from keysvc.hsm.keys import KeyShape, NewKey, WrappedKey
from keysvc.hsm.token import Token
from keysvc.model.slots import HmacAlgorithm

AES = KeyShape(None)
SHA256 = KeyShape(HmacAlgorithm.HMAC_SHA256)

STDLIB_HASHES = {
    HmacAlgorithm.HMAC_SHA256: "sha256",
    HmacAlgorithm.HMAC_SHA384: "sha384",
    HmacAlgorithm.HMAC_SHA512: "sha512",
    HmacAlgorithm.HMAC_SHA1: "sha1",
}


def stored(new: NewKey, shape: KeyShape) -> WrappedKey:
    """`new` as SQL would keep it, named by what it is: equal keys share their handle."""
    return WrappedKey((shape, new.material), shape, new.material, new.generation)


def adopted(token: Token, value: bytes, shape: KeyShape = SHA256) -> WrappedKey:
    return stored(token.adopt(shape, value), shape)
