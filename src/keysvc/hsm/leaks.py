"""Trying whether the token's keys let out what they must keep, as every start does.

Whoever has the PIN and a blob could unwrap it readable, did CKA_UNWRAP_TEMPLATE not forbid it. Tokens do not let that
attribute be read back reliably, so it is tried: no unwrapping may give a key that can be read, or that a key may wrap
which the security officer does not trust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session

from keysvc.hsm import attributes, rsa_oaep
from keysvc.hsm.keyring import Keyring
from keysvc.hsm.keys import BoundKey, KeyShape, handle_of
from keysvc.hsm.wrapping import WrappingKey
from keysvc.model.errors import Misconfigured
from keysvc.model.hsm_keys import Purpose
from keysvc.model.slots import HmacAlgorithm

_Template = Mapping[Attribute, Any]
_SHAPE = KeyShape(HmacAlgorithm.HMAC_SHA256)
_MOVED_FREELY = {**attributes.IN_TRANSIT_UNSEEN, Attribute.WRAP_WITH_TRUSTED: False}
_MOVED = {**attributes.IN_TRANSIT_UNSEEN, **attributes.FOR_TRUSTED_KEYS}
_WAYS_OUT: tuple[_Template, ...] = (
    attributes.IN_TRANSIT_SHOWN,
    {**attributes.IN_TRANSIT_SHOWN, **attributes.FOR_TRUSTED_KEYS},
    attributes.IN_TRANSIT_UNSEEN,
    _MOVED_FREELY,
    _MOVED,
)
"""What somebody who wants a key out asks for."""


def refuse(session: Session, keyring: Keyring, generations: Iterable[int]) -> None:
    """Raises Misconfigured where one of these wrapping keys, or the import key, leaks."""
    probe = session.generate_key(
        KeyType.GENERIC_SECRET, 256, mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
        capabilities=attributes.NO_CAPABILITY, template=attributes.IN_TRANSIT_UNSEEN,
    )  # fmt: skip
    untrusted = session.generate_key(
        KeyType.AES, 256, mechanism=Mechanism.AES_KEY_GEN, capabilities=MechanismFlag.WRAP,
        template=attributes.SEALED_FROM_BIRTH,
    )  # fmt: skip
    try:
        for generation in generations:
            wrapping = keyring.wrapping[generation]
            blob = wrapping.wrap(session, probe)
            _refuse_ways_out(session, wrapping, blob, handle_of(untrusted), f"keysvc-wrapping-{generation}")
    finally:
        probe.destroy()
        untrusted.destroy()
    _refuse_readable_imports(session, keyring)


def _refuse_ways_out(session: Session, wrapping: WrappingKey, blob: bytes, untrusted: int, label: str) -> None:
    for asked in _WAYS_OUT:
        _try(
            lambda asked=asked: wrapping.unwrap(session, _SHAPE, blob, asked, attributes.NO_CAPABILITY),  # type: ignore[misc]
            lambda key: _can_be_read(key) or _can_be_wrapped(session, key, wrapping, untrusted),
            label,
        )


def _refuse_readable_imports(session: Session, keyring: Keyring) -> None:
    newest = keyring.newest(Purpose.IMPORT)
    importing = BoundKey(session, keyring.handles[Purpose.IMPORT][newest])
    blob = rsa_oaep.seal(keyring.import_public_key(), bytes(32))
    _try(
        lambda: importing.unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, blob, mechanism=Mechanism.RSA_PKCS_OAEP,
            capabilities=attributes.NO_CAPABILITY, template=attributes.IN_TRANSIT_SHOWN,
        ),
        _can_be_read,
        f"keysvc-import-{newest}",
    )  # fmt: skip


def _try(unwrap: Callable[[], pkcs11.Object], leaks: Callable[[pkcs11.Object], bool], label: str) -> None:
    try:
        key = unwrap()
    except pkcs11.PKCS11Error:
        return
    out = leaks(key)
    key.destroy()
    if out:
        raise Misconfigured(
            f"Token key {label} is weaker than it must be: it lets a wrapped key be unwrapped readable, or to be taken"
            " out (its CKA_UNWRAP_TEMPLATE); it was not made by `keysvc init`, and is not used"
        )


def _can_be_read(key: pkcs11.Object) -> bool:
    return not key[Attribute.SENSITIVE]


def _can_be_wrapped(session: Session, key: pkcs11.Object, wrapping: WrappingKey, untrusted: int) -> bool:
    """By a key that anybody who has the PIN could have made, of bytes that they know."""
    try:
        WrappingKey(untrusted, wrapping.wrap_by, movable=False).wrap(session, key)
    except pkcs11.PKCS11Error:
        return False
    return True
