"""How a generation of the wrapping key wraps merchants' keys: by which mechanism, and whether they may move on.

Both belong to the generation, and are settled when it is made from what the token offers. The mechanism is
AES_KEY_WRAP_PAD (RFC 5649), or AES_CBC_PAD (PKCS#11 2.40 section 6.13 of its mechanisms) with a random IV before the
blob. Neither binds a blob to its place: the row's MAC does, and covers the IV.

A generation is movable where the token's security officer made it trusted: what it unwraps may then leave it for
another trusted key, and for nothing else (CKA_WRAP_WITH_TRUSTED). See docs/decisions/0013.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pkcs11
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass, Session

from keysvc.hsm import attributes
from keysvc.hsm.keys import BoundKey, KeyShape

_BLOCK = 16


class Wrap(StrEnum):
    """A mechanism of wrapping, by the word that a label of the token says it with."""

    KEY_WRAP_PAD = "aes-key-wrap-pad"
    CBC_PAD = "aes-cbc-pad"

    @property
    def mechanism(self) -> Mechanism:
        return Mechanism.AES_KEY_WRAP_PAD if self is Wrap.KEY_WRAP_PAD else Mechanism.AES_CBC_PAD

    def size(self, key_bytes: int) -> int:
        """Bytes of a wrapped key of so many."""
        if self is Wrap.KEY_WRAP_PAD:
            return -(-key_bytes // 8) * 8 + 8  # RFC 5649 section 4.1: rounded up to 8 bytes, and one block more
        return _BLOCK + (key_bytes // _BLOCK + 1) * _BLOCK  # the IV, and PKCS#7's padding


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """One generation, by its handle."""

    handle: int
    wrap_by: Wrap
    movable: bool

    def wrap(self, session: Session, key: pkcs11.Object) -> bytes:
        """The key as SQL keeps it. Raises PKCS11Error."""
        wrapping = BoundKey(session, self.handle)
        if self.wrap_by is Wrap.KEY_WRAP_PAD:
            return bytes(wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD))
        iv = session.generate_random(_BLOCK * 8)
        return iv + bytes(wrapping.wrap_key(key, mechanism=Mechanism.AES_CBC_PAD, mechanism_param=iv))

    def unwrap(
        self,
        session: Session,
        shape: KeyShape,
        material: bytes,
        template: Mapping[Attribute, Any],
        capabilities: MechanismFlag,
    ) -> pkcs11.SecretKey:
        """The key as a session object of `template`. Raises PKCS11Error."""
        iv, blob = (None, material) if self.wrap_by is Wrap.KEY_WRAP_PAD else (material[:_BLOCK], material[_BLOCK:])
        key: pkcs11.SecretKey = BoundKey(session, self.handle).unwrap_key(
            ObjectClass.SECRET_KEY, shape.key_type, blob, mechanism=self.wrap_by.mechanism, mechanism_param=iv,
            capabilities=capabilities, template={**template, **self._bound()},
        )  # fmt: skip
        return key

    def _bound(self) -> dict[Attribute, Any]:
        """What the token asks to be said of a key that it unwraps with a trusted key, be it for use or on its way."""
        return attributes.FOR_TRUSTED_KEYS if self.movable else {}
