"""What is written comes back as it was: every field of every record."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from support.databases import Database

from keysvc.model.principals import PrincipalKind, PrincipalState
from keysvc.model.records import Holdings, MerchantState, SlotState
from keysvc.model.slots import HmacAlgorithm, SecretFormat, Slot
from keysvc.model.uses import EVER, Tally, Use
from keysvc.store.store import Store
from store.records import NOON, a_key, a_merchant, a_principal, a_slot, add_filled_slot, an_event

EVERY_BYTE = bytes(range(256))
TEXTS = ["", 'Zoë\'s "Café" 100%', "日本語", "🔑 key", "a\\b'; DROP TABLE merchant; --", "x" * 200]
TIMES = [
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),  # the hour that clocks in Europe skip, and one microsecond
    datetime(2026, 10, 25, 0, 30, 0, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC),
]


def test_merchants_with_any_text_in_every_state_at_any_time(store: Store) -> None:
    merchants = [
        *(replace(a_merchant(), display_name=text, psp="PSP_42", acquirer="ACQ-7", mac=EVERY_BYTE) for text in TEXTS),
        *(a_merchant(state=state) for state in MerchantState),
        *(replace(a_merchant(), create_time=time) for time in TIMES),
        *(replace(a_merchant(), update_time=time) for time in TIMES),
    ]
    numbered = [replace(merchant, merchant_id=f"m-{i:02}") for i, merchant in enumerate(merchants)]
    with store.change() as change:
        for merchant in numbered:
            change.add_merchant(merchant)
    found = store.merchants(None, 100)
    assert numbered == found
    assert {timedelta(0)} == {merchant.create_time.utcoffset() for merchant in found}
    assert {MerchantState} == {type(merchant.state) for merchant in found}
    assert numbered == [store.merchant(merchant.merchant_id) for merchant in numbered]


def test_a_time_of_another_zone_is_the_same_instant(store: Store) -> None:
    in_kathmandu = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    with store.change() as change:
        change.add_merchant(replace(a_merchant(), create_time=in_kathmandu))
    found = store.merchant("m")
    assert found is not None
    assert (NOON, UTC) == (found.create_time, found.create_time.tzinfo)


def test_a_put_merchant_replaces_every_field(store: Store) -> None:
    after = replace(
        a_merchant(state=MerchantState.SUSPENDED), display_name="After", psp="PSP_1", acquirer="ACQ_1", mac=b"other",
        create_time=NOON - timedelta(days=1), update_time=NOON + timedelta(days=1), revision=2, mac_generation=2,
    )  # fmt: skip
    with store.change() as change:
        change.add_merchant(a_merchant())
        change.add_merchant(a_merchant("untouched"))
        change.put_merchant(after)
    assert [after, a_merchant("untouched")] == store.merchants(None, 10)


_REVOKED = replace(
    a_slot(version=3),
    state=SlotState.INACTIVE,
    hmac_algorithm=HmacAlgorithm.HMAC_SHA1,
    weak_key=True,
    revision=5,
    retiring_fingerprints="2 1",
    secret_format=SecretFormat.TEXT,
    renew_time=NOON + timedelta(microseconds=1),
    mac=EVERY_BYTE,
    mac_generation=7,
    revoke_time=NOON + timedelta(microseconds=2),
    create_time=NOON - timedelta(microseconds=1),
    fingerprint="ffff",
    rotate_before=NOON + timedelta(microseconds=3),
)


def test_every_slot_active_and_revoked(store: Store) -> None:
    active = {slot: a_slot(slot) for slot in Slot}
    revoked = replace(_REVOKED, merchant_id="n")
    with store.change() as change:
        for merchant_id in ("m", "n"):
            change.add_merchant(a_merchant(merchant_id))
        for slot in (*active.values(), revoked):
            change.add_slot(slot)
    assert Holdings(a_merchant(), active, {}, None) == store.holdings("m")
    assert Holdings(a_merchant("n"), {Slot.PRIMARY_HMAC_KEY: revoked}, {}, None) == store.holdings("n")


def test_a_put_slot_replaces_every_field_of_that_slot_alone(store: Store) -> None:
    other = a_slot(Slot.SECONDARY_HMAC_KEY)
    with store.change() as change:
        change.add_merchant(a_merchant())
        change.add_slot(a_slot())
        change.add_slot(other)
        change.put_slot(_REVOKED)
    holdings = store.holdings("m")
    assert holdings is not None
    assert {Slot.PRIMARY_HMAC_KEY: _REVOKED, Slot.SECONDARY_HMAC_KEY: other} == holdings.slots


_RETIRING = replace(
    a_key(),
    hmac_algorithm=HmacAlgorithm.HMAC_SHA512,
    material=EVERY_BYTE * 20,
    generation=3,
    fingerprint="ffff",
    mac=EVERY_BYTE,
    create_time=NOON - timedelta(microseconds=1),
    expire_time=NOON + timedelta(microseconds=1),
    mac_generation=2,
    made_in=Slot.SECONDARY_HMAC_KEY,
)


def test_a_key_of_every_slot_and_algorithm(store: Store) -> None:
    keys = {slot: [a_key(slot)] for slot in Slot}
    keys[Slot.PRIMARY_HMAC_KEY] = [
        replace(_RETIRING, version=version, hmac_algorithm=algorithm)
        for version, algorithm in enumerate(reversed(HmacAlgorithm), start=1)
    ][::-1]
    with store.change() as change:
        change.add_merchant(a_merchant())
        for slot, of_slot in keys.items():
            change.add_slot(a_slot(slot))
            for key in of_slot:
                change.add_key(key)
    holdings = store.holdings("m")
    assert holdings is not None
    assert keys == holdings.keys


def test_a_put_key_replaces_every_field_of_that_version_alone(store: Store) -> None:
    current = a_key(version=2)
    with store.change() as change:
        change.add_merchant(a_merchant())
        change.add_slot(a_slot(version=2))
        change.add_key(replace(a_key(), expire_time=NOON))
        change.add_key(current)
        change.put_key(_RETIRING)
    holdings = store.holdings("m")
    assert holdings is not None
    assert [current, _RETIRING] == holdings.keys[Slot.PRIMARY_HMAC_KEY]


def test_a_principal_of_every_kind_and_state(store: Store) -> None:
    for kind, state in itertools.product(PrincipalKind, PrincipalState):
        principal = replace(
            a_principal(f"{kind}-{state}"), kind=kind, state=state, password_digest=EVERY_BYTE, digest_generation=9
        )
        with store.change() as change:
            change.add_principal(principal)
            assert principal == change.principal(principal.principal_id)
        assert principal == store.principal(principal.principal_id)


def test_a_put_principal_replaces_every_field(store: Store) -> None:
    after = replace(
        a_principal(), kind=PrincipalKind.AUDITOR, state=PrincipalState.DISABLED, password_digest=b"\0" * 32,
        digest_generation=2, create_time=NOON - timedelta(days=1), revision=2, mac=b"other", mac_generation=2,
    )  # fmt: skip
    with store.change() as change:
        change.add_principal(a_principal())
        change.add_principal(a_principal("untouched"))
        change.put_principal(after)
    assert [after, a_principal("untouched")] == [store.principal("admin"), store.principal("untouched")]


def test_an_audit_event(store: Store, database: Database) -> None:
    event = replace(
        an_event(), version=3, outcome="REFUSED", reason="INTEGRITY", request_id="r-1", peer="unix:", principal="Zoë"
    )
    with store.change() as change:
        change.audit(event)
    (row,) = database.rows("audit_event")
    told = {name: row[name] for name in ("principal", "method", "resource", "version", "outcome", "reason")}
    assert {name: getattr(event, name) for name in told} == told
    assert (1, "r-1", "unix:") == (row["sequence"], row["request_id"], row["peer"])
    time = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC) if database.is_sqlite else row["time"]
    assert NOON == time


def test_uses_of_any_key_caller_and_time(store: Store) -> None:
    uses = {
        Use("m", text, caller, step, since): Tally(calls, time)
        for (text, time, (step, since), caller), calls in zip(
            itertools.product(TEXTS, TIMES, [(600, 1_774_785_600), (EVER, 0)], ["", "x" * 64]), itertools.count(2**40)
        )
    }
    store.add_uses(uses)
    assert uses == store.uses("m")


def test_the_binding_to_a_token(store: Store) -> None:
    assert {} == store.bindings()
    bindings = {("row", 1): EVERY_BYTE, ("digest", 2): b""}
    store.bind(bindings)
    assert bindings == store.bindings()


def test_what_is_written_survives_in_a_new_process(store: Store, database: Database) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
    before = store.holdings("m")
    assert before is not None
    assert before == database.store().holdings("m")
