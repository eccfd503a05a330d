"""What stands in SQL, as frozen values, and the bytes that a record's MAC covers.

Every record that decides who or what is accepted ends in `mac` and `mac_generation`: a MAC by the
token's row key over the record's type and all its other fields. `keysvc.service.integrity` makes
and checks them. Times are aware and UTC.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from keysvc.model.slots import HmacAlgorithm, Kind, SecretFormat, Slot


class SlotState(StrEnum):
    """What a slot holds. A slot that was never filled has no record and is EMPTY."""

    EMPTY = "EMPTY"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class MerchantState(StrEnum):
    """Whether a merchant's keys work."""

    WAITING_ACTIVATION = "WAITING_ACTIVATION"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantRecord:
    """One merchant."""

    merchant_id: str
    display_name: str
    psp: str | None
    acquirer: str | None
    state: MerchantState
    create_time: datetime
    update_time: datetime
    revision: int
    mac: bytes = b""
    mac_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRecord:
    """One slot that was filled at least once."""

    merchant_id: str
    slot: Slot
    state: SlotState
    version: int
    hmac_algorithm: HmacAlgorithm | None
    secret_format: SecretFormat
    fingerprint: str
    weak_key: bool
    retiring_fingerprints: str
    """Of the keys that may still verify beside the current one, newest first, parted by blanks."""
    create_time: datetime
    renew_time: datetime | None
    revoke_time: datetime | None
    revision: int
    mac: bytes = b""
    mac_generation: int = 0
    rotate_before: datetime | None = None
    """When the key is due to be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One key that verifies: a slot's current one, or a retiring one until `expire_time`.

    `material` is the wrapped key, or a bearer secret's keyed digest; `generation` is that of the
    token key that made it. The record is deleted when the key ends, and the material with it.
    """

    merchant_id: str
    slot: Slot
    version: int
    kind: Kind
    hmac_algorithm: HmacAlgorithm | None
    material: bytes
    generation: int
    fingerprint: str
    create_time: datetime
    expire_time: datetime | None
    mac: bytes = b""
    mac_generation: int = 0
    made_in: Slot | None = None
    """The slot that it was made in, to whose name a bearer secret's digest is bound; None for the one it stands in."""

    @property
    def retiring(self) -> bool:
        return self.expire_time is not None

    def live(self, now: datetime) -> bool:
        return self.expire_time is None or now < self.expire_time


@dataclass(frozen=True, slots=True)
class MerchantToken:
    """One Lib Lite token: a bearer secret, of which only a keyed digest is kept."""

    token_id: str
    digest: str
    """In hexadecimal, as is all that a list of a record holds."""
    generation: int
    fingerprint: str
    create_time: datetime
    expire_time: datetime | None

    def live(self, now: datetime) -> bool:
        return self.expire_time is None or now < self.expire_time


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSetRecord:
    """All tokens of one merchant, in one record, so that none can be put back by itself after it ended."""

    merchant_id: str
    tokens: tuple[MerchantToken, ...]
    revision: int
    mac: bytes = b""
    mac_generation: int = 0


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that SQL keeps of one merchant, read at one instant and not yet checked."""

    merchant: MerchantRecord
    slots: dict[Slot, SlotRecord]
    keys: dict[Slot, list[KeyRecord]]
    """By slot, newest first."""
    tokens: TokenSetRecord | None


def meaning(record: Any) -> bytes:
    """The bytes that a record's MAC covers: a JSON list of its type and all fields but the MAC.

    A list of strings, numbers and nulls has one reading only, so no two records share their bytes. Fields that a
    later schema added have defaults, and stand in an object at the list's end, those that differ from their default
    only: what was written before keeps its MAC.
    """
    first, later = [type(record).__name__], {}
    for name, default in _covered(type(record)):  # type: ignore[arg-type]  # a class is hashable
        value = getattr(record, name)
        if default is MISSING:
            first.append(_plain(value))
        elif value != default:
            later[name] = _plain(value)
    return json.dumps([*first, later] if later else first, separators=(",", ":")).encode()


@lru_cache(maxsize=32)
def _covered(record_type: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The fields that a MAC covers, in their order, with the defaults of those that a later schema added."""
    defaults = {f.name: f.default for f in fields(record_type) if f.name != "mac"}
    return tuple((defaults | {"mac_generation": MISSING}).items())


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value  # most are
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return [_plain(getattr(value, f.name)) for f in fields(value)]
    return value
