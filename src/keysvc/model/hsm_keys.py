"""The generations of the service's own keys in the token: their purposes, their states, and who agreed to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keysvc.model.errors import HsmKeyStateWrong, InvalidField, PermissionDenied

FIRST_GENERATION = 1
HSM_KEYS = "hsmKeys/"


class Purpose(StrEnum):
    """What a token key is for."""

    WRAPPING = "wrapping"
    ROW = "row"
    DIGEST = "digest"
    AUDIT = "audit"
    IMPORT = "import"


REPLACEABLE = (Purpose.WRAPPING, Purpose.ROW, Purpose.DIGEST, Purpose.AUDIT)
"""Those that two administrators may agree to replace."""


class HsmKeyState(StrEnum):
    """Where a generation stands. Only the last two of a purpose's generations are ever under way at once."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    CURRENT = "CURRENT"
    RETIRING = "RETIRING"
    DESTROYED = "DESTROYED"


PENDING = (HsmKeyState.REQUESTED, HsmKeyState.APPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HsmKeyRecord:
    """One generation that was asked for, or that a later one replaced. Principals by their ids, empty for nobody."""

    purpose: Purpose
    generation: int
    state: HsmKeyState
    requester: str = ""
    request_time: datetime | None = None
    approver: str = ""
    approve_time: datetime | None = None
    use_time: datetime | None = None
    destroy_time: datetime | None = None
    revision: int = 1
    mac: bytes = b""
    mac_generation: int = 0

    @property
    def name(self) -> str:
        return hsm_key_name(self.purpose, self.generation)


def hsm_key_name(purpose: Purpose, generation: int) -> str:
    return f"{HSM_KEYS}{purpose}-{generation}"


def parse_hsm_key(name: str, field: str = "name") -> tuple[Purpose, int]:
    """Returns the parts of `hsmKeys/{purpose}-{generation}`; raises InvalidField."""
    purpose, dash, generation = name.removeprefix(HSM_KEYS).partition("-")
    known = name.startswith(HSM_KEYS) and purpose in list(Purpose)
    if not known or not dash or not generation.isascii() or not generation.isdecimal() or len(generation) > 6:
        raise InvalidField(field, "must be hsmKeys/{purpose}-{generation}, as ListHsmKeys names them")
    return Purpose(purpose), int(generation)


def require_approvable(key: HsmKeyRecord, approver: str) -> None:
    """Raises HsmKeyStateWrong, or PermissionDenied where one would agree with itself."""
    if key.state is not HsmKeyState.REQUESTED:
        raise wrong_state(key, "only what is REQUESTED is approved")
    if key.requester == approver:
        raise PermissionDenied(f"{key.name} was asked for by this caller: another administrator has to approve it")


def require_withdrawable(key: HsmKeyRecord) -> None:
    """Raises HsmKeyStateWrong."""
    if key.state not in PENDING:
        raise wrong_state(key, "what is in use cannot be taken back: replace it by the next generation")


def wrong_state(key: HsmKeyRecord, why: str) -> HsmKeyStateWrong:
    return HsmKeyStateWrong(f"{key.name} is {key.state}: {why}", resource=key.name)
