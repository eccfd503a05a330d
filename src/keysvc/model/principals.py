"""Callers: their kinds, what is kept of each, and the rules of their rights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keysvc.model.errors import InvalidField

ALL_MERCHANTS = "-"
"""Stands for every merchant in a SERVICE's list, as in the name merchants/- (AIP-159)."""
MAX_MERCHANTS = 1000
_MAX_SPIFFE_ID = 2048
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")
"""The SPIFFE-ID specification, section 2: no query, no fragment, no percent-encoding, no empty segment."""


class PrincipalKind(StrEnum):
    """Who a caller is."""

    __hash__ = str.__hash__  # Enum's own is Python, and every call looks its caller's kind up

    ADMIN = "ADMIN"
    PSP = "PSP"
    ACQUIRER = "ACQUIRER"
    MERCHANT = "MERCHANT"
    SERVICE = "SERVICE"
    AUDITOR = "AUDITOR"


class PrincipalState(StrEnum):
    """Whether a principal may call."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class RetiringPassword:
    """An older password that works until `expire_time`; its keyed digest in hexadecimal."""

    digest: str
    generation: int
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalRecord:
    """One caller: how it may prove itself, and its rights."""

    principal_id: str
    kind: PrincipalKind
    state: PrincipalState
    password_digest: bytes
    digest_generation: int
    create_time: datetime
    revision: int
    mac: bytes = b""
    mac_generation: int = 0
    merchants: tuple[str, ...] = ()
    """Ids, or ALL_MERCHANTS alone."""
    can_edit_credentials: bool = False
    remote_access: bool = False
    can_sign: bool = False
    spiffe_id: str | None = None
    jwt_public_keys: tuple[str, ...] = ()
    """PEM."""
    update_time: datetime | None = None
    password_time: datetime | None = None
    retiring_passwords: tuple[RetiringPassword, ...] = ()

    @property
    def active(self) -> bool:
        return self.state is PrincipalState.ACTIVE


_RIGHTS: dict[str, frozenset[PrincipalKind]] = {
    "merchants": frozenset({PrincipalKind.MERCHANT, PrincipalKind.SERVICE}),
    "can_edit_credentials": frozenset({PrincipalKind.PSP, PrincipalKind.ACQUIRER, PrincipalKind.MERCHANT}),
    "remote_access": frozenset({PrincipalKind.PSP, PrincipalKind.ACQUIRER}),
    "can_sign": frozenset({PrincipalKind.SERVICE}),
}
"""Which kinds each right is for."""


def check_rights(principal: PrincipalRecord) -> None:
    """Raises InvalidField for a right that is not for this kind of principal, or a list that is none."""
    for field, kinds in _RIGHTS.items():
        if getattr(principal, field) and principal.kind not in kinds:
            raise InvalidField(f"principal.{field}", f"is not for a principal of kind {principal.kind}")
    listed = principal.merchants
    if len(listed) > MAX_MERCHANTS:
        raise InvalidField("principal.merchants", f"lists {len(listed):,}; at most {MAX_MERCHANTS:,} are taken")
    if ALL_MERCHANTS in listed and (len(listed) > 1 or principal.kind is not PrincipalKind.SERVICE):
        raise InvalidField("principal.merchants", "merchants/- stands alone, and for a SERVICE only")


def check_spiffe_id(value: str, field: str) -> str:
    """Returns `value`; raises InvalidField where it is no SPIFFE id of a workload."""
    segments = value.split("/")[3:]
    if len(value) > _MAX_SPIFFE_ID or not _SPIFFE_ID.fullmatch(value) or {".", ".."} & set(segments):
        raise InvalidField(field, "must be spiffe://{trust domain}/{path}")
    return value
