"""The token's own five keys: making them, finding them, and refusing any that is weaker than it must be.

One per purpose and generation, labelled `keysvc-{purpose}-{generation}`, made once by `keysvc init`
and never extractable. Merchants' keys are not here: they stand wrapped in SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session

from keysvc.hsm import attributes
from keysvc.hsm.keys import handle_of
from keysvc.model.errors import Misconfigured

IMPORT_KEY_BITS = 3072
FIRST_GENERATION = 1
_LABEL = re.compile(r"keysvc-(wrapping|row|digest|audit|import)-([1-9][0-9]*)")


class Purpose(StrEnum):
    """What a token key is for."""

    WRAPPING = "wrapping"
    ROW = "row"
    DIGEST = "digest"
    AUDIT = "audit"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """How a token key is made, and what must be read back of it."""

    key_type: KeyType
    bits: int
    capabilities: MechanismFlag
    mechanisms: tuple[Mechanism, ...]
    unwrapped: dict[Attribute, Any] | None = None
    """What a key unwrapped by it is made to be, whatever the caller asks (CKA_UNWRAP_TEMPLATE)."""

    def template(self) -> dict[Attribute, Any]:
        template = {
            **attributes.SEALED_FROM_BIRTH,
            Attribute.MODIFIABLE: False,
            Attribute.ALLOWED_MECHANISMS: self.mechanisms,
        }
        if self.unwrapped is not None:
            template[Attribute.UNWRAP_TEMPLATE] = self.unwrapped
        return template


_MAC_KEY = KeySpec(KeyType.GENERIC_SECRET, 256, MechanismFlag.SIGN, (Mechanism.SHA256_HMAC,))

SPECS: dict[Purpose, KeySpec] = {
    Purpose.WRAPPING: KeySpec(
        KeyType.AES,
        256,
        MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        (Mechanism.AES_KEY_WRAP_PAD,),
        attributes.SEALED_FROM_BIRTH,
    ),
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
    import_public_numbers: tuple[bytes, bytes] = field(repr=False)
    """(modulus, exponent) of the newest import key, big-endian."""

    def import_public_key(self) -> RSAPublicKey:
        """The public half of the newest import key."""
        modulus, exponent = self.import_public_numbers
        return RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()

    def newest(self, purpose: Purpose) -> int:
        """The newest generation's number."""
        return max(self.handles[purpose])


def make_missing_keys(session: Session) -> list[str]:
    """Makes those of the five that are not there. Needs a read-write session; returns the labels made."""
    present = {key[Attribute.LABEL] for key in _token_keys(session)}
    made = []
    for purpose, spec in SPECS.items():
        label = f"keysvc-{purpose}-{FIRST_GENERATION}"
        if label not in present:
            _generate(session, spec, label)
            made.append(label)
    return made


def load(session: Session) -> Keyring:
    """Finds the keys and checks each; raises Misconfigured naming what is missing or weaker."""
    handles: dict[Purpose, dict[int, int]] = {purpose: {} for purpose in Purpose}
    objects: dict[tuple[Purpose, int], pkcs11.Object] = {}
    for key in _token_keys(session):
        match = _LABEL.fullmatch(key[Attribute.LABEL])
        if match is None:
            continue
        purpose, generation = Purpose(match[1]), int(match[2])
        if generation in handles[purpose]:
            raise Misconfigured(f"The token holds two keys labelled {match[0]}: remove the one that does not belong")
        _check(key, SPECS[purpose], match[0])
        handles[purpose][generation] = handle_of(key)
        objects[purpose, generation] = key
    missing = [f"keysvc-{purpose}" for purpose in Purpose if not handles[purpose]]
    if missing:
        raise Misconfigured(f"The token lacks {', '.join(missing)}: run `keysvc init`")
    newest_import = objects[Purpose.IMPORT, max(handles[Purpose.IMPORT])]
    numbers = (newest_import[Attribute.MODULUS], newest_import[Attribute.PUBLIC_EXPONENT])
    return Keyring(handles, numbers)


def _token_keys(session: Session) -> list[pkcs11.Object]:
    """All secret and private keys stored on the token. The searches are ended before anything else is asked."""
    return [
        key
        for object_class in (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY)
        for key in list(session.get_objects({Attribute.CLASS: object_class, Attribute.TOKEN: True}))
    ]


def _generate(session: Session, spec: KeySpec, label: str) -> None:
    if spec.key_type is KeyType.RSA:
        session.generate_keypair(
            spec.key_type, spec.bits, label=label, store=True, capabilities=spec.capabilities,
            private_template=spec.template(),
        )  # fmt: skip
        return
    mechanism = Mechanism.AES_KEY_GEN if spec.key_type is KeyType.AES else Mechanism.GENERIC_SECRET_KEY_GEN
    session.generate_key(
        spec.key_type, spec.bits, label=label, store=True, capabilities=spec.capabilities,
        mechanism=mechanism, template=spec.template(),
    )  # fmt: skip


def _check(key: pkcs11.Object, spec: KeySpec, label: str) -> None:
    """Reads the attributes back: templates have been wrong in releases of tokens and libraries."""
    uses = _USES if spec.key_type is KeyType.RSA else _USES_OF_SECRET_KEYS
    wanted: dict[Attribute, Any] = {
        **_READ_BACK,
        **{attribute: bool(flag & spec.capabilities) for attribute, flag in uses.items()},
        Attribute.KEY_TYPE: spec.key_type,
        _SIZE[spec.key_type]: spec.bits // 8,
        Attribute.ALLOWED_MECHANISMS: tuple(int(m) for m in spec.mechanisms),
    }
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
