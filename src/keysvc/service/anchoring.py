"""What is anchored in the token, when, and what the database is held against at every start.

The anchor says how far the database had come: its epoch, and its audit record's newest signature. A database that has
not come so far was restored from an older backup, or rolled back: what was revoked since works in it again. So nothing
starts on it, until the newest backup is restored or somebody accepts the loss.

The anchor is never above what is committed: SQL is read first, then the token is written. Replicas may write at the
same time: each reads before, and puts its own in the place of lower ones only.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from keysvc.hsm.anchor import AnchorNotKept
from keysvc.hsm.token import Token
from keysvc.model import anchors
from keysvc.model.anchors import Anchor
from keysvc.model.audit import ChainEnd, SignedHead, time_text
from keysvc.model.errors import Integrity, Misconfigured
from keysvc.model.hsm_keys import Purpose
from keysvc.service.audit import AuditSigner
from keysvc.service.calls import Clock, itself, record
from keysvc.store.audit_log import EventFilter
from keysvc.store.store import Store

EPOCH_LEAP = 1_000_000
"""What accepting adds to the epoch: more than a replica that was left running can have seen after the anchor, so that
it too forgets everything."""

_WHAT_TO_DO = (
    "What was changed since, revocations too, is undone in it. Restore the newest backup; if there is no newer one, run"
    " `keysvc db accept-restored` (for `keysvc dev`: with --dev, or remove KEYSVC_HOME wholly)"
)

log = structlog.get_logger(__name__)


class DatabaseOlder(Misconfigured):
    """The database is not as far as the anchor says, or the anchor is not one of ours."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A database that was taken as it is. What was changed between the two times is lost."""

    newest_event: datetime | None
    """Of the restored audit record; None where it was empty."""
    anchored: datetime | None
    """When the anchor was written; None where it could not be read."""
    epoch: int
    """The new one."""


class Anchoring:
    """One process's view of the anchor. Methods raise HsmUnavailable and StoreUnavailable."""

    def __init__(self, store: Store, token: Token, signer: AuditSigner, now: Clock, every: timedelta) -> None:
        """`every` is how often the fleet writes to the token at most, but for clean stops."""
        self._store = store
        self._token = token
        self._signer = signer
        self._now = now
        self._every = every
        self._told_not_kept = False
        self.held = True
        """False once a round found the database older than the anchor."""
        self.last_kept: datetime | None = None
        """When a round last found the database as far as the anchor, and the anchor as far as it should be."""

    def require_held(self) -> None:
        """Raises DatabaseOlder. Where there is no anchor, there is nothing to hold the database against."""
        self._required()

    def advance(self) -> None:
        """Moves the anchor to what is committed now, or makes it. Raises DatabaseOlder and AnchorNotKept."""
        self._move(self._required())

    def keep(self) -> None:
        """Advances where nobody has for a while. For the rounds: tells in the log what is wrong."""
        self._advance_after(self._every)

    def leave(self) -> None:
        """Advances at a clean stop. Tells as `keep` does."""
        self._advance_after(timedelta())

    def _advance_after(self, age: timedelta) -> None:
        try:
            found = self._required()
            anchor = _highest(found)
            # A clock that is wrong must not keep everybody from writing.
            if anchor is None or abs(self._now() - anchor.time) >= age:
                self._move(found)
            self.held, self.last_kept, self._told_not_kept = True, self._now(), False
        except DatabaseOlder as error:
            self.held = False
            log.error("anchor.not_held", reason=error.message)
        except AnchorNotKept as error:
            if not self._told_not_kept:
                log.warning("anchor.not_kept", reason=error.message)
            self._told_not_kept = True

    def accept(self) -> Accepted:
        """Takes the database as it is: moves its epoch beyond all that was ever seen, records that, and anchors it.

        Raises HsmUnavailable too where the audit record was tampered with, and so is not signed.
        """
        stored = self._token.anchor_values()
        anchor = _highest({value: right for value in stored if (right := self._checked(value)) is not None})
        newest, now = self._newest_event(), self._now()
        with self._store.change() as change:
            epoch = change.move_epoch(anchor.epoch if anchor else 0, EPOCH_LEAP)
            record(change, itself("accept-restored"), "", time=now)
            change.sign_audit(now)
        # After the commit. If it is cut off before, the database is refused as before, and accepted anew.
        new = self._committed()
        if new is not None:
            self._put(new, stored)
        return Accepted(newest, anchor.time if anchor else None, epoch)

    def _move(self, found: dict[bytes, Anchor]) -> None:
        anchor, new = _highest(found), self._committed()
        if new is not None and (anchor is None or new.holds_more_than(anchor)):
            self._put(new, list(found))

    def _required(self) -> dict[bytes, Anchor]:
        """The anchors in the token, all of which the database holds. Raises DatabaseOlder."""
        # The anchors first: another replica may move them while this one reads.
        found = self._right_ones()
        for anchor in found.values():
            self._require(anchor)
        return found

    def _right_ones(self) -> dict[bytes, Anchor]:
        """The anchors in the token, each by what stands there. Raises DatabaseOlder for one that was altered."""
        found = {}
        for value in self._token.anchor_values():
            anchor = self._checked(value)
            if anchor is None:
                raise DatabaseOlder(
                    "The token's anchor (the data object keysvc-anchor) is not one that this token's audit key made: it"
                    " was altered, so it cannot tell whether the database is older than it was. Compare `keysvc audit"
                    " verify --head` with a head from the log, then run `keysvc db accept-restored`"
                )
            found[value] = anchor
        return found

    def _checked(self, value: bytes) -> Anchor | None:
        try:
            anchor, mac = anchors.read(value)
            right = hmac.compare_digest(self._mac(anchor), mac)
        except (KeyError, TypeError, ValueError):
            return None
        return anchor if right else None

    def _mac(self, anchor: Anchor) -> bytes:
        return self._token.keyed_digest(Purpose.AUDIT, anchor.generation, anchor.meaning())

    def _require(self, anchor: Anchor) -> None:
        epoch, noted = self._store.committed_epoch(), time_text(anchor.time)
        if epoch < anchor.epoch:
            newest = self._newest_event()
            until = f"its newest audit event is of {time_text(newest)}" if newest else "it has no newest audit event"
            raise DatabaseOlder(
                f"The database is older than it was: its epoch is {epoch}, and {until}; the token's anchor tells epoch"
                f" {anchor.epoch}, of {noted}. {_WHAT_TO_DO}"
            )
        if not self._holds(anchor.signed):
            raise DatabaseOlder(
                f"The audit record lacks its event {anchor.signed.sequence}, or the signature over it, which the"
                f" token's anchor of {noted} tells: the database is older than it was, or altered. {_WHAT_TO_DO}"
            )

    def _holds(self, end: ChainEnd) -> bool:
        """Whether the record has this event, and a signature over it."""
        if end.sequence == 0:
            return True
        try:
            events = self._store.audit_events(end.sequence - 1, 1, EventFilter())
            heads = self._store.audit_heads(end.sequence - 1)
        except Integrity:
            return False
        found = [ChainEnd(event.sequence, event.hash) for event in events]
        found += [_place_of(head) for head in heads[:1]]
        return found == [end, end]

    def _committed(self) -> Anchor | None:
        """What stands in SQL now. None while the newest signature is wrong: the watch over the record tells so."""
        epoch, head = self._store.committed_epoch(), self._store.last_audit_head()
        if head is not None and not self._signer.made(head):
            return None
        return Anchor(epoch, _place_of(head), self._now(), self._token.newest(Purpose.AUDIT))

    def _put(self, anchor: Anchor, instead_of: list[bytes]) -> None:
        self._token.put_anchor(anchor.to_bytes(self._mac(anchor)), instead_of)

    def _newest_event(self) -> datetime | None:
        """None where there is none, or it cannot be read."""
        try:
            events = self._store.audit_events(self._store.audit_end().sequence - 1, 1, EventFilter())
        except Integrity:
            return None
        return events[-1].event.time if events else None


def _highest(found: dict[bytes, Anchor]) -> Anchor | None:
    """Two of the same moment may each be higher in one part: what is anchored later then holds both."""
    return max(found.values(), key=lambda anchor: (anchor.epoch, anchor.signed.sequence), default=None)


def _place_of(head: SignedHead | None) -> ChainEnd:
    return ChainEnd(head.sequence, head.hash) if head else ChainEnd()
