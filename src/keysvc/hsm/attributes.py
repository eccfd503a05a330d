"""Attribute templates: the closed table from which every key in the token is made.

A value that python-pkcs11 cannot pack aborts the interpreter, so no template is ever built from a
request. python-pkcs11 packs neither CKA_ALLOWED_MECHANISMS nor CKA_UNWRAP_TEMPLATE; `Mapper` does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.attributes import AttributeMapper

from keysvc.model.slots import HmacAlgorithm

HMAC_MECHANISMS = {
    HmacAlgorithm.HMAC_SHA256: Mechanism.SHA256_HMAC,
    HmacAlgorithm.HMAC_SHA384: Mechanism.SHA384_HMAC,
    HmacAlgorithm.HMAC_SHA512: Mechanism.SHA512_HMAC,
    HmacAlgorithm.HMAC_SHA1: Mechanism.SHA_1_HMAC,
}

SEALED_FROM_BIRTH: dict[Attribute, Any] = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
"""A key that leaves the token in no form."""
IN_USE: dict[Attribute, Any] = {**SEALED_FROM_BIRTH, Attribute.PRIVATE: False}
"""A merchant's key as a session object. CKA_PRIVATE says who may see an object without a login (PKCS#11 2.40 section
4.4); a session object is seen by this process alone, and a software token pays for it at every use: decision 0012."""
IN_USE_PRIVATE: dict[Attribute, Any] = {**SEALED_FROM_BIRTH, Attribute.PRIVATE: True}
"""The same, for tokens that insist."""
IN_TRANSIT_UNSEEN: dict[Attribute, Any] = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True}
"""A session key about to be wrapped, never readable."""
FOR_TRUSTED_KEYS: dict[Attribute, Any] = {Attribute.WRAP_WITH_TRUSTED: True}
"""What no key may wrap but those that the security officer trusts."""
IN_TRANSIT_SHOWN: dict[Attribute, Any] = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
"""A session key about to be wrapped and shown once."""

NO_CAPABILITY = MechanismFlag(0)


def secret_key_object(key_type: KeyType, value: bytes) -> dict[Attribute, Any]:
    """A session key from bytes that the process holds, to be wrapped at once."""
    return {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: key_type,
        Attribute.VALUE: value,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        **IN_TRANSIT_UNSEEN,
    }


def signing_key_object(value: bytes, in_use: Mapping[Attribute, Any]) -> dict[Attribute, Any]:
    """A session key that signs and nothing else, for the self-test's known answer."""
    return {
        **secret_key_object(KeyType.GENERIC_SECRET, value),
        **in_use,
        Attribute.SIGN: True,
        Attribute.VERIFY: False,
    }


def recipient_key_object(modulus: bytes, exponent: bytes) -> dict[Attribute, Any]:
    """A recipient's RSA public key as a session object that only wraps."""
    return {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.MODULUS: modulus,
        Attribute.PUBLIC_EXPONENT: exponent,
        Attribute.TOKEN: False,
        Attribute.WRAP: True,
        Attribute.ENCRYPT: False,
        Attribute.VERIFY: False,
    }


class _CkAttribute(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("pValue", ctypes.c_void_p), ("ulValueLen", ctypes.c_ulong)]


class Mapper(AttributeMapper):
    """python-pkcs11's mapper, with the two attributes that it lacks.

    A packed CKA_UNWRAP_TEMPLATE points at memory of ours (PKCS#11 2.40 section 4.9), which must
    outlive the call it is passed to: the mapper keeps it, so it lives as long as its session.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Any] = []
        self.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
        self.register_handler(Attribute.UNWRAP_TEMPLATE, self._pack_template, bytes)

    def _pack_template(self, template: Mapping[Attribute, Any]) -> bytes:
        array = (_CkAttribute * len(template))()
        for index, (attribute, value) in enumerate(template.items()):
            packed = self.pack_attribute(attribute, value)
            buffer = ctypes.create_string_buffer(packed, len(packed))
            self._kept.append(buffer)
            array[index] = _CkAttribute(int(attribute), ctypes.addressof(buffer), len(packed))
        self._kept.append(array)
        return bytes(array)


def _pack_mechanisms(mechanisms: tuple[Mechanism, ...]) -> bytes:
    return bytes((ctypes.c_ulong * len(mechanisms))(*(int(m) for m in mechanisms)))


def _unpack_mechanisms(packed: bytes) -> tuple[int, ...]:
    size = ctypes.sizeof(ctypes.c_ulong)
    return tuple((ctypes.c_ulong * (len(packed) // size)).from_buffer_copy(packed))
