"""A double run over the wire: where it stands, who uses which key, the swap, and the end of the old key."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.principals import Principals
from support.server import Client

from keysvc.v1.rotation_pb2 import Rotation

MESSAGE = b"order 1"
PRIMARY, SECONDARY = "primary-hmac-key", "secondary-hmac-key"
LATE = 2.0
"""Seconds after which every use is known."""
NANO = Duration(nanos=1000)
DAY = Duration(seconds=86400)
SINGLE_SLOTS = ("ENCRYPTION_KEY", "KIND_UNSPECIFIED")


def created(client: Client, name: str, method: str = "CreateCredential", **fields: Any) -> bytes:
    """The new key's bytes."""
    return key_of(ask(client, method, name=name, **fields).secret.value, "HEX")


def rotation(client: Client, merchant: str, **fields: Any) -> Any:
    return ask(client, "GetRotation", name=merchant, **{"kind": "HMAC_KEY", **fields})


def stage_of(told: Any) -> str:
    return str(Rotation.Stage.Name(told.stage))


def steps_of(told: Any) -> list[tuple[str, str, int, bool]]:
    """(action, slot, version, whether it is safe)"""
    return [
        (Rotation.Action.Name(step.action), step.slot_name.rpartition("/")[2], step.version, step.safe)
        for step in told.steps
    ]


def uses_of(told: Any) -> list[tuple[str, int, int, dict[str, int]]]:
    """(slot, version, calls, and those of each caller) of each key"""
    return [
        (
            key.credential.rpartition("/")[2],
            key.version,
            key.calls.total,
            {each.principal.rpartition("/")[2]: each.calls.total for each in key.callers},
        )
        for key in told.keys
    ]


def test_a_double_run_from_its_first_step_to_its_last(client: Client, principals: Principals, merchant: str) -> None:
    callers = dict(principals.make("SERVICE", merchants=[merchant], can_sign=True) for _ in range(2))
    (one, first), (two, second) = callers.items()
    primary, secondary = slot_of(merchant, PRIMARY), slot_of(merchant, SECONDARY)

    told = rotation(client, merchant)
    assert ("NO_KEY", [("CREATE", PRIMARY, 0, True)], []) == (stage_of(told), steps_of(told), list(told.keys))

    # There is one key, and both callers use it: the first by verifying, the second by signing.
    old = created(client, primary)
    for _ in range(3):
        verify_mac(first, merchant, MESSAGE, mac_of(old, MESSAGE))
    for _ in range(2):
        ask(second, "GenerateHmac", name=merchant, message=MESSAGE)
    verify_mac(first, merchant, MESSAGE, b"a wrong MAC is nobody's use")
    told = rotation(client, merchant)
    assert ("SINGLE", [("CREATE", SECONDARY, 0, True)]) == (stage_of(told), steps_of(told))
    assert [(PRIMARY, 1, 5, {two: 2, one: 3})] == uses_of(told)
    [key] = told.keys
    assert (5, 5, True, False, False) == (
        key.calls.last_hour, key.calls.last_day, key.signs, key.old, key.can_be_revoked,
    )  # fmt: skip
    assert [two, one] == [each.principal.rpartition("/")[2] for each in key.callers], "the last one first"
    assert key.calls.last_used_time == key.callers[0].calls.last_used_time

    # Both keys are live. Until somebody uses the new one, nothing shows that its receivers have it.
    new = created(client, secondary)
    told = rotation(client, merchant)
    assert ("MOVING", [("SWAP", "", 0, False)]) == (stage_of(told), steps_of(told))
    assert [(True, True), (False, False)] == [(each.signs, each.old) for each in told.keys]
    verify_mac(first, merchant, MESSAGE, mac_of(new, MESSAGE))
    told = rotation(client, merchant)
    assert [("SWAP", "", 0, True)] == steps_of(told)
    assert [(PRIMARY, 1, 5, {two: 2, one: 3}), (SECONDARY, 1, 1, {one: 1})] == uses_of(told)

    # After the swap the new key signs; the old one stands in the secondary with its uses, and is still used.
    swapped = ask(client, "SwapCredentials", name=merchant, kind="HMAC_KEY", etag=told.etag)
    assert [(primary, 2), (secondary, 2)] == [
        (each.name, each.version) for each in (swapped.primary, swapped.secondary)
    ]
    assert mac_of(new, MESSAGE) == ask(second, "GenerateHmac", name=merchant, message=MESSAGE).mac
    verify_mac(first, merchant, MESSAGE, mac_of(old, MESSAGE))
    told = rotation(client, merchant)
    assert ("RETIRING", [("REVOKE", SECONDARY, 0, False)]) == (stage_of(told), steps_of(told))
    assert [(PRIMARY, 2, 2, {two: 1, one: 1}), (SECONDARY, 2, 6, {one: 4, two: 2})] == uses_of(told)
    assert f"principals/{one}" in told.steps[0].reason
    refusal = refused(client, "RevokeCredential", name=secondary, unused_for=DAY)
    assert ("STILL_IN_USE", f"principals/{one},principals/{two}") == (refusal.reason, refusal.info.metadata["callers"])
    used = told.keys[1].calls.last_used_time.ToDatetime(UTC)
    assert used == datetime.fromisoformat(refusal.info.metadata["last_used_time"])
    assert secondary == refusal.info.metadata["resource"]

    # Once nobody has used it for as long as was asked, it may go.
    time.sleep(LATE + 0.1)
    told = rotation(client, merchant, unused_for=NANO)
    assert ([False, True], [("REVOKE", SECONDARY, 0, True)]) == (
        [each.can_be_revoked for each in told.keys],
        steps_of(told),
    )
    assert [False, False] == [each.can_be_revoked for each in rotation(client, merchant).keys], "not for a day"
    ask(client, "RevokeCredential", name=secondary, unused_for=NANO)
    told = rotation(client, merchant)
    assert ("SINGLE", [(PRIMARY, 2, 2, {two: 1, one: 1})]) == (stage_of(told), uses_of(told))
    macs = [mac_of(key, MESSAGE) for key in (old, new)]
    assert ["INVALID", "VALID"] == [verify_mac(client, merchant, MESSAGE, mac) for mac in macs]


def test_api_keys_are_rotated_so_too_and_nothing_signs(client: Client, merchant: str) -> None:
    names = [slot_of(merchant, slot) for slot in ("primary-rest-api-key", "secondary-rest-api-key")]
    old, new = (ask(client, "CreateCredential", name=name).secret.value for name in names)
    verify_key(client, merchant, old)
    told = rotation(client, merchant, kind="BEARER_SECRET")
    assert ("MOVING", [1, 0], [False, False]) == (
        stage_of(told), [each.calls.total for each in told.keys], [each.signs for each in told.keys],
    )  # fmt: skip
    ask(client, "SwapCredentials", name=merchant, kind="BEARER_SECRET")
    told = rotation(client, merchant, kind="BEARER_SECRET")
    assert ("RETIRING", [0, 1]) == (stage_of(told), [each.calls.total for each in told.keys])
    assert ["VALID", "VALID"] == [verify_key(client, merchant, each) for each in (old, new)]
    assert ["INVALID", "VALID"] == [verify_key(client, names[0], each) for each in (old, new)]


def test_a_key_that_retires_in_its_slot_is_old_and_ends_by_its_version(client: Client, merchant: str) -> None:
    name = slot_of(merchant, PRIMARY)
    old = created(client, name)
    created(client, name, "RenewCredential", previous_ttl=Duration(seconds=3600))
    verify_mac(client, merchant, MESSAGE, mac_of(old, MESSAGE))
    told = rotation(client, merchant)
    assert ("RETIRING", [("CREATE", SECONDARY, 0, True), ("REVOKE", PRIMARY, 1, False)]) == (
        stage_of(told),
        steps_of(told),
    )
    assert [(False, False), (True, True)] == [(each.HasField("expire_time"), each.old) for each in told.keys]


def test_only_the_first_signature_of_several_is_a_use(client: Client, merchant: str) -> None:
    """Those beside it are for receivers that have not moved yet, and tell nothing of them."""
    for slot in (PRIMARY, SECONDARY):
        created(client, slot_of(merchant, slot))
    signed = ask(client, "SignWebhook", name=merchant, scheme="STRIPE", body=MESSAGE)
    assert [1, 0] == [each.calls.total for each in rotation(client, merchant).keys]
    ask(client, "VerifyWebhook", name=merchant, scheme="STRIPE", body=MESSAGE, headers=signed.headers)
    ask(client, "VerifyWebhook", name=merchant, scheme="STRIPE", body=b"another", headers=signed.headers)
    assert [2, 0] == [each.calls.total for each in rotation(client, merchant).keys]


@pytest.mark.parametrize("kind", SINGLE_SLOTS)
def test_only_kinds_with_two_slots_rotate(client: Client, merchant: str, kind: str) -> None:
    for method in ("GetRotation", "SwapCredentials"):
        told = refused(client, method, name=merchant, kind=kind)
        assert ("INVALID_FIELD", ["kind"]) == (told.reason, told.fields)


@pytest.mark.parametrize("unused_for", [Duration(seconds=-1), Duration(seconds=3650 * 86400 + 1)])
def test_how_long_a_key_must_be_unused_has_bounds(client: Client, merchant: str, unused_for: Duration) -> None:
    created(client, slot_of(merchant, PRIMARY))
    told = [
        refused(client, "GetRotation", name=merchant, kind="HMAC_KEY", unused_for=unused_for),
        refused(client, "RevokeCredential", name=slot_of(merchant, PRIMARY), unused_for=unused_for),
        refused(client, "RevokeCredential", name=slot_of(merchant, PRIMARY), unused_for=unused_for, version=1),
    ]
    assert [("INVALID_FIELD", ["unused_for"])] * 2 == [(each.reason, each.fields) for each in told[:2]]
    assert "INVALID_FIELD" == told[2].reason


def test_a_swap_needs_both_keys_an_active_merchant_and_the_etag_that_was_read(client: Client, merchant: str) -> None:
    swap = {"name": merchant, "kind": "HMAC_KEY"}
    for slot in (PRIMARY, SECONDARY):
        assert "SLOT_EMPTY" == refused(client, "SwapCredentials", **swap).reason
        created(client, slot_of(merchant, slot))
    stale = rotation(client, merchant).etag
    created(client, slot_of(merchant, SECONDARY), "RenewCredential")
    assert "ETAG_MISMATCH" == refused(client, "SwapCredentials", etag=stale, **swap).reason
    ask(client, "SuspendMerchant", name=merchant)
    assert "MERCHANT_NOT_ACTIVE" == refused(client, "SwapCredentials", **swap).reason
    assert [] == steps_of(rotation(client, merchant))
    ask(client, "ActivateMerchant", name=merchant)
    assert [1, 2] == [each.version for each in rotation(client, merchant).keys]
    ask(client, "SwapCredentials", etag=rotation(client, merchant).etag, **swap)


def test_a_swap_is_done_once_for_a_request_id(client: Client, merchant: str, merchant_ids: Callable[[], str]) -> None:
    keys = [created(client, slot_of(merchant, slot)) for slot in (PRIMARY, SECONDARY)]
    swap = {"name": merchant, "kind": "HMAC_KEY", "request_id": f"swap-{merchant_ids()}"}
    ask(client, "SwapCredentials", **swap)
    told = refused(client, "SwapCredentials", **swap)
    assert ("REQUEST_ALREADY_DONE", slot_of(merchant, PRIMARY), "2") == (
        told.reason, told.info.metadata["resource"], told.info.metadata["version"],
    )  # fmt: skip
    assert mac_of(keys[1], MESSAGE) == ask(client, "GenerateHmac", name=merchant, message=MESSAGE).mac


def test_retiring_keys_stay_in_their_slot_and_dates_go_with_the_keys(client: Client, merchant: str) -> None:
    name = slot_of(merchant, PRIMARY)
    oldest = created(client, name)
    created(client, name, "RenewCredential", previous_ttl=Duration(seconds=3600))
    created(client, slot_of(merchant, SECONDARY), hmac_algorithm="HMAC_SHA512")
    before = [ask(client, "GetCredential", name=slot_of(merchant, slot)) for slot in (PRIMARY, SECONDARY)]
    ask(client, "SwapCredentials", name=merchant, kind="HMAC_KEY")
    after = [ask(client, "GetCredential", name=slot_of(merchant, slot)) for slot in (SECONDARY, PRIMARY)]
    for was, now in zip(before, after, strict=True):
        for field in ("fingerprint", "hmac_algorithm", "create_time", "renew_time"):
            assert getattr(was, field) == getattr(now, field)
    assert list(before[0].retiring) == list(after[1].retiring)
    told = ask(client, "VerifyHmac", name=merchant, message=MESSAGE, mac=mac_of(oldest, MESSAGE))
    assert (name, 1, True) == (told.matched_credential, told.matched_version, told.retiring)


def test_figures_are_of_now(client: Client, merchant: str) -> None:
    created(client, slot_of(merchant, PRIMARY))
    told = rotation(client, merchant)
    assert abs(told.time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(seconds=10)
    assert told.keys[0].create_time == ask(client, "GetCredential", name=slot_of(merchant, PRIMARY)).create_time
