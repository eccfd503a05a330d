"""Merchants and their secrets moving in, some hundred lines in one change. A line is done wholly, or not at all.

What the token has to do for a line is done before the change begins, so that others wait for the writing only. In the
change it is seen whether the merchants stand as they were read, and the token's keys are still the newest; lines of
those that do not are decided anew. `keysvc.service.moving_rules` decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from keysvc.hsm.token import Token
from keysvc.model.errors import Integrity
from keysvc.model.moving import Entry, Outcome
from keysvc.model.names import merchant_name
from keysvc.service.calls import Clock, itself, record
from keysvc.service.digests import Digester
from keysvc.service.integrity import SealedLater, Sealer
from keysvc.service.material import Fresh, Maker, Offered
from keysvc.service.moving_rules import Round, Rules, Step, created, name_of, refusal
from keysvc.service.sameness import Sameness
from keysvc.service.slot_edit import SlotEdit
from keysvc.store.bulk import Bulk
from keysvc.store.store import Store

BATCH = 200
"""Lines of one change."""
_CALLER = itself("import")

Decided = dict[int, Outcome]
"""By line."""


class MovingIn:
    """Of one file. For one thread, in a process that serves no calls."""

    def __init__(self, store: Store, token: Token, sealer: Sealer, digester: Digester, now: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._later = SealedLater(token)
        self._maker = Maker(token, digester)
        self._rules = Rules(store, sealer, self._maker, Sameness(token, digester), now)
        self._now = now
        self._noted = False

    def take_in(self, entries: Sequence[Entry]) -> list[Outcome]:
        """What became of each, in their order. A failure leaves each done or not: they may be taken in again.

        Raises StoreUnavailable, HsmUnavailable and Overloaded.
        """
        self._note_run()
        decided: Decided = {}
        left = list(entries)
        while left:
            more, left = self._some(left)
            decided.update(more)
        return [decided[entry.line] for entry in entries]

    def _note_run(self) -> None:
        """Records that a file moves in, whatever comes of its lines."""
        if not self._noted:
            with self._store.change() as change:
                record(change, _CALLER, "", time=self._now())
            self._noted = True

    def _some(self, entries: list[Entry]) -> tuple[Decided, list[Entry]]:
        """The outcomes of some, and those that are left."""
        try:
            return self._one_round(entries)
        except Integrity as error:
            # Of one row somewhere among them. Whose it is, is found by halving.
            if len(entries) == 1:
                return {entries[0].line: refusal(entries[0], error)}, []
        half = len(entries) // 2
        first, left = self._some(entries[:half])
        second, more = self._some(entries[half:])
        return first | second, left + more

    def _one_round(self, entries: list[Entry]) -> tuple[Decided, list[Entry]]:
        around = Round(self._store.holdings_of({entry.merchant_id for entry in entries}))
        for entry in entries:
            self._rules.decide(around, entry)
        fresh = self._wrapped(around.steps)
        for step in around.steps:
            if step.held is not None:
                around.decided[step.entry.line] = self._rules.compared(step, step.held, fresh[step.entry.line])
        new = [step for step in around.steps if step.held is None]
        if new:
            self._write(around, new, fresh)
        return around.decided, sorted(around.left, key=lambda entry: entry.line)

    def _wrapped(self, steps: list[Step]) -> dict[int, Fresh]:
        """The keys of these lines, as they are stored."""
        ready = {step.entry.line: step.secret for step in steps if isinstance(step.secret, Fresh)}
        plain = {step.entry.line: step.secret for step in steps if isinstance(step.secret, Offered)}
        return ready | dict(zip(plain, self._maker.adopt_each(list(plain.values())), strict=True))

    def _write(self, around: Round, new: list[Step], fresh: dict[int, Fresh]) -> None:
        with self._store.bulk(self._sealer.seal_each) as bulk:
            moved = self._moved(bulk, around, new, fresh)
            outcomes = [
                self._add(bulk, step, fresh.get(step.entry.line))
                for step in new
                if step.entry.merchant_id not in moved
            ]  # fmt: skip
        around.decided.update((outcome.line, outcome) for outcome in outcomes)
        around.left += [step.entry for step in new if step.entry.merchant_id in moved]

    def _moved(self, bulk: Bulk, around: Round, new: list[Step], fresh: dict[int, Fresh]) -> set[str]:
        """Merchants that do not stand any more as they were read, or whose keys were made with an older key."""
        ids = {step.entry.merchant_id for step in new}
        now = bulk.holdings_of(ids)
        older = {
            step.entry.merchant_id
            for step in new
            if step.entry.line in fresh and not self._maker.is_newest(fresh[step.entry.line])
        }
        return older | {merchant_id for merchant_id in ids if now.get(merchant_id) != around.seen.get(merchant_id)}

    def _add(self, bulk: Bulk, step: Step, fresh: Fresh | None) -> Outcome:
        entry, time, version = step.entry, self._now(), 0
        if step.adds_merchant:
            bulk.add_merchant(step.merchant)
            record(bulk, _CALLER, merchant_name(entry.merchant_id), time=time)
        if fresh is not None:
            name = name_of(entry)
            edit = SlotEdit(bulk, self._later, name, step.merchant, None, [])
            version = edit.fill(fresh, time, entry.rotate_before).version
            record(bulk, _CALLER, str(name), version=version, time=time)
        return created(entry, version)
