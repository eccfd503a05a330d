"""The seven credential slots that every merchant has, and what each may hold.

From the two platforms' pages: Axepta Online "Key management" (the first five) and Scan to Pay "API
credentials" (the last two). The table is closed: a slot is added here or nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Slot(StrEnum):
    """A slot, by its id on the wire."""

    __hash__ = str.__hash__  # Enum's own is Python, and slots are looked up several times a call

    ENCRYPTION_PASSWORD = "encryption-password"  # noqa: S105 - the slot's name
    PRIMARY_HMAC_KEY = "primary-hmac-key"
    PRIMARY_REST_API_KEY = "primary-rest-api-key"
    SECONDARY_HMAC_KEY = "secondary-hmac-key"
    SECONDARY_REST_API_KEY = "secondary-rest-api-key"
    API_PASSWORD = "api-password"  # noqa: S105 - the slot's name
    WEBHOOK_ENCRYPTION_KEY = "webhook-encryption-key"


class Kind(StrEnum):
    """What a slot's key does."""

    __hash__ = str.__hash__

    HMAC_KEY = "HMAC_KEY"
    BEARER_SECRET = "BEARER_SECRET"  # noqa: S105 - the kind's name
    ENCRYPTION_KEY = "ENCRYPTION_KEY"


class SecretFormat(StrEnum):
    """How a key's bytes are written as text."""

    HEX = "HEX"
    BASE64 = "BASE64"
    WHSEC = "WHSEC"
    TEXT = "TEXT"
    HEX_UPPER_32 = "HEX_UPPER_32"


class HmacAlgorithm(StrEnum):
    """The hash under an HMAC key (RFC 2104)."""

    __hash__ = str.__hash__

    HMAC_SHA256 = "HMAC_SHA256"
    HMAC_SHA384 = "HMAC_SHA384"
    HMAC_SHA512 = "HMAC_SHA512"
    HMAC_SHA1 = "HMAC_SHA1"

    @property
    def size(self) -> int:
        """The MAC's length in bytes, which is also that of a key made for it (RFC 2104 section 3)."""
        return _MAC_SIZES[self]

    @property
    def hash_name(self) -> str:
        """The hash by its name in Python's hashlib."""
        return self.value.removeprefix("HMAC_").lower()

    @property
    def may_sign(self) -> bool:
        """SHA-1 keys are moved in to be verified with, not to make new MACs."""
        return self is not HmacAlgorithm.HMAC_SHA1


_MAC_SIZES = {
    HmacAlgorithm.HMAC_SHA256: 32,
    HmacAlgorithm.HMAC_SHA384: 48,
    HmacAlgorithm.HMAC_SHA512: 64,
    HmacAlgorithm.HMAC_SHA1: 20,
}


@dataclass(frozen=True, slots=True)
class SlotRule:
    """What one slot may hold."""

    kind: Kind
    default_format: SecretFormat


RULES: dict[Slot, SlotRule] = {
    Slot.ENCRYPTION_PASSWORD: SlotRule(Kind.ENCRYPTION_KEY, SecretFormat.HEX),
    Slot.PRIMARY_HMAC_KEY: SlotRule(Kind.HMAC_KEY, SecretFormat.HEX),
    Slot.PRIMARY_REST_API_KEY: SlotRule(Kind.BEARER_SECRET, SecretFormat.TEXT),
    Slot.SECONDARY_HMAC_KEY: SlotRule(Kind.HMAC_KEY, SecretFormat.HEX),
    Slot.SECONDARY_REST_API_KEY: SlotRule(Kind.BEARER_SECRET, SecretFormat.TEXT),
    Slot.API_PASSWORD: SlotRule(Kind.BEARER_SECRET, SecretFormat.HEX_UPPER_32),
    Slot.WEBHOOK_ENCRYPTION_KEY: SlotRule(Kind.ENCRYPTION_KEY, SecretFormat.HEX),
}

FORMATS: dict[Kind, frozenset[SecretFormat]] = {
    Kind.HMAC_KEY: frozenset(SecretFormat),
    Kind.BEARER_SECRET: frozenset(SecretFormat),
    # AES-256 takes 32 bytes exactly; HEX_UPPER_32 is 16 and WHSEC names a signing key.
    Kind.ENCRYPTION_KEY: frozenset({SecretFormat.HEX, SecretFormat.BASE64, SecretFormat.TEXT}),
}

PAIRS: dict[Kind, tuple[Slot, Slot]] = {
    Kind.HMAC_KEY: (Slot.PRIMARY_HMAC_KEY, Slot.SECONDARY_HMAC_KEY),
    Kind.BEARER_SECRET: (Slot.PRIMARY_REST_API_KEY, Slot.SECONDARY_REST_API_KEY),
}
"""The slots that a merchant's name stands for, primary first (the double run)."""
