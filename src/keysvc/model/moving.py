"""What moves in: a line of a file that tells of a merchant and perhaps of one secret, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keysvc.model.errors import KeysvcError
from keysvc.model.records import MerchantState
from keysvc.model.slots import HmacAlgorithm, SecretFormat, Slot


class LineRefused(Exception):
    """For a reason that only files have; never on the wire. The message holds no secret."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class About:
    """What a line says of its merchant. None, or an absent field, says nothing."""

    display_name: str | None = None
    psp: str | None = None
    acquirer: str | None = None
    state: MerchantState | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, whose ids have the form of one. With a slot there is a secret, and without one there is none."""

    line: int
    merchant_id: str
    about: About
    slot: Slot | None = None
    secret: str | bytes = field(default="", repr=False)
    """Text in plain, or bytes sealed under the import key."""
    algorithm: HmacAlgorithm | None = None
    secret_format: SecretFormat | None = None
    rotate_before: datetime | None = None
    allow_weak: bool = False
    fault: KeysvcError | None = None
    """What is wrong with the rest of the line, where its merchant could be read."""


class Result(StrEnum):
    """What became of a line."""

    CREATED = "CREATED"
    ALREADY_THERE = "ALREADY_THERE"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A line of the report. Holds no secret, and nothing of the file but ids that have the form of one."""

    line: int
    merchant_id: str
    slot: str
    result: Result
    version: int = 0
    reason: str = ""
    message: str = ""


def refused(line: int, merchant_id: str, slot: Slot | None, error: KeysvcError | LineRefused) -> Outcome:
    return Outcome(line, merchant_id, slot or "", Result.REFUSED, 0, error.reason, error.message)
