"""Carrying out what two administrators agreed to: a newer key takes over, and what hangs on the older one moves to it.

In this order, each step of which may be the last for today: the newer key is put into use; rows move to it, a batch to
a change, beside the service; where none is left the older one is destroyed. Every change reads under the epoch's lock
which key is the newest, so once the newer one is in use no row is ever written with the older one again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic

from keysvc.hsm.keys import KeyShape, WrappedKey
from keysvc.hsm.operations import UnusableKey
from keysvc.hsm.token import Token
from keysvc.model.errors import Integrity, Misconfigured
from keysvc.model.hsm_keys import FIRST_GENERATION, HsmKeyRecord, HsmKeyState, Purpose, hsm_key_name
from keysvc.model.names import CredentialName, merchant_name, principal_name, tokens_name
from keysvc.model.principals import PrincipalKind, PrincipalRecord
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord, TokenSetRecord
from keysvc.model.sealed import Sealed
from keysvc.service.bootstrap import BINDING_TEXT, BOUND_PURPOSES
from keysvc.service.calls import Clock, itself, record
from keysvc.service.integrity import Sealer
from keysvc.store.changes import Change
from keysvc.store.rekeying import TABLES, Place, place_of
from keysvc.store.store import Store

BATCH = 200
BATCH_SECONDS = 0.3
"""Rows of one change at most, and how long it works on them: others wait for it."""
MOVED: dict[Purpose, tuple[type[Sealed], ...]] = {
    Purpose.WRAPPING: (KeyRecord,),
    Purpose.ROW: tuple(TABLES),
    Purpose.DIGEST: (),
    Purpose.AUDIT: (),
}
"""What can be moved. Of a digest the secret is not known: it goes when its secret is renewed. A signature stays."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One batch: how many rows moved, what is wrong with those that did not, and where the next one begins."""

    rows: int
    stuck: tuple[str, ...]
    place: Place = None
    more: bool = False


Attempt = Callable[[Callable[[], Moved]], Moved]
"""Does it, and may try again what the database or the token refused for now."""


class Rekeying:
    """One purpose's. For one thread, in a process that serves no calls."""

    def __init__(self, store: Store, token: Token, sealer: Sealer, purpose: Purpose, now: Clock) -> None:
        self._store = store
        self._token = token
        self._sealer = sealer
        self._purpose = purpose
        self._now = now
        self._caller = itself(f"hsm rotate-{purpose}-key")

    def approved(self) -> int | None:
        """The generation that was agreed to and is not in use, None where there is none. Raises Misconfigured."""
        with self._store.change() as change:
            for key in self._in_state(change, HsmKeyState.APPROVED):
                self._require_two(change, key)
                return key.generation
        return None

    def put_into_use(self) -> None:
        """From the commit on all that is new is made with the newest key. Raises Misconfigured."""
        with self._store.change() as change:
            approved = self._in_state(change, HsmKeyState.APPROVED)
            if not approved:
                raise Misconfigured(f"No {self._purpose} key is agreed to: request one, and have it approved")
            key = approved[0]
            self._require_two(change, key)
            self._token.find_keys()
            if key.generation != self._token.newest(self._purpose):
                raise Misconfigured(f"{key.name} is not the newest {self._purpose} key of the token")
            now = self._now()
            self._retire_current(change)
            used = replace(key, state=HsmKeyState.CURRENT, use_time=now, revision=key.revision + 1)
            change.hsm_keys.put(self._sealer.seal(used))
            if self._purpose in BOUND_PURPOSES:
                check_value = self._token.keyed_digest(self._purpose, key.generation, BINDING_TEXT)
                change.hsm_keys.bind(self._purpose, key.generation, check_value)
            change.hsm_keys.count_change(key.name)
            self._record(change, key.name, key.generation, now)

    def retiring(self) -> list[int]:
        """The generations that are to go, the oldest first. Raises Integrity."""
        with self._store.change() as change:
            return [key.generation for key in self._in_state(change, HsmKeyState.RETIRING)]

    def heal(self) -> None:
        """Looks for a token that is gone: nothing else does, in a process that serves no calls."""
        self._token.heal()

    def hanging(self, generation: int) -> int:
        """Rows that are to move, or to end."""
        return self._store.hanging(self._purpose, generation)

    def move(self, generation: int, attempt: Attempt) -> Iterator[Moved]:
        """Moves rows off the generation, a batch to a change. May be left at any time, and begun anew."""
        for record_type in MOVED[self._purpose]:
            after, more = None, True
            while more:
                moved = attempt(partial(self._move_some, generation, record_type, after))
                yield moved
                after, more = moved.place, moved.more

    def finish(self, generation: int) -> bool:
        """Destroys the generation where nothing hangs on it any more; False where something does.

        The lock is held meanwhile, so that nothing comes to hang on it in between. Were the commit to fail, the key is
        gone all the same, and the next run notes it.
        """
        with self._store.change() as change:
            found = [key for key in self._in_state(change, HsmKeyState.RETIRING) if key.generation == generation]
            if not found or generation >= self._token.newest(self._purpose):
                return False
            if change.hsm_keys.count(self._purpose, generation):
                return False
            key, now = found[0], self._now()
            gone = replace(key, state=HsmKeyState.DESTROYED, destroy_time=now, revision=key.revision + 1)
            change.hsm_keys.put(self._sealer.seal(gone))
            change.hsm_keys.unbind(self._purpose, generation)
            change.hsm_keys.count_change(key.name)
            self._record(change, key.name, generation, now)
            self._token.destroy_key(self._purpose, generation)
        return True

    def _in_state(self, change: Change, state: HsmKeyState) -> list[HsmKeyRecord]:
        """By generation. Raises Integrity."""
        found = [key for key in change.hsm_keys.of(self._purpose) if key.state is state]
        for key in found:
            self._sealer.check(key, key.name)
        return found

    def _require_two(self, change: Change, key: HsmKeyRecord) -> None:
        """Raises Misconfigured unless two administrators who still are asked and approved."""
        for principal_id in (key.requester, key.approver):
            principal = change.principal(principal_id)
            if principal is not None:
                self._sealer.check(principal, principal_name(principal_id))
            if principal is None or not principal.active or principal.kind is not PrincipalKind.ADMIN:
                raise Misconfigured(
                    f"{principal_name(principal_id)}, who agreed to {key.name}, is no active administrator any more:"
                    " withdraw it, and ask anew"
                )
        if key.requester == key.approver:
            raise Misconfigured(
                f"{key.name} was asked for and approved by one administrator: withdraw it, and ask anew"
            )

    def _retire_current(self, change: Change) -> None:
        """Nothing is written of the first generation until then."""
        for key in self._in_state(change, HsmKeyState.CURRENT):
            before = replace(key, state=HsmKeyState.RETIRING, revision=key.revision + 1)
            change.hsm_keys.put(self._sealer.seal(before))
            return
        first = HsmKeyRecord(purpose=self._purpose, generation=FIRST_GENERATION, state=HsmKeyState.RETIRING)
        change.hsm_keys.add(self._sealer.seal(first))

    def _move_some(self, generation: int, record_type: type[Sealed], after: Place) -> Moved:
        until = monotonic() + BATCH_SECONDS
        stuck, done = list[str](), 0
        with self._store.change() as change:
            rows = change.hsm_keys.batch(self._purpose, record_type, generation, after, BATCH)
            for row in rows:
                if done and monotonic() > until:
                    break
                done += 1
                wrong = self._moved(change, row)
                stuck += [wrong] if wrong else []
        place = place_of(rows[done - 1]) if rows else after
        return Moved(done - len(stuck), tuple(stuck), place, more=done < len(rows) or len(rows) == BATCH)

    def _moved(self, change: Change, row: Sealed) -> str:
        """What is wrong with it; empty where it moved."""
        try:
            self._sealer.check(row, name_of(row))
            change.hsm_keys.put(self._sealer.seal(self._rewrapped(row)))
        except (Integrity, _Unmovable) as error:
            return str(error)
        except UnusableKey:
            return f"{name_of(row)} holds a key that the token does not work with: renew it"
        return ""

    def _rewrapped(self, row: Sealed) -> Sealed:
        if self._purpose is not Purpose.WRAPPING or not isinstance(row, KeyRecord):
            return row
        wrapped = WrappedKey(row.mac, KeyShape(row.hmac_algorithm), row.material, row.generation)
        moved = self._token.rewrap(wrapped)
        if moved is None:
            raise _Unmovable(f"{name_of(row)} cannot move inside the token: renew it")
        return replace(row, material=moved.material, generation=moved.generation)

    def _record(self, change: Change, name: str, version: int, time: datetime) -> None:
        record(change, self._caller, name, version=version, time=time)


class _Unmovable(Exception):
    """A key whose wrapping key lets none go."""


def name_of(row: Sealed) -> str:
    """Of the resource that a row belongs to."""
    match row:
        case PrincipalRecord():
            return principal_name(row.principal_id)
        case HsmKeyRecord():
            return hsm_key_name(row.purpose, row.generation)
        case TokenSetRecord():
            return tokens_name(row.merchant_id)
        case SlotRecord() | KeyRecord():
            return str(CredentialName(row.merchant_id, row.slot))
        case MerchantRecord():
            return merchant_name(row.merchant_id)
