"""The swap of a pair: both keys work on through it, signing moves, and everything of a key goes with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from support.databases import Database

from keysvc.model.errors import (
    DeadlineExceeded,
    EtagMismatch,
    Integrity,
    InvalidField,
    KeysvcError,
    MerchantNotActive,
    NotFound,
    RequestAlreadyDone,
    SlotEmpty,
)
from keysvc.model.records import MerchantState
from keysvc.model.rotation import Stage
from keysvc.model.slots import PAIRS, Kind, Slot
from keysvc.service.calls import Caller
from keysvc.service.rotations import SwapRequest
from keysvc.store.changes import Change
from service.parts import (
    API_KEY,
    CALLER,
    HMAC,
    SECOND_API_KEY,
    SECOND_HMAC,
    Clock,
    Service,
    both_databases,
    mac_by,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
BOTH_KINDS = pytest.mark.parametrize("kind", [Kind.HMAC_KEY, Kind.BEARER_SECRET])


@pytest.fixture(autouse=True)
def merchant(service: Service) -> None:
    service.add_merchant()


def filled(service: Service, kind: Kind, clock: Clock) -> tuple[str, str]:
    """Both slots, the secondary a little later."""
    primary, secondary = PAIRS[kind]
    one = service.create(primary)
    clock.forward(MICROSECOND)
    return one, service.create(secondary)


@both_databases
@BOTH_KINDS
def test_both_keys_verify_before_and_after_under_their_new_names(service: Service, clock: Clock, kind: Kind) -> None:
    primary, secondary = PAIRS[kind]
    one, other = filled(service, kind, clock)
    for turn in range(1, 4):
        assert (turn + 1, turn + 1) == service.swap(kind)
        here, there = (primary, secondary) if turn % 2 == 0 else (secondary, primary)
        for secret, slot, not_there in ((one, here, there), (other, there, here)):
            verdict = service.verify(secret, slot)
            assert ("VALID", "INVALID") == (verdict.result, service.verdict(secret, not_there))
            assert verdict.key is not None
            assert (slot, turn + 1) == (verdict.key.slot, verdict.key.version)
    if kind is Kind.HMAC_KEY:
        assert ["VALID", "VALID"] == [service.verdict(secret) for secret in (one, other)]


def test_signing_moves_over(service: Service, clock: Clock) -> None:
    one, other = filled(service, Kind.HMAC_KEY, clock)
    assert mac_by(one) == service.sign()
    service.swap()
    assert (mac_by(other), mac_by(one)) == (service.sign(), service.sign(SECOND_HMAC))


def test_a_bearer_secret_matches_after_swaps_with_a_renewal_between(service: Service, clock: Clock) -> None:
    """Its digest is bound to the name of the slot that it was made in, also as a retiring key of another."""
    one, other = filled(service, Kind.BEARER_SECRET, clock)
    service.swap(Kind.BEARER_SECRET)
    third = service.renew(API_KEY, DAY)
    assert [("VALID", 3), ("VALID", 2), ("VALID", 2)] == [
        (verdict.result, verdict.key and verdict.key.version)
        for verdict in (
            service.verify(third, API_KEY),
            service.verify(other, API_KEY),
            service.verify(one, SECOND_API_KEY),
        )
    ]
    service.swap(Kind.BEARER_SECRET)
    places = {third: SECOND_API_KEY, other: API_KEY, one: API_KEY}
    assert {"VALID"} == {service.verdict(secret, slot) for secret, slot in places.items()}
    fourth = service.renew(API_KEY, DAY)
    service.swap(Kind.BEARER_SECRET)
    places = {third: API_KEY, fourth: SECOND_API_KEY, other: API_KEY, one: API_KEY}
    assert {"VALID"} == {service.verdict(secret, slot) for secret, slot in places.items()}
    assert {"INVALID"} == {service.verdict(secret, SECOND_API_KEY) for secret in (one, other, third)}


@BOTH_KINDS
def test_retiring_keys_stay_in_their_slots_and_end_in_their_time(service: Service, clock: Clock, kind: Kind) -> None:
    primary, secondary = PAIRS[kind]
    one, other = filled(service, kind, clock)
    new, newer = service.renew(primary, HOUR), service.renew(secondary, 2 * HOUR)
    service.swap(kind)
    places = {one: primary, newer: primary, other: secondary, new: secondary}
    assert {"VALID"} == {service.verdict(secret, slot) for secret, slot in places.items()}
    clock.forward(HOUR)
    assert ["INVALID", "VALID"] == [service.verdict(one, primary), service.verdict(other, secondary)]
    service.maintenance.expire()
    clock.forward(HOUR)
    service.maintenance.expire()
    service.swap(kind)
    assert ["VALID", "VALID"] == [service.verdict(new, primary), service.verdict(newer, secondary)]
    assert [1, 1] == [len(keys) for keys in service.holdings().keys.values()]


@both_databases
@pytest.mark.parametrize("flushed", [False, True])
def test_uses_go_with_the_key(service: Service, clock: Clock, *, flushed: bool) -> None:
    one, other = filled(service, Kind.HMAC_KEY, clock)
    for secret in (one, one, other):
        service.verify(secret)
        clock.forward(MICROSECOND)
    times = (clock.time - 2 * MICROSECOND, clock.time - MICROSECOND)
    assert times == (service.last_use(HMAC), service.last_use(SECOND_HMAC))
    if flushed:
        service.usage.flush()
    service.swap()
    assert times == (service.last_use(SECOND_HMAC, 2), service.last_use(HMAC, 2))
    keys = service.rotations.get("m", Kind.HMAC_KEY, DAY).rotation.keys
    assert [(HMAC, 1), (SECOND_HMAC, 2)] == [(key.slot, key.calls.total) for key in keys]
    with pytest.raises(KeysvcError, match="last used"):
        service.revoke(SECOND_HMAC, HOUR)


def test_a_double_run_from_its_begin_to_its_end(service: Service, clock: Clock) -> None:
    """By what is told to be done next; each step only when it is told to be safe."""
    said = []

    def stage() -> Stage:
        told = service.rotations.get("m", Kind.HMAC_KEY, DAY).rotation
        said.append([f"{step.action} {step.slot or 'pair'} {step.safe}" for step in told.steps()])
        return told.stage

    assert Stage.NO_KEY is stage()
    one = service.create()
    clock.forward(DAY)
    assert Stage.SINGLE is stage()
    other = service.create(SECOND_HMAC)
    assert Stage.MOVING is stage()
    service.verify(other)
    assert Stage.MOVING is stage()
    service.verify(one)
    service.swap()
    assert Stage.RETIRING is stage()
    clock.forward(DAY + timedelta(seconds=2))
    assert Stage.RETIRING is stage()
    service.revoke(SECOND_HMAC, DAY)
    assert Stage.SINGLE is stage()
    assert [
        ["CREATE primary-hmac-key True"], ["CREATE secondary-hmac-key True"], ["SWAP pair False"], ["SWAP pair True"],
        ["REVOKE secondary-hmac-key False"], ["REVOKE secondary-hmac-key True"], ["CREATE secondary-hmac-key True"],
    ] == said  # fmt: skip
    assert ["INVALID", "VALID"] == [service.verdict(one), service.verdict(other)]


@both_databases
def test_a_swap_writes_an_audit_event_for_each_slot(service: Service, clock: Clock) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    service.rotations.swap(SwapRequest(CALLER._replace(method="/Swap"), "m", Kind.HMAC_KEY, request_id="r-1"))
    events = service.database.rows("audit_event", "method = '/Swap'")
    assert [
        ("merchants/m/credentials/primary-hmac-key", 2, "r-1"), ("merchants/m/credentials/secondary-hmac-key", 2, ""),
    ] == [(event["resource"], event["version"], event["request_id"]) for event in events]  # fmt: skip
    with pytest.raises(RequestAlreadyDone):
        service.rotations.swap(SwapRequest(CALLER, "m", Kind.HMAC_KEY, request_id="r-1"))
    assert 2 == service.holdings().slots[HMAC].version


def test_the_answer_is_both_slots_as_they_are_then(service: Service, clock: Clock) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    service.renew(SECOND_HMAC, HOUR)
    views = service.rotations.swap(SwapRequest(CALLER, "m", Kind.HMAC_KEY))
    slots = service.holdings().slots
    assert [slots[HMAC], slots[SECOND_HMAC]] == [view.record for view in views]
    assert [[], [1]] == [[key.version for key in view.retiring] for view in views]


def test_a_swap_asks_for_the_etag_that_was_read(service: Service, clock: Clock) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    etags = [service.rotations.get("m", Kind.HMAC_KEY, DAY).etag]
    for change in (
        lambda: service.renew(HMAC, HOUR),
        lambda: service.renew(SECOND_HMAC),
        lambda: service.revoke_retiring(1),
    ):
        change()
        etags.append(service.rotations.get("m", Kind.HMAC_KEY, DAY).etag)
    assert len(etags) == len(set(etags))
    for etag in (*etags[:-1], "1", "..", etags[-1] + " "):
        _refused(service, EtagMismatch, SwapRequest(CALLER, "m", Kind.HMAC_KEY, etag=etag))
    service.rotations.swap(SwapRequest(CALLER, "m", Kind.HMAC_KEY, etag=etags[-1]))
    _refused(service, EtagMismatch, SwapRequest(CALLER, "m", Kind.HMAC_KEY, etag=etags[-1]))


@BOTH_KINDS
def test_what_is_not_there_is_not_swapped(service: Service, kind: Kind) -> None:
    primary, secondary = PAIRS[kind]
    request = SwapRequest(CALLER, "m", kind)
    _refused(service, NotFound, SwapRequest(CALLER, "nobody", kind))
    _refused(service, SlotEmpty, request)
    service.create(primary)
    _refused(service, SlotEmpty, request)
    service.create(secondary)
    service.revoke(primary)
    _refused(service, SlotEmpty, request)


def test_a_kind_without_a_pair_is_refused(service: Service) -> None:
    _refused(service, InvalidField, SwapRequest(CALLER, "m", Kind.ENCRYPTION_KEY))
    with pytest.raises(InvalidField):
        service.rotations.get("m", Kind.ENCRYPTION_KEY, DAY)


@pytest.mark.parametrize("state", [MerchantState.SUSPENDED, MerchantState.TERMINATED])
def test_the_keys_of_a_merchant_that_is_not_active_are_not_swapped(
    service: Service, clock: Clock, state: MerchantState
) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    service.move(state)
    _refused(service, MerchantNotActive, SwapRequest(CALLER, "m", Kind.HMAC_KEY))


def test_a_swap_that_nobody_waits_for_any_more_is_not_made(service: Service, clock: Clock) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    _refused(service, DeadlineExceeded, SwapRequest(CALLER._replace(remaining=lambda: 0.0), "m", Kind.HMAC_KEY))


@pytest.mark.parametrize("slot", [HMAC, SECOND_HMAC])
@pytest.mark.parametrize(
    ("table", "edit"),
    [("credential", "weak_key = true"), ("credential_key", "generation = 2"), ("merchant", "display_name = 'x'")],
)
def test_altered_rows_are_not_swapped(service: Service, clock: Clock, slot: Slot, table: str, edit: str) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    where = "true" if table == "merchant" else f"slot = '{slot}'"
    service.database.execute(f"UPDATE {table} SET {edit} WHERE {where}")
    _refused(service, Integrity, SwapRequest(CALLER, "m", Kind.HMAC_KEY))


@both_databases
@BOTH_KINDS
def test_old_rows_put_back_after_a_swap_are_refused(
    service: Service, database: Database, clock: Clock, kind: Kind
) -> None:
    """Each by itself, in the place of what stands; beside a current key the database refuses another."""
    secrets = filled(service, kind, clock)
    before = {table: database.rows(table) for table in ("credential", "credential_key")}
    service.swap(kind)
    after = {(table, row["slot"]): row for table in before for row in database.rows(table)}
    for old in before["credential"]:
        database.put_back("credential", old)
        assert {"Integrity"} == {service.verdict(secret, Slot(old["slot"])) for secret in secrets}
        database.put_back("credential", after["credential", old["slot"]])
    for old in before["credential_key"]:
        with pytest.raises(IntegrityError):
            database.put_back("credential_key", old)
        for edits in ({}, {"version": 2}, {"version": 2, "made_in": _other(old["slot"], kind)}):
            database.execute(f"DELETE FROM credential_key WHERE slot = '{old['slot']}'")
            database.put_back("credential_key", {**old, **edits})
            assert {"Integrity"} == {service.verdict(secret, Slot(old["slot"])) for secret in secrets}
        database.execute(f"DELETE FROM credential_key WHERE slot = '{old['slot']}'")
        database.put_back("credential_key", after["credential_key", old["slot"]])
    assert ["VALID", "VALID"] == [
        service.verdict(secret, slot) for secret, slot in zip(secrets, reversed(PAIRS[kind]), strict=True)
    ]


@BOTH_KINDS
def test_the_two_keys_exchanged_in_sql_are_refused(
    service: Service, database: Database, clock: Clock, kind: Kind
) -> None:
    """As a swap would place them, but with the seals of their slots."""
    secrets = filled(service, kind, clock)
    rows = database.rows("credential_key")
    database.execute("DELETE FROM credential_key")
    for row in rows:
        database.insert("credential_key", {**row, "slot": _other(row["slot"], kind), "made_in": row["slot"]})
    assert {"Integrity"} == {service.verdict(secret, slot) for secret in secrets for slot in PAIRS[kind]}


class _Crash(Exception):
    """The process ends in the middle."""


@both_databases
@pytest.mark.parametrize("steps", range(9))
def test_a_crash_midway_leaves_all_as_it_was(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    secrets = filled(service, Kind.HMAC_KEY, clock)
    before, left = _written(service), [steps]

    for name in ("take_key", "put_slot", "add_key", "audit", "uses", "remember_request"):
        whole = getattr(Change, name)

        def crashing(change: Change, *args: object, _whole: object = whole) -> object:
            if left[0] == 0:
                raise _Crash
            left[0] -= 1
            return _whole(change, *args)  # type: ignore[operator]

        monkeypatch.setattr(Change, name, crashing)
    with pytest.raises(_Crash):
        service.rotations.swap(SwapRequest(CALLER, "m", Kind.HMAC_KEY, request_id="r-1"))
    monkeypatch.undo()
    assert before == _written(service)
    assert ["VALID", "VALID"] == [service.verdict(secrets[0], HMAC), service.verdict(secrets[1], SECOND_HMAC)]
    assert (2, 2) == service.swap()


def test_a_rotation_is_of_one_kind_and_answers_for_a_suspended_merchant(service: Service, clock: Clock) -> None:
    filled(service, Kind.HMAC_KEY, clock)
    assert (Stage.MOVING, True) == _stage(service, Kind.HMAC_KEY)
    assert (Stage.NO_KEY, True) == _stage(service, Kind.BEARER_SECRET)
    service.move(MerchantState.SUSPENDED)
    assert (Stage.MOVING, False) == _stage(service, Kind.HMAC_KEY)
    with pytest.raises(NotFound):
        service.rotations.get("nobody", Kind.HMAC_KEY, DAY)
    for unused_for in (-MICROSECOND, timedelta(days=3650, microseconds=1)):
        with pytest.raises(InvalidField):
            service.rotations.get("m", Kind.HMAC_KEY, unused_for)


def test_a_rotation_tells_calls_by_key_and_caller(service: Service, clock: Clock) -> None:
    one, other = filled(service, Kind.BEARER_SECRET, clock)
    service.cache.refresh()
    for principal, secret in (("shop", one), ("billing", one), ("shop", one), ("shop", other)):
        caller: Caller = CALLER._replace(principal=principal)
        service.verification.verify_api_key(caller, ("m", None), secret)
        clock.forward(HOUR)
    keys = service.rotations.get("m", Kind.BEARER_SECRET, DAY).rotation.keys
    assert [[("shop", 2), ("billing", 1)], [("shop", 1)]] == [
        [(caller, calls.total) for caller, calls in key.callers] for key in keys
    ]
    assert [(0, 3), (1, 1)] == [(key.calls.last_hour, key.calls.last_day) for key in keys]


def _stage(service: Service, kind: Kind) -> tuple[Stage, bool]:
    told = service.rotations.get("m", kind, DAY)
    return told.rotation.stage, told.active


def _refused(service: Service, error: type[KeysvcError], request: SwapRequest) -> None:
    """And nothing has changed by it."""
    before = _written(service)
    with pytest.raises(error):
        service.rotations.swap(request)
    assert before == _written(service)


def _written(service: Service) -> list[object]:
    tables = ("credential", "credential_key", "audit_event", "request", "epoch", "credential_use")
    return [sorted(map(str, service.database.rows(table))) for table in tables]


def _other(slot: str, kind: Kind) -> str:
    """The pair's other slot."""
    return next(other.value for other in PAIRS[kind] if other != slot)
