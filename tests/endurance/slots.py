"""A plain model of slots: what each holds, and what a verification must then answer. Asks no server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from endurance.keys import Answer, Key
from keysvc.v1.credential_pb2 import Credential

MAX_RETIRING = 5


@dataclass
class Slot:
    """One slot, changed as the calls that were answered changed it."""

    name: str
    state: str = "EMPTY"
    version: int = 0
    current: Key | None = None
    retiring: list[Key] = field(default_factory=list)
    """Newest first."""
    ended: list[Key] = field(default_factory=list)
    """The last that ended first."""

    @property
    def shown(self) -> tuple[str, int, list[int]]:
        """As `shown` makes it of a view."""
        return self.state, self.version, [key.version for key in self.retiring]

    @property
    def live(self) -> list[Key]:
        return [*([self.current] if self.current else []), *self.retiring]

    @property
    def known(self) -> list[Key]:
        """Every key of this slot whose secret was told."""
        return [key for key in (*self.live, *self.ended) if key.text]

    def fill(self, key: Key) -> None:
        """Create or import."""
        assert self.current is None
        self._hold(key)

    def renew(self, key: Key, *, overlap: bool) -> None:
        assert self.current is not None
        (self.retiring if overlap else self.ended).insert(0, self.current)
        self._hold(key)

    def end(self) -> None:
        """Revoked, or its merchant terminated. A slot that was never filled stays EMPTY."""
        self.ended = self.live + self.ended
        self.current, self.retiring = None, []
        self.state = "INACTIVE" if self.version else "EMPTY"

    def end_retiring(self, version: int) -> None:
        """Its overlap has ended."""
        self.ended = [key for key in self.retiring if key.version == version] + self.ended
        self.retiring = [key for key in self.retiring if key.version != version]

    def _hold(self, key: Key) -> None:
        self.current, self.version, self.state = key, key.version, "ACTIVE"


def shown(view: Credential) -> tuple[str, int, list[int]]:
    """State, version and the versions that are retiring, newest first."""
    return Credential.State.Name(view.state), view.version, [key.version for key in view.retiring]


def right_answers(asked: Iterable[Slot], key: Key) -> list[Answer]:
    """What may be answered when `key` is presented to these slots of an active merchant.

    Several where the same secret was imported more than once.
    """
    live = [(candidate, candidate in slot.retiring) for slot in asked for candidate in slot.live]
    matches = [_match(candidate, retiring, key) for candidate, retiring in live if _same(candidate, key)]
    return matches or [Answer("INVALID" if live else "NO_LIVE_KEY")]


def _same(candidate: Key, key: Key) -> bool:
    # A ciphertext is bound to its version, so not even the same key decrypts it after it was imported anew.
    return candidate.text == key.text and (not key.ciphertext or candidate.version == key.version)


def _match(candidate: Key, retiring: bool, key: Key) -> Answer:
    # Decrypt does not say whether the key is retiring.
    return Answer("VALID", candidate.credential, candidate.version, retiring and not key.ciphertext)
