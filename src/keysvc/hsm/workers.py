"""The places in the pool of worker sessions, and what is counted of the token's work."""

from __future__ import annotations

from dataclasses import dataclass

from pkcs11 import Session


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """What was done in the token since the start, and what of it is in use."""

    operations: int
    errors: int
    sessions: int
    sessions_in_use: int
    handles: int
    handle_hits: int
    """Since the token was reset last, like the misses."""
    handle_misses: int


class Worker:
    """A place in the pool: its session, which is another one after a failure, and what was done there.

    One call has it at a time, so it counts without a lock.
    """

    __slots__ = ("errors", "operations", "session")

    def __init__(self) -> None:
        self.session: Session
        self.operations = 0
        self.errors = 0
