"""Any sequence of changes of a pair: names and versions never stand for two keys, and every live key verifies."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.databases import SqliteDatabases

from keysvc.hsm.token import Token
from keysvc.model.changing import MAX_RETIRING
from keysvc.model.slots import PAIRS, Kind, Slot
from service.parts import NONE, Clock, Service

HOUR = timedelta(hours=1)


@dataclass
class Place:
    """What one slot should hold: secrets by version, with the end of those that retire."""

    version: int = 0
    current: str | None = None
    retiring: dict[int, tuple[str, datetime]] = field(default_factory=dict)

    def live(self, now: datetime) -> dict[str, int]:
        found = {secret: version for version, (secret, end) in self.retiring.items() if now < end}
        return {**found, self.current: self.version} if self.current else {}


class Pair(RuleBasedStateMachine):
    """The slots of one merchant's pair, beside a model of them."""

    kind: Kind
    token: Token
    databases: SqliteDatabases

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.clock = Clock()
        self.service = Service(self.databases.new(Path(self.directory.name)), self.token, self.clock)
        self.places = {slot: Place() for slot in PAIRS[self.kind]}
        self.named: dict[tuple[Slot, int], str] = {}
        """Every name and version that a key ever had, with the key."""
        self.secrets: list[str] = []

    def teardown(self) -> None:
        self.service.close()
        self.service.database.close()
        self.directory.cleanup()

    @initialize()
    def begin(self) -> None:
        self.service.add_merchant()
        self.create(0)
        self.create(1)

    @rule(which=st.integers(0, 1))
    def create(self, which: int) -> None:
        slot, place = self._place(which)
        if place.current is None:
            place.current = self.service.create(slot)
            place.version += 1
            self._name(slot, place)

    @rule(which=st.integers(0, 1), hours=st.integers(0, 3))
    def renew(self, which: int, hours: int) -> None:
        slot, place = self._place(which)
        live = sum(self.clock.time < end for _, end in place.retiring.values())
        if place.current is None or (hours and live >= MAX_RETIRING):
            return
        if hours:
            place.retiring[place.version] = (place.current, self.clock.time + hours * HOUR)
        place.current = self.service.renew(slot, hours * HOUR)
        place.version += 1
        self._name(slot, place)

    @precondition(lambda self: all(place.current for place in self.places.values()))
    @rule()
    def swap(self) -> None:
        one, other = self.places.values()
        assert (one.version + 1, other.version + 1) == self.service.swap(self.kind)
        one.current, other.current = other.current, one.current
        for slot, place in self.places.items():
            place.version += 1
            self._name(slot, place)

    @rule(which=st.integers(0, 1))
    def revoke(self, which: int) -> None:
        slot, place = self._place(which)
        if place.current is not None:
            self.service.revoke(slot)
            place.current = None
            place.retiring.clear()

    @rule(which=st.integers(0, 1), number=st.integers(0, 4))
    def revoke_retiring(self, which: int, number: int) -> None:
        slot, place = self._place(which)
        live = [version for version, (_, end) in place.retiring.items() if self.clock.time < end]
        if live and place.current:
            version = live[number % len(live)]
            self.service.revoke_retiring(version, slot, NONE)
            del place.retiring[version]

    @rule(minutes=st.sampled_from([0, 30, 60, 120]), expire=st.booleans())
    def wait(self, minutes: int, *, expire: bool) -> None:
        self.clock.forward(timedelta(minutes=minutes))
        if expire:
            self.service.maintenance.expire()

    @invariant()
    def every_live_key_verifies_in_its_slot_and_nothing_else_does(self) -> None:
        for slot, place in self.places.items():
            found = {}
            for secret in self.secrets:
                verdict = self.service.verify(secret, slot)
                if verdict.key is not None:
                    found[secret] = verdict.key.version
            assert place.live(self.clock.time) == found

    def _place(self, which: int) -> tuple[Slot, Place]:
        return list(self.places.items())[which]

    def _name(self, slot: Slot, place: Place) -> None:
        """The key has this name and version from now on: no other key ever had it."""
        assert place.current is not None
        assert (slot, place.version) not in self.named
        self.named[slot, place.version] = place.current
        if place.current not in self.secrets:
            self.secrets.append(place.current)


@pytest.fixture
def machine(token: Token, sqlite_databases: SqliteDatabases) -> type[Pair]:
    class Bound(Pair):
        pass

    Bound.token, Bound.databases = token, sqlite_databases
    return Bound


@pytest.mark.parametrize("kind", [Kind.HMAC_KEY, Kind.BEARER_SECRET])
def test_any_sequence_of_changes(machine: type[Pair], kind: Kind) -> None:
    machine.kind = kind
    few = settings(
        max_examples=8, stateful_step_count=15, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=few)
