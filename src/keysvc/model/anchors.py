"""The anchor: what of the database was seen committed, noted where who writes to the database cannot write. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from keysvc.model.audit import ChainEnd, time_text

_ANCHOR = "keysvc anchor 1"


@dataclass(frozen=True, slots=True)
class Anchor:
    """The database's epoch, and where the audit record's newest signature stood, at a time."""

    epoch: int
    signed: ChainEnd
    """Sequence 0 where nothing was signed yet."""
    time: datetime
    generation: int
    """Of the audit key whose MAC stands beside it."""

    def holds_more_than(self, other: Anchor) -> bool:
        """Whether one of the two moved on, and none went back."""
        ours, theirs = (self.epoch, self.signed.sequence), (other.epoch, other.signed.sequence)
        return ours != theirs and all(mine >= its for mine, its in zip(ours, theirs, strict=True))

    def meaning(self) -> bytes:
        """What the MAC is over: a JSON list without blanks, of a fixed text and the fields."""
        return _json(self._fields())

    def to_bytes(self, mac: bytes) -> bytes:
        """As it stands in the token: the same list, and the MAC in hexadecimal."""
        return _json([*self._fields(), mac.hex()])

    def _fields(self) -> list[object]:
        signed = self.signed
        return [_ANCHOR, self.epoch, signed.sequence, signed.hash, time_text(self.time), self.generation]


def read(stored: bytes) -> tuple[Anchor, bytes]:
    """(anchor, MAC), not checked. Raises ValueError for what was never written by `to_bytes`."""
    try:
        what, epoch, sequence, digest, time, generation, mac = json.loads(stored)
        anchor = Anchor(epoch, ChainEnd(sequence, digest), datetime.fromisoformat(time), generation)
        if what != _ANCHOR or anchor.to_bytes(bytes.fromhex(mac)) != stored:
            raise ValueError("not an anchor")
    except (TypeError, RecursionError) as error:
        raise ValueError("not an anchor") from error
    return anchor, bytes.fromhex(mac)


def _json(listed: list[object]) -> bytes:
    return json.dumps(listed, separators=(",", ":")).encode()
