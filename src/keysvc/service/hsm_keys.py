"""Agreeing to replace one of the token's own keys: one administrator asks, another approves.

Nothing is made here: `keysvc.service.rekeying` carries out what was agreed to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keysvc.hsm.token import Token
from keysvc.model.changing import check_etag
from keysvc.model.errors import HsmKeyPending, InvalidField, NotFound
from keysvc.model.hsm_keys import (
    FIRST_GENERATION,
    PENDING,
    REPLACEABLE,
    HsmKeyRecord,
    HsmKeyState,
    Purpose,
    parse_hsm_key,
    require_approvable,
    require_withdrawable,
    wrong_state,
)
from keysvc.service.calls import Caller, Clock, record, refuse_repeat
from keysvc.service.integrity import Sealer
from keysvc.store.changes import Change
from keysvc.store.store import Store


@dataclass(frozen=True, slots=True)
class HsmKeyView:
    """A generation as it is shown. `rows` hang on it, counted where it is RETIRING."""

    record: HsmKeyRecord
    rows: int


@dataclass(frozen=True, slots=True)
class HsmKeys:
    """The use cases of HsmKeyService."""

    store: Store
    token: Token
    sealer: Sealer
    now: Clock

    def list(self) -> list[HsmKeyView]:
        """By purpose and generation. Unchecked as all views, so that it answers while the token is out of reach."""
        known = self.store.hsm_keys()
        return [
            HsmKeyView(key, self._rows(key))
            for purpose in REPLACEABLE
            for key in [*_unwritten(purpose, known), *(key for key in known if key.purpose is purpose)]
        ]

    def request(self, caller: Caller, purpose: Purpose, request_id: str) -> HsmKeyRecord:
        """Raises HsmKeyPending, InvalidField or RequestAlreadyDone."""
        if purpose not in REPLACEABLE:
            raise InvalidField("purpose", f"must be one of {', '.join(each.name for each in REPLACEABLE)}")
        with self.store.change() as change:
            refuse_repeat(change, caller, request_id)
            theirs = change.hsm_keys.of(purpose)
            for key in theirs:
                self.sealer.check(key, key.name)
                if key.state in PENDING:
                    raise HsmKeyPending(
                        f"{key.name} is {key.state} already: have it approved and put into use, or withdraw it",
                        resource=key.name,
                    )
            now = self.now()
            newest = max((key.generation for key in theirs), default=FIRST_GENERATION)
            asked = self.sealer.seal(
                HsmKeyRecord(
                    purpose=purpose, generation=newest + 1, state=HsmKeyState.REQUESTED,
                    requester=caller.principal, request_time=now,
                )
            )  # fmt: skip
            change.hsm_keys.add(asked)
            record(change, caller, asked.name, version=asked.generation, request_id=request_id, time=now)
        return asked

    def approve(self, caller: Caller, name: str, etag: str, request_id: str) -> HsmKeyRecord:
        """Raises NotFound, EtagMismatch, HsmKeyStateWrong, or PermissionDenied for the requester."""
        with self.store.change() as change:
            refuse_repeat(change, caller, request_id)
            key = self._read(change, name, etag)
            require_approvable(key, caller.principal)
            now = self.now()
            approved = self.sealer.seal(
                replace(
                    key, state=HsmKeyState.APPROVED, approver=caller.principal, approve_time=now,
                    revision=key.revision + 1,
                )
            )  # fmt: skip
            change.hsm_keys.put(approved)
            record(change, caller, key.name, version=key.generation, request_id=request_id, time=now)
        return approved

    def withdraw(self, caller: Caller, name: str, etag: str, request_id: str) -> None:
        """Raises NotFound, EtagMismatch or HsmKeyStateWrong."""
        with self.store.change() as change:
            refuse_repeat(change, caller, request_id)
            key = self._read(change, name, etag)
            require_withdrawable(key)
            self._require_not_made(key)
            change.hsm_keys.remove(key)
            record(change, caller, key.name, version=key.generation, request_id=request_id, time=self.now())

    def _read(self, change: Change, name: str, etag: str) -> HsmKeyRecord:
        purpose, generation = parse_hsm_key(name)
        for key in change.hsm_keys.of(purpose):
            if key.generation == generation:
                self.sealer.check(key, key.name)
                check_etag(etag, etag_of(key), key.name)
                return key
        raise NotFound(f"Nobody asked for {name}: see ListHsmKeys", resource=name)

    def _require_not_made(self, key: HsmKeyRecord) -> None:
        """Raises HsmKeyStateWrong where a run that was cut off has made the key, which replicas may use by now."""
        self.token.find_keys()
        if key.generation in self.token.generations(key.purpose):
            raise wrong_state(key, "its key is made already, so carry it out, and replace it by the next generation")

    def _rows(self, key: HsmKeyRecord) -> int:
        return self.store.hanging(key.purpose, key.generation) if key.state is HsmKeyState.RETIRING else 0


def etag_of(key: HsmKeyRecord) -> str:
    return str(key.revision)


def _unwritten(purpose: Purpose, known: list[HsmKeyRecord]) -> list[HsmKeyRecord]:
    """The first generation, of which nothing is written until a later one replaces it."""
    if any(key.purpose is purpose and key.state not in PENDING for key in known):
        return []
    return [HsmKeyRecord(purpose=purpose, generation=FIRST_GENERATION, state=HsmKeyState.CURRENT)]
