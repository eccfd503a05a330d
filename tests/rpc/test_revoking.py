"""Ending keys that may still be in use: who uses them is told, trying changes nothing, and one key can end alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused, slot_of, verify_mac
from support.outside import key_of, mac_of
from support.principals import Principals, events_of
from support.server import Client

MESSAGE = b"order 1"
HOUR = Duration(seconds=3600)
LATE = 2.0
"""Seconds after which every use is known."""


@pytest.fixture
def name(merchant: str) -> str:
    return slot_of(merchant, "primary-hmac-key")


def mac_by(answer: Any) -> bytes:
    return mac_of(key_of(answer.secret.value, "HEX"), MESSAGE)


def filled(client: Client, name: str, retiring: int = 1) -> list[bytes]:
    """MACs by the retiring keys, the oldest first, and by the current one. Their versions count from one."""
    macs = [mac_by(ask(client, "CreateCredential", name=name))]
    return macs + [mac_by(ask(client, "RenewCredential", name=name, previous_ttl=HOUR)) for _ in range(retiring)]


def revoke(client: Client, name: str, **fields: Any) -> Any:
    return ask(client, "RevokeCredential", name=name, **fields).credential


def versions(client: Client, name: str) -> list[int]:
    """Of the keys that are live, the current one first."""
    told = ask(client, "GetCredential", name=name)
    return [told.version, *(each.version for each in told.retiring)]


def results(client: Client, merchant: str, macs: list[bytes]) -> list[str]:
    return [verify_mac(client, merchant, MESSAGE, mac) for mac in macs]


def test_what_is_still_used_is_refused_and_says_by_whom_and_when(
    client: Client, principals: Principals, merchant: str, name: str
) -> None:
    """The callers with the last one first, of any of the keys that would end."""
    macs = filled(client, name)
    services = [principals.make("SERVICE", merchants=[merchant]) for _ in range(3)]
    for (_, service), mac in zip(services, (macs[0], macs[1], b"a wrong one"), strict=True):
        verify_mac(service, merchant, MESSAGE, mac)
    begun = datetime.now(UTC)
    for fields in ({}, {"validate_only": True}):
        told = refused(client, "RevokeCredential", name=name, unused_for=HOUR, **fields)
        assert (grpc.StatusCode.FAILED_PRECONDITION, "STILL_IN_USE") == (told.code, told.reason)
        by = [f"principals/{services[number][0]}" for number in (1, 0)]
        assert (",".join(by), name) == (told.info.metadata["callers"], told.info.metadata["resource"])
        assert 0 < (begun - datetime.fromisoformat(told.info.metadata["last_used_time"])).total_seconds() < 10
        assert by[0] in told.message
    assert ["VALID", "VALID"] == results(client, merchant, macs)


def test_one_key_is_refused_for_its_own_uses_only(client: Client, merchant: str, name: str) -> None:
    macs = filled(client, name, 2)
    assert ["VALID", "VALID"] == results(client, merchant, [macs[1], macs[2]])
    assert "STILL_IN_USE" == refused(client, "RevokeCredential", name=name, version=2, unused_for=HOUR).reason
    assert [2] == [each.version for each in revoke(client, name, version=1, unused_for=HOUR).retiring]
    assert ["INVALID", "VALID", "VALID"] == results(client, merchant, macs)


def test_uses_of_a_key_whose_time_has_ended_are_no_hindrance(client: Client, merchant: str, name: str) -> None:
    """It does not end by the revoking, and nobody is on it any more."""
    old = mac_by(ask(client, "CreateCredential", name=name))
    ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=1))
    assert ["VALID"] == results(client, merchant, [old])
    time.sleep(1)
    assert ["INVALID"] == results(client, merchant, [old])
    assert "INACTIVE" == state_of(revoke(client, name, unused_for=HOUR))


def test_unused_keys_and_uses_that_are_long_ago_enough_are_no_hindrance(
    client: Client, merchant: str, name: str
) -> None:
    """Two seconds more than was asked for: so late may a use be known."""
    [mac] = filled(client, name, 0)
    verify_mac(client, merchant, MESSAGE, mac)
    begun = time.monotonic()
    second = Duration(nanos=500_000_000)
    assert "STILL_IN_USE" == refused(client, "RevokeCredential", name=name, unused_for=second).reason
    time.sleep(max(0.0, begun + 1 - time.monotonic()))
    assert "STILL_IN_USE" == refused(client, "RevokeCredential", name=name, unused_for=second).reason
    time.sleep(max(0.0, begun + LATE + 0.6 - time.monotonic()))
    assert "INACTIVE" == state_of(revoke(client, name, unused_for=second))


def test_without_unused_for_a_key_ends_however_much_it_is_used(client: Client, merchant: str, name: str) -> None:
    """For a compromise."""
    macs = filled(client, name)
    assert ["VALID", "VALID"] == results(client, merchant, macs)
    assert "INACTIVE" == state_of(revoke(client, name, unused_for=Duration()))
    assert ["NO_LIVE_KEY"] * 2 == results(client, merchant, macs)


def state_of(credential: Any) -> str:
    return str(type(credential).State.Name(credential.state))


def test_validating_tells_what_would_come_and_changes_nothing(
    client: Client, merchant: str, name: str, merchant_ids: Callable[[], str]
) -> None:
    macs = filled(client, name)
    before = ask(client, "GetCredential", name=name)
    events = len(events_of(client, merchant))
    request_id = f"tried-{merchant_ids()}"
    told = revoke(client, name, validate_only=True, request_id=request_id, unused_for=HOUR, etag=before.etag)
    assert ("INACTIVE", []) == (state_of(told), list(told.retiring))
    one = revoke(client, name, validate_only=True, request_id=request_id, version=1)
    assert ("ACTIVE", 2, []) == (state_of(one), one.version, list(one.retiring))
    assert before == ask(client, "GetCredential", name=name)
    assert events == len(events_of(client, merchant))
    assert ["VALID", "VALID"] == results(client, merchant, macs)
    # The request_id was not used up: the same request may now be meant.
    assert "INACTIVE" == state_of(revoke(client, name, request_id=request_id))


@pytest.mark.parametrize("fields", [{}, {"validate_only": True}], ids=["done", "tried"])
def test_what_would_be_refused_is_refused_either_way(
    client: Client, merchant: str, name: str, fields: dict[str, Any]
) -> None:
    assert "SLOT_EMPTY" == refused(client, "RevokeCredential", name=name, **fields).reason
    filled(client, name)
    assert "ETAG_MISMATCH" == refused(client, "RevokeCredential", name=name, etag="1", **fields).reason
    assert "ETAG_MISMATCH" == refused(client, "RevokeCredential", name=name, etag="1", version=1, **fields).reason
    for version in (3, 99, -1):
        assert "SLOT_EMPTY" == refused(client, "RevokeCredential", name=name, version=version, **fields).reason
    told = refused(client, "RevokeCredential", name=name, version=2, **fields)
    assert ("INVALID_FIELD", ["version"]) == (told.reason, told.fields)
    assert [2, 1] == versions(client, name)
    ask(client, "SuspendMerchant", name=merchant)
    assert 2 == revoke(client, name, version=1, **fields).version


def test_one_retiring_key_ends_and_the_others_live_on(client: Client, merchant: str, name: str) -> None:
    macs = filled(client, name, 3)
    before = ask(client, "GetCredential", name=name)
    told = revoke(client, name, version=2, etag=before.etag)
    assert (4, [3, 1]) == (told.version, [each.version for each in told.retiring])
    assert told == ask(client, "GetCredential", name=name)
    assert before.etag != told.etag
    assert ["VALID", "INVALID", "VALID", "VALID"] == results(client, merchant, macs)
    assert "SLOT_EMPTY" == refused(client, "RevokeCredential", name=name, version=2).reason
    told = [each for each in events_of(client, merchant) if each.method.endswith("/RevokeCredential")]
    assert [(name, 2, ""), (name, 0, "SLOT_EMPTY")] == [(each.resource, each.version, each.reason) for each in told]


def test_ending_one_of_five_lets_another_renew(client: Client, merchant: str, name: str) -> None:
    macs = filled(client, name, 5)
    assert "TOO_MANY_RETIRING" == refused(client, "RenewCredential", name=name, previous_ttl=HOUR).reason
    revoke(client, name, version=3)
    macs.append(mac_by(ask(client, "RenewCredential", name=name, previous_ttl=HOUR)))
    assert [*["VALID"] * 2, "INVALID", *["VALID"] * 4] == results(client, merchant, macs)
    assert "TOO_MANY_RETIRING" == refused(client, "RenewCredential", name=name, previous_ttl=HOUR).reason
    assert [7, 6, 5, 4, 2, 1] == versions(client, name)


def test_one_is_ended_once_for_a_request_id(client: Client, name: str, merchant_ids: Callable[[], str]) -> None:
    filled(client, name, 2)
    fields = {"version": 1, "request_id": f"one-{merchant_ids()}"}
    revoke(client, name, **fields)
    told = refused(client, "RevokeCredential", name=name, **fields | {"version": 2})
    assert ("REQUEST_ALREADY_DONE", name) == (told.reason, told.info.metadata["resource"])
    assert [3, 2] == versions(client, name)
