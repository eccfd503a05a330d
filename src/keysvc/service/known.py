"""An authenticated principal, with what every call asks of it worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keysvc.model.names import principal_name
from keysvc.model.permissions import Grant, grants_of
from keysvc.model.principals import ALL_MERCHANTS, PrincipalKind, PrincipalRecord

_GRANTS = {kind: grants_of(kind) for kind in PrincipalKind}


@dataclass(frozen=True, slots=True)
class Known:
    """Remembered with the proof that was right, until its principal changes."""

    record: PrincipalRecord
    name: str
    """principals/{principal}"""
    grants: dict[str, Grant]
    merchants: frozenset[str] | None
    """Those that it lists; None stands for all."""
    until: datetime | None = None
    """When the proof ends by itself."""

    @classmethod
    def of(cls, record: PrincipalRecord, until: datetime | None = None) -> Known:
        listed = None if record.merchants == (ALL_MERCHANTS,) else frozenset(record.merchants)
        return cls(record, principal_name(record.principal_id), _GRANTS[record.kind], listed, until)
