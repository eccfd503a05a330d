"""The token's own keys, of five purposes: finding them, and refusing any that is weaker than it must be.

One per purpose and generation, labelled `keysvc-{purpose}-{generation}`, and of wrapping keys by another mechanism than
the first `keysvc-wrapping-{generation}-{mechanism}`. `keysvc.hsm.provisioning` makes them, never extractable.
Merchants' keys are not here: they stand wrapped in SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session

from keysvc.hsm import attributes
from keysvc.hsm.keys import handle_of
from keysvc.hsm.lacks import Lack
from keysvc.hsm.wrapping import Wrap, WrappingKey, taking_out
from keysvc.model.errors import Misconfigured
from keysvc.model.hsm_keys import Purpose

IMPORT_KEY_BITS = 3072
_LABEL = re.compile(r"keysvc-(?:(wrapping)-([1-9][0-9]*)(?:-(aes-cbc-pad))?|(row|digest|audit|import)-([1-9][0-9]*))")


@dataclass(frozen=True, slots=True)
class KeySpec:
    """How a token key is made, and what must be read back of it."""

    key_type: KeyType
    bits: int
    capabilities: MechanismFlag
    mechanisms: tuple[Mechanism, ...] | None
    """CKA_ALLOWED_MECHANISMS, where the token has it."""
    unwrapped: dict[Attribute, Any] | None = None
    """What a key unwrapped by it is made to be, whatever the caller asks (CKA_UNWRAP_TEMPLATE)."""

    def template(self) -> dict[Attribute, Any]:
        template = {
            **attributes.SEALED_FROM_BIRTH,
            Attribute.MODIFIABLE: False,
        }
        if self.mechanisms is not None:
            template[Attribute.ALLOWED_MECHANISMS] = self.mechanisms
        if self.unwrapped is not None:
            template[Attribute.UNWRAP_TEMPLATE] = self.unwrapped
        return template

    def without(self, lacking: frozenset[Lack]) -> KeySpec:
        """The same, as a token that lacks so much can make and show it."""
        return replace(
            self,
            mechanisms=None if Lack.ALLOWED_MECHANISMS in lacking else self.mechanisms,
            unwrapped=None if Lack.UNWRAP_TEMPLATE in lacking else self.unwrapped,
        )


_MAC_KEY = KeySpec(KeyType.GENERIC_SECRET, 256, MechanismFlag.SIGN, (Mechanism.SHA256_HMAC,))


def wrapping_spec(wrap_by: Wrap, *, movable: bool) -> KeySpec:
    """What a movable one unwraps may leave it, sensitive still, for another trusted key; else nothing may leave it."""
    unwrapped = {Attribute.SENSITIVE: True, **attributes.FOR_TRUSTED_KEYS} if movable else attributes.SEALED_FROM_BIRTH
    uses = MechanismFlag.WRAP | MechanismFlag.UNWRAP
    return KeySpec(KeyType.AES, 256, uses, (wrap_by.mechanism,), unwrapped)


SPECS: dict[Purpose, KeySpec] = {
    Purpose.WRAPPING: wrapping_spec(Wrap.KEY_WRAP_PAD, movable=False),
    Purpose.ROW: _MAC_KEY,
    Purpose.DIGEST: _MAC_KEY,
    Purpose.AUDIT: _MAC_KEY,
    Purpose.IMPORT: KeySpec(
        KeyType.RSA,
        IMPORT_KEY_BITS,
        MechanismFlag.UNWRAP,
        (Mechanism.RSA_PKCS_OAEP,),
        attributes.IN_TRANSIT_UNSEEN,
    ),
}

_READ_BACK: dict[Attribute, bool] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.LOCAL: True,
    Attribute.MODIFIABLE: False,
}
_SIZE = {
    KeyType.AES: Attribute.VALUE_LEN,
    KeyType.GENERIC_SECRET: Attribute.VALUE_LEN,
    KeyType.RSA: Attribute.MODULUS,  # its length: a private key has no CKA_MODULUS_BITS
}
"""Where the key's length in bytes is read."""
_USES: dict[Attribute, MechanismFlag] = {
    Attribute.SIGN: MechanismFlag.SIGN,
    Attribute.DECRYPT: MechanismFlag.DECRYPT,
    Attribute.UNWRAP: MechanismFlag.UNWRAP,
}
_USES_OF_SECRET_KEYS: dict[Attribute, MechanismFlag] = {
    **_USES,
    Attribute.VERIFY: MechanismFlag.VERIFY,
    Attribute.ENCRYPT: MechanismFlag.ENCRYPT,
    Attribute.WRAP: MechanismFlag.WRAP,
    Attribute.DERIVE: MechanismFlag.DERIVE,
}


@dataclass(frozen=True, slots=True)
class Keyring:
    """The handles of the token keys, by purpose and generation. The newest of a purpose makes new things."""

    handles: dict[Purpose, dict[int, int]]
    wrapping: dict[int, WrappingKey]
    """The wrapping keys once more, by generation, with what each can do."""
    import_public_numbers: tuple[bytes, bytes] = field(repr=False)
    """(modulus, exponent) of the newest import key, big-endian."""

    def import_public_key(self) -> RSAPublicKey:
        """The public half of the newest import key."""
        modulus, exponent = self.import_public_numbers
        return RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()

    def newest(self, purpose: Purpose) -> int:
        """The newest generation's number."""
        return max(self.handles[purpose])


def label_of(purpose: Purpose, generation: int, wrap_by: Wrap = Wrap.KEY_WRAP_PAD) -> str:
    """The label of a key that is to be made; `wrap_by` is for wrapping keys."""
    suffix = "" if wrap_by is Wrap.KEY_WRAP_PAD else f"-{wrap_by}"
    return f"keysvc-{purpose}-{generation}{suffix}"


def load(session: Session, lacking: frozenset[Lack] = frozenset()) -> Keyring:
    """Finds the keys and checks each; raises Misconfigured naming what is missing or weaker.

    A token that is known to be `lacking` something is not asked for it.
    """
    found = find(session)
    take_out = taking_out(lacking)
    handles: dict[Purpose, dict[int, int]] = {purpose: {} for purpose in Purpose}
    wrapping: dict[int, WrappingKey] = {}
    for key in found:
        if key.generation in handles[key.purpose]:
            name = f"keysvc-{key.purpose}-{key.generation}"
            raise Misconfigured(f"The token holds two keys labelled {name}: remove the one that does not belong")
        handles[key.purpose][key.generation] = handle_of(key.object)
        if key.purpose is Purpose.WRAPPING:
            wrapping[key.generation] = WrappingKey(handle_of(key.object), key.wrap_by, _trusted(key.object), take_out)
        _check(key.object, _spec_of(key).without(lacking), label_of(key.purpose, key.generation, key.wrap_by))
    missing = [f"keysvc-{purpose}" for purpose in Purpose if not handles[purpose]]
    if missing:
        raise Misconfigured(f"The token lacks {', '.join(missing)}: run `keysvc init`")
    newest_import = max((key for key in found if key.purpose is Purpose.IMPORT), key=lambda key: key.generation).object
    numbers = (newest_import[Attribute.MODULUS], newest_import[Attribute.PUBLIC_EXPONENT])
    return Keyring(handles, wrapping, numbers)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One of them, as its label tells."""

    purpose: Purpose
    generation: int
    wrap_by: Wrap
    object: pkcs11.Object


def find(session: Session) -> list[TokenKey]:
    """All keys stored on the token whose labels are keysvc's, unchecked. The searches are ended before the return."""
    objects = [
        key
        for object_class in (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
        for key in list(session.get_objects({Attribute.CLASS: object_class, Attribute.TOKEN: True}))
    ]
    return [found for key in objects if (found := _told(key)) is not None]


def _told(key: pkcs11.Object) -> TokenKey | None:
    match = _LABEL.fullmatch(key[Attribute.LABEL])
    if match is None:
        return None
    wrapping, generation, mechanism, purpose, its_generation = match.groups()
    return TokenKey(
        Purpose(wrapping or purpose), int(generation or its_generation), Wrap(mechanism or Wrap.KEY_WRAP_PAD), key
    )


def _spec_of(key: TokenKey) -> KeySpec:
    if key.purpose is Purpose.WRAPPING:
        return wrapping_spec(key.wrap_by, movable=_trusted(key.object))
    return SPECS[key.purpose]


def _trusted(key: pkcs11.Object) -> bool:
    try:
        return bool(key[Attribute.TRUSTED])
    except pkcs11.PKCS11Error:
        return False  # a token that knows no such attribute


def _check(key: pkcs11.Object, spec: KeySpec, label: str) -> None:
    """Reads the attributes back: templates have been wrong in releases of tokens and libraries."""
    uses = _USES if spec.key_type is KeyType.RSA else _USES_OF_SECRET_KEYS
    wanted: dict[Attribute, Any] = {
        **_READ_BACK,
        **{attribute: bool(flag & spec.capabilities) for attribute, flag in uses.items()},
        Attribute.KEY_TYPE: spec.key_type,
        _SIZE[spec.key_type]: spec.bits // 8,
    }
    if spec.mechanisms is not None:
        wanted[Attribute.ALLOWED_MECHANISMS] = tuple(int(m) for m in spec.mechanisms)
    for attribute, value in wanted.items():
        try:
            found = key[attribute]
        except pkcs11.PKCS11Error:
            found = None
        if attribute is Attribute.MODULUS and found is not None:
            found = len(found)
        if found != value:
            raise Misconfigured(
                f"Token key {label} is weaker than it must be: CKA_{attribute.name} is {found}, not {value};"
                " it was not made by `keysvc init`, and is not used"
            )
