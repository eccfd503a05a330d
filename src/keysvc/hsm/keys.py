"""Merchants' keys as this layer passes them about: shapes, wrapped keys, and a handle seen from a session."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field

from pkcs11 import KeyType, Mechanism, MechanismFlag, Object, Session
from pkcs11 import _pkcs11 as p11

from keysvc.model.slots import HmacAlgorithm

AES_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyShape:
    """What a merchant's key is in the token: an HMAC key of an algorithm, or (None) an AES-256 key."""

    algorithm: HmacAlgorithm | None

    @property
    def key_type(self) -> KeyType:
        return KeyType.GENERIC_SECRET if self.algorithm else KeyType.AES

    @property
    def generation_mechanism(self) -> Mechanism:
        return Mechanism.GENERIC_SECRET_KEY_GEN if self.algorithm else Mechanism.AES_KEY_GEN

    @property
    def capabilities(self) -> MechanismFlag:
        return MechanismFlag.SIGN if self.algorithm else MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT

    @property
    def size(self) -> int:
        """Bytes: the length of a new key, and the least that the token takes."""
        return self.algorithm.size if self.algorithm else AES_KEY_BYTES

    def fit(self, key: bytes) -> bytes:
        """`key` as the token takes and keeps it, with the same MACs.

        HMAC itself pads a short key with zeros, and hashes one that is longer than the hash's block
        (RFC 2104 section 2). Both are done here: tokens refuse the one, and AES key wrap, where a token
        leaves its padding on, would spoil the other.
        """
        if self.algorithm is None:
            return key
        if len(key) > hashlib.new(self.algorithm.hash_name).block_size:
            key = hashlib.new(self.algorithm.hash_name, key).digest()
        return key.ljust(self.size, b"\0")


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A merchant's key as SQL keeps it. `ident` names it in the cache of handles."""

    ident: Hashable
    shape: KeyShape
    material: bytes = field(repr=False)
    generation: int


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made and wrapped, with its one copy for the caller: its bytes, or sealed to a recipient."""

    material: bytes = field(repr=False)
    generation: int
    plain: bytes | None = field(default=None, repr=False)
    sealed: bytes | None = field(default=None, repr=False)


# python-pkcs11's stub leaves these implementation classes out.
class BoundKey(p11.SignMixin, p11.WrapMixin, p11.UnwrapMixin, p11.EncryptMixin, p11.DecryptMixin):  # type: ignore[misc, name-defined]
    """A key's handle used through any session of the process.

    python-pkcs11 ties a key to the session that found it; PKCS#11 does not (2.40 section 2.6.7: all
    sessions of an application share its objects). So keys live in the holder session, and are used in
    worker sessions that can be thrown away.
    """

    key_type = None
    session: Session | None = None
    handle: int = 0

    def __init__(self, session: Session, handle: int) -> None:
        self.session = session
        self.handle = handle


def handle_of(key: Object) -> int:
    """The key's handle. Every object that came from a token has one."""
    if key.handle is None:
        raise ValueError("the object is not in a token")
    return key.handle


def hmac_algorithm(shape: KeyShape) -> HmacAlgorithm:
    """Raises ValueError for an AES shape."""
    if shape.algorithm is None:
        raise ValueError("an encryption key makes no HMAC")
    return shape.algorithm
