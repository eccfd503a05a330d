"""How a generation of the wrapping key wraps merchants' keys: by which mechanism, and whether they may move on.

Both belong to the generation, and are settled when it is made from what the token offers. The mechanism is
AES_KEY_WRAP_PAD (RFC 5649), or AES_CBC_PAD (PKCS#11 2.40 section 6.13 of its mechanisms) with a random IV before the
blob. Neither binds a blob to its place: the row's MAC does, and covers the IV.

A generation is movable where the token's security officer made it trusted: what it unwraps may then leave it for
another trusted key, and for nothing else (CKA_WRAP_WITH_TRUSTED). See docs/decisions/0013.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session

from keysvc.hsm import attributes
from keysvc.hsm.keys import BoundKey, KeyShape
from keysvc.hsm.lacks import Lack

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
class Wrapped:
    """What is unwrapped, and what it is to be."""

    key_type: KeyType
    blob: bytes = field(repr=False)
    mechanism: Mechanism
    parameter: bytes | None
    capabilities: MechanismFlag
    template: Mapping[Attribute, Any]


TakeOut = Callable[[BoundKey, Wrapped], pkcs11.SecretKey]
"""How an unwrapping key is asked for what it holds: it depends on what the token makes of the template."""


def as_asked(by: BoundKey, wrapped: Wrapped) -> pkcs11.SecretKey:
    """For tokens that make of a key what the template says, or refuse. Raises PKCS11Error."""
    key: pkcs11.SecretKey = by.unwrap_key(
        ObjectClass.SECRET_KEY, wrapped.key_type, wrapped.blob, mechanism=wrapped.mechanism,
        mechanism_param=wrapped.parameter, capabilities=wrapped.capabilities, template=wrapped.template,
    )  # fmt: skip
    return key


def then_sealed(by: BoundKey, wrapped: Wrapped) -> pkcs11.SecretKey:
    """For tokens that make of it what they like: it is sealed as soon as it is out. Raises PKCS11Error.

    openCryptoki 3.8 makes every unwrapped key readable, and refuses a template that asks for an extractable one.
    """
    try:
        key = as_asked(by, wrapped)
    except (pkcs11.AttributeReadOnly, pkcs11.TemplateInconsistent):
        rest = {name: value for name, value in wrapped.template.items() if name not in _SEALS}
        key = as_asked(by, replace(wrapped, template=rest))
    try:
        _seal(key, wrapped.template)
    except pkcs11.PKCS11Error:
        key.destroy()
        raise
    return key


def taking_out(lacking: frozenset[Lack]) -> TakeOut:
    """What suits a token that lacks so much."""
    return then_sealed if Lack.UNWRAP_TEMPLATE in lacking else as_asked


_SEALS = (Attribute.SENSITIVE, Attribute.EXTRACTABLE)


def _seal(key: pkcs11.SecretKey, template: Mapping[Attribute, Any]) -> None:
    for name in _SEALS:
        if name in template and key[name] != template[name]:
            key[name] = template[name]
            if key[name] != template[name]:
                raise pkcs11.TemplateInconsistent(f"CKA_{name.name} stays {key[name]}")


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """One generation, by its handle."""

    handle: int
    wrap_by: Wrap
    movable: bool
    take_out: TakeOut = as_asked

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
        asked = {**template, **self._bound()}
        wrapped = Wrapped(shape.key_type, blob, self.wrap_by.mechanism, iv, capabilities, asked)
        return self.take_out(BoundKey(session, self.handle), wrapped)

    def _bound(self) -> dict[Attribute, Any]:
        """What the token asks to be said of a key that it unwraps with a trusted key, be it for use or on its way."""
        return attributes.FOR_TRUSTED_KEYS if self.movable else {}
