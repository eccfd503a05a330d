"""What becomes of a line of a file that moves in: the rules, over what stands of its merchant and in the lines before.

Nothing is written here. A file adds, and changes nothing that is there: what was renewed or revoked since is not
brought back, and what a line tells of a merchant that is there must be so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from keysvc.model.errors import (
    Integrity,
    InvalidField,
    KeysvcError,
    MerchantNotActive,
    NotFound,
    SlotOccupied,
    TokenLacks,
)
from keysvc.model.merchants import require_active
from keysvc.model.moving import About, Entry, LineRefused, Outcome, Result, refused
from keysvc.model.names import CredentialName, merchant_name, principal_name
from keysvc.model.principals import ALL_MERCHANTS, PrincipalKind
from keysvc.model.records import Holdings, KeyRecord, MerchantRecord, MerchantState, SlotState
from keysvc.model.slots import Kind, Slot
from keysvc.service.calls import Clock
from keysvc.service.integrity import Sealer
from keysvc.service.material import Fresh, Maker, Offered, offered, recipe
from keysvc.service.merchants import check_display_name
from keysvc.service.sameness import Sameness
from keysvc.store.store import Store

_OWNERS = 10_000
"""Principals whose being there is remembered."""
_LINES_FAULT = (InvalidField, NotFound, SlotOccupied, MerchantNotActive, TokenLacks, Integrity, LineRefused)
"""What refuses a line. All else is nobody's fault, and ends the batch."""


@dataclass(frozen=True, slots=True)
class Step:
    """A line that the token has to do something for, or that is to be written: a merchant, a key, or both."""

    entry: Entry
    merchant: MerchantRecord
    adds_merchant: bool = False
    secret: Offered | Fresh | None = None
    """One that came sealed is a key already."""
    held: KeyRecord | None = None
    """The key in the slot, which may be the same."""


@dataclass(slots=True)
class Round:
    """Lines that are decided by one reading of their merchants, and written in one change."""

    seen: dict[str, Holdings]
    decided: dict[int, Outcome] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    left: list[Entry] = field(default_factory=list)
    """To be decided once those before them are written."""
    added: dict[str, MerchantRecord] = field(default_factory=dict)
    filled: set[tuple[str, Slot]] = field(default_factory=set)

    def must_wait(self, entry: Entry) -> bool:
        """For what a line before it is about to write."""
        if entry.slot is None:
            return entry.merchant_id in self.added
        return (entry.merchant_id, entry.slot) in self.filled

    def put(self, step: Step) -> None:
        self.steps.append(step)
        if step.adds_merchant:
            self.added[step.entry.merchant_id] = step.merchant
        if step.entry.slot is not None:
            self.filled.add((step.entry.merchant_id, step.entry.slot))


class Rules:
    """Of one file: remembers which merchants were refused."""

    def __init__(self, store: Store, sealer: Sealer, maker: Maker, sameness: Sameness, now: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._maker = maker
        self._sameness = sameness
        self._now = now
        self._not_added: dict[str, About] = {}
        """What was said of merchants in the lines that were to add them."""
        self._require_owner = lru_cache(_OWNERS)(self._look_for_owner)

    def decide(self, around: Round, entry: Entry) -> None:
        """Puts the line where it belongs in its round. Raises HsmUnavailable and StoreUnavailable."""
        if around.must_wait(entry):
            around.left.append(entry)
            return
        held, added = around.seen.get(entry.merchant_id), around.added.get(entry.merchant_id)
        try:
            if entry.fault is not None:
                raise entry.fault
            found = self._compared(entry, held) if held else self._new(entry, added)
        except _LINES_FAULT as error:
            around.decided[entry.line] = refusal(entry, error)
            if held is None and added is None:
                self._not_added.setdefault(entry.merchant_id, entry.about)
            return
        if isinstance(found, Step):
            around.put(found)
        else:
            around.decided[entry.line] = found

    def compared(self, step: Step, held: KeyRecord, fresh: Fresh) -> Outcome:
        """What becomes of a line whose slot holds a key."""
        if self._sameness.of_key(held, fresh):
            return there(step.entry, held.version)
        return refusal(step.entry, _occupied(step.entry))

    def _compared(self, entry: Entry, holdings: Holdings) -> Step | Outcome:
        """A line of a merchant that is there."""
        merchant = holdings.merchant
        self._sealer.check(merchant, merchant_name(entry.merchant_id))
        _require_told_right(merchant, entry.about)
        if entry.slot is None:
            return there(entry, 0)
        slot = holdings.slots.get(entry.slot)
        if slot is None:
            return self._filling(entry, merchant)
        name, keys = CredentialName(entry.merchant_id, entry.slot), holdings.keys.get(entry.slot, [])
        self._sealer.check_slot(slot, keys, str(name))
        if slot.state is not SlotState.ACTIVE:
            raise LineRefused("REVOKED", f"{name} held a key that was revoked: a file fills no slot that was in use")
        held = next(key for key in keys if not key.retiring)
        if held.kind is not Kind.BEARER_SECRET or isinstance(entry.secret, bytes):
            return Step(entry, merchant, secret=self._secret(entry, allow_weak=True), held=held)
        if not self._sameness.of_bearer(held, entry.secret):
            raise _occupied(entry)
        return there(entry, slot.version)

    def _new(self, entry: Entry, added: MerchantRecord | None) -> Step:
        """A line of a merchant that is not there, or that a line before it adds."""
        if added is not None:
            _require_told_right(added, entry.about)
            return self._filling(entry, added)
        merchant = self._new_merchant(entry)
        return self._filling(entry, merchant, adds_merchant=True) if entry.slot else Step(entry, merchant, True)

    def _filling(self, entry: Entry, merchant: MerchantRecord, *, adds_merchant: bool = False) -> Step:
        # One that is told to be suspended moves in with its keys, which verify nothing until it is activated.
        if merchant.state is MerchantState.TERMINATED or merchant.state is not entry.about.state:
            require_active(merchant)
        return Step(entry, merchant, adds_merchant, self._secret(entry, allow_weak=entry.allow_weak))

    def _secret(self, entry: Entry, *, allow_weak: bool) -> Offered | Fresh:
        name = name_of(entry)
        wanted = recipe(name, entry.algorithm, entry.secret_format)
        if isinstance(entry.secret, bytes):
            return self._maker.adopt_sealed(name, wanted, entry.secret)
        return offered(name, wanted, entry.secret, allow_weak=allow_weak)

    def _new_merchant(self, entry: Entry) -> MerchantRecord:
        about, now = entry.about, self._now()
        if self._not_added.get(entry.merchant_id, about) != about:
            raise LineRefused(
                "MERCHANT_REFUSED", "The line that was to add this merchant was refused, and this one tells another"
                " display_name, psp, acquirer or state: mend that line",
            )  # fmt: skip
        if entry.merchant_id == ALL_MERCHANTS:
            raise InvalidField("merchant_id", f"{ALL_MERCHANTS} stands for all merchants: choose another")
        for kind, owner in ((PrincipalKind.PSP, about.psp), (PrincipalKind.ACQUIRER, about.acquirer)):
            if owner is not None:
                self._require_owner(kind, owner)
        return MerchantRecord(
            merchant_id=entry.merchant_id,
            display_name=check_display_name(about.display_name or "", "display_name"),
            psp=about.psp, acquirer=about.acquirer, state=about.state or MerchantState.ACTIVE,
            create_time=now, update_time=now, revision=1,
        )  # fmt: skip

    def _look_for_owner(self, kind: PrincipalKind, principal_id: str) -> None:
        """Raises NotFound and InvalidField, and is then asked again."""
        field_name = kind.lower()
        found = self._store.principal(principal_id)
        if found is None:
            raise NotFound(f"{field_name}: there is no such principal", resource=principal_name(principal_id))
        self._sealer.check(found, principal_name(principal_id))
        if found.kind is not kind:
            raise InvalidField(field_name, f"names a principal of kind {found.kind}")


def name_of(entry: Entry) -> CredentialName:
    """Of a line that has a secret."""
    if entry.slot is None:
        raise ValueError("this line has no secret")
    return CredentialName(entry.merchant_id, entry.slot)


def there(entry: Entry, version: int) -> Outcome:
    return Outcome(entry.line, entry.merchant_id, entry.slot or "", Result.ALREADY_THERE, version)


def created(entry: Entry, version: int) -> Outcome:
    return Outcome(entry.line, entry.merchant_id, entry.slot or "", Result.CREATED, version)


def refusal(entry: Entry, error: KeysvcError | LineRefused) -> Outcome:
    return refused(entry.line, entry.merchant_id, entry.slot, error)


def _occupied(entry: Entry) -> SlotOccupied:
    name = str(name_of(entry))
    return SlotOccupied(f"{name} holds another key", resource=name)


def _require_told_right(merchant: MerchantRecord, about: About) -> None:
    """Raises LineRefused where the line tells of the merchant what does not stand."""
    told = {"display_name": about.display_name, "psp": about.psp, "acquirer": about.acquirer, "state": about.state}
    wrong = [name for name, value in told.items() if value not in (None, getattr(merchant, name))]
    if wrong:
        raise LineRefused("MERCHANT_DIFFERS", f"The merchant is there with another {', '.join(wrong)}")
