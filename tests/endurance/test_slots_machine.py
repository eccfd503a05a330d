"""Slots over the wire against a plain model, in sequences of calls that hypothesis invents."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
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
from support.server import DevServer

from endurance.conftest import Sizes
from endurance.keys import API_KEY_PAIR, API_PASSWORD, HMAC_PAIR
from endurance.logs import trouble_in
from endurance.twin import Done, Twin, World

CHOICES = (
    HMAC_PAIR,
    API_KEY_PAIR,
    ("primary-hmac-key", API_PASSWORD),
    ("primary-rest-api-key", API_PASSWORD),
    ("primary-hmac-key", "encryption-password"),
)
"""An example works on two slots of two merchants, so that much happens to each."""
LONG = Duration(seconds=3600)
SHORT = Duration(nanos=50_000_000)

merchants = st.sampled_from((0, 0, 0, 1))
slots = st.integers(0, 1)
new_secrets = st.sampled_from((None, "5a" * 32, "c3" * 32))
"""None for one that the service makes. Few others, so that the same comes to stand in two slots, or comes back."""
moves = st.sampled_from(["ActivateMerchant"] * 5 + ["SuspendMerchant"] * 3 + ["TerminateMerchant"])
"""A merchant that is not active refuses nearly everything, so most are soon active again."""
seldom = st.sampled_from([False] * 9 + [True])
"""Restarting takes a second."""


class Slots(RuleBasedStateMachine):
    """After every step the merchants that it touched are compared with their models."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._slots: tuple[str, ...] = ()
        self._twins: list[Twin] = []
        self._touched: set[int] = set()

    @initialize(chosen=st.sampled_from(CHOICES))
    def begin(self, chosen: tuple[str, ...]) -> None:
        self._slots = chosen
        self._twins = [Twin(self._world, list(chosen)) for _ in range(2)]
        self.move(0, "ActivateMerchant")
        self.fill(0, 0, None)

    @rule(merchant=merchants, method=moves)
    def move(self, merchant: int, method: str) -> None:
        self._touch(merchant).move(method)

    @rule(merchant=merchants, slot=slots)
    def suspend_for_a_while(self, merchant: int, slot: int) -> None:
        twin, name = self._touch(merchant), self._slots[slot]
        twin.move("SuspendMerchant")
        twin.create(name)
        twin.renew(name, LONG)
        twin.compare()
        twin.move("ActivateMerchant")

    @rule(merchant=merchants, slot=slots, text=new_secrets)
    def fill(self, merchant: int, slot: int, text: str | None) -> None:
        twin, name = self._touch(merchant), self._slots[slot]
        if text is None:
            twin.create(name)
        else:
            twin.import_secret(name, text)

    @rule(merchant=merchants, slot=slots, text=new_secrets)
    def fill_after_a_revoke(self, merchant: int, slot: int, text: str | None) -> None:
        self.revoke(merchant, slot)
        self.fill(merchant, slot, text)

    @rule(merchant=merchants, slot=slots)
    def renew(self, merchant: int, slot: int) -> None:
        self._touch(merchant).renew(self._slots[slot])

    @rule(merchant=merchants, slot=slots)
    def renew_with_overlap(self, merchant: int, slot: int) -> None:
        self._touch(merchant).renew(self._slots[slot], LONG)

    @rule(merchant=merchants, slot=slots)
    def renew_with_an_overlap_that_ends(self, merchant: int, slot: int) -> None:
        twin, name = self._touch(merchant), self._slots[slot]
        version = twin.model.slots[name].version
        twin.renew(name, SHORT)
        if version != twin.model.slots[name].version:
            time.sleep(SHORT.ToTimedelta().total_seconds() * 1.5)
            twin.model.slots[name].end_retiring(version)

    @rule(merchant=merchants, slot=slots)
    def revoke(self, merchant: int, slot: int) -> None:
        self._touch(merchant).revoke(self._slots[slot])

    @rule(merchant=merchants, slot=slots, revoking=st.booleans(), between=st.booleans())
    def change_what_was_seen(self, merchant: int, slot: int, revoking: bool, between: bool) -> None:
        """With an etag, which another change in `between` makes stale."""
        twin, name = self._touch(merchant), self._slots[slot]
        etag = twin.etag(name)
        if between:
            twin.renew(name)
        (twin.revoke if revoking else twin.renew)(name, etag=etag)

    @precondition(lambda self: self._done())
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        merchant, done = data.draw(st.sampled_from(self._done()))
        self._touch(merchant).repeat(done)

    @precondition(lambda self: self._done())
    @rule(data=st.data(), other=merchants, slot=slots)
    def use_a_request_id_again(self, data: st.DataObject, other: int, slot: int) -> None:
        _, done = data.draw(st.sampled_from(self._done()))
        self._touch(other).reuse_request_id(done, self._slots[slot])

    @rule(really=seldom)
    def restart(self, really: bool) -> None:
        if really:
            self._world.restart()
            self._touched = {0, 1}

    @invariant()
    def merchants_are_as_their_models_say(self) -> None:
        for merchant in self._touched:
            self._twins[merchant].compare()
        self._touched.clear()

    def _touch(self, merchant: int) -> Twin:
        self._touched.add(merchant)
        return self._twins[merchant]

    def _done(self) -> list[tuple[int, Done]]:
        return [(merchant, done) for merchant, twin in enumerate(self._twins) for done in twin.model.done]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = DevServer(tmp_path_factory.mktemp("machine") / "home").start()
    made = World(server)
    yield made
    made.client.close()
    assert 0 == server.stop()
    assert [] == trouble_in(server)


def test_a_restart_changes_nothing(world: World) -> None:
    twin = Twin(world, [*HMAC_PAIR, *API_KEY_PAIR, API_PASSWORD, "encryption-password"])
    twin.move("ActivateMerchant")
    for slot in (*HMAC_PAIR, "primary-rest-api-key", API_PASSWORD, "encryption-password"):
        twin.create(slot)
    for slot in ("primary-hmac-key", "primary-rest-api-key", "encryption-password"):
        twin.renew(slot)
        twin.renew(slot, LONG)
    twin.revoke("secondary-hmac-key")
    world.restart()
    twin.compare()
    for done in twin.model.done:
        twin.repeat(done)
    twin.move("SuspendMerchant")
    world.restart()
    twin.compare()


@pytest.mark.timeout(1800)
def test_slots_do_what_the_model_says(world: World, sizes: Sizes) -> None:
    run_state_machine_as_test(
        lambda: Slots(world),  # type: ignore[arg-type]  # whatever makes a machine will do
        settings=settings(
            max_examples=sizes.machine_examples,
            stateful_step_count=sizes.machine_steps,
            deadline=None,
            derandomize=not sizes.soak,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(dict(world.met))
    missed = _EVERYTHING - set(world.met)
    assert missed <= (set() if sizes.soak else _SELDOM)


_SELDOM = {"TerminateMerchant", "ETAG_MISMATCH", "SLOT_OCCUPIED"}
"""What the short form may miss: it draws few steps, and others whenever a rule is changed."""
_EVERYTHING = {
    "ActivateMerchant", "SuspendMerchant", "TerminateMerchant",
    "CreateCredential", "ImportCredential", "RenewCredential", "RevokeCredential",
    "VALID", "retiring", "INVALID", "NO_LIVE_KEY", "MERCHANT_NOT_ACTIVE",
    "SLOT_EMPTY", "SLOT_OCCUPIED", "ETAG_MISMATCH", "REQUEST_ALREADY_DONE",
}  # fmt: skip
"""What a run that proves anything has met."""
