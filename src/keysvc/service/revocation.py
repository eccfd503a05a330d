"""Ending keys for good: a slot's, or one that is retiring."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from keysvc.model.changing import check_span
from keysvc.model.errors import StillInUse
from keysvc.model.names import principal_name
from keysvc.model.records import KeyRecord, SlotRecord
from keysvc.model.uses import Uses, callers_of, last_uses, recent_callers, told_use
from keysvc.service.calls import Clock, Request, record_slot, refuse_repeat
from keysvc.service.integrity import Sealer
from keysvc.service.slot_edit import SlotEdit
from keysvc.service.usage import Usage
from keysvc.service.viewing import CredentialView
from keysvc.store.store import Store

_NAMED = 10
"""Callers that a refusal names at most."""


class Revocation:
    """Methods raise NotFound, SlotEmpty, EtagMismatch, StillInUse, RequestAlreadyDone or StoreUnavailable."""

    def __init__(self, store: Store, sealer: Sealer, usage: Usage, now: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._usage = usage
        self._now = now

    def revoke(self, request: Request, unused_for: timedelta, *, validate_only: bool) -> CredentialView:
        """Ends every key of the slot. Takes altered rows too: revoking is how they are got rid of."""
        check_span(unused_for, "unused_for")
        with self._store.change() as change:
            refuse_repeat(change, request.caller, request.request_id)
            edit = SlotEdit.read(change, self._sealer, request.name)
            slot = edit.require_something_to_revoke()
            edit.check_etag(request.etag)
            now = self._now()
            if unused_for:
                found = self._usage.within(change, request.name.merchant_id)
                _refuse_if_used(request, found, [key for key in edit.keys if key.live(now)], unused_for, now)
            if validate_only:
                return CredentialView(request.name, edit.emptied(slot, now))
            written = edit.empty(slot, now)
            record_slot(change, request, written.version, now)
        return CredentialView(request.name, written)

    def revoke_retiring(
        self, request: Request, version: int, unused_for: timedelta, *, validate_only: bool
    ) -> CredentialView:
        """Ends one retiring key; the slot's others live on."""
        check_span(unused_for, "unused_for")
        with self._store.change() as change:
            refuse_repeat(change, request.caller, request.request_id)
            edit = SlotEdit.read(change, self._sealer, request.name)
            edit.check_integrity()
            now = self._now()
            slot, ended = edit.require_key(), edit.require_retiring(version, now)
            edit.check_etag(request.etag)
            found = self._usage.within(change, request.name.merchant_id)
            if unused_for:
                _refuse_if_used(request, found, [ended], unused_for, now)
            left, used = [key for key in edit.retiring(now) if key is not ended], last_uses(found)
            if validate_only:
                return _view(request, slot, left, used)
            written = edit.end_retiring(slot, ended)
            record_slot(change, request, version, now)
        return _view(request, written, left, used)


def _refuse_if_used(
    request: Request, found: Uses, ending: Iterable[KeyRecord], unused_for: timedelta, now: datetime
) -> None:
    callers = callers_of(found, {key.fingerprint for key in ending}, now)
    recent = recent_callers(callers, unused_for, now)
    if recent:
        raise StillInUse(
            f"{request.name} was last used at {told_use(recent, _NAMED)}: move its clients first",
            resource=str(request.name),
            last_used_time=recent[0][1].isoformat(),
            callers=",".join(principal_name(who) for who, _ in recent[:_NAMED] if who),
        )


def _view(request: Request, slot: SlotRecord, retiring: list[KeyRecord], used: dict[str, datetime]) -> CredentialView:
    return CredentialView(request.name, slot, tuple(retiring), used)
