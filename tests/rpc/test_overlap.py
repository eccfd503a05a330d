"""Renewing with an overlap: the old key verifies on, is told to be retiring, and ends on time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import HMAC_SLOTS, ask, refused, request, result_of, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.server import Client
from support.waiting import code_of

MESSAGE = b"order 1"
HOUR = Duration(seconds=3600)


@pytest.fixture
def name(merchant: str) -> str:
    return slot_of(merchant, "primary-hmac-key")


def mac_by(answer: Any) -> bytes:
    """The MAC of MESSAGE by the key that an answer shows."""
    return mac_of(key_of(answer.secret.value, "HEX"), MESSAGE)


def test_old_and_new_key_verify_and_only_the_old_one_is_retiring(client: Client, merchant: str, name: str) -> None:
    old = mac_by(ask(client, "CreateCredential", name=name))
    new = mac_by(ask(client, "RenewCredential", name=name, previous_ttl=HOUR))
    for asked in (merchant, name):
        told = [ask(client, "VerifyHmac", name=asked, message=MESSAGE, mac=mac) for mac in (old, new)]
        assert [("VALID", name, 1, True), ("VALID", name, 2, False)] == [
            (result_of(each), each.matched_credential, each.matched_version, each.retiring) for each in told
        ]


def test_a_sha1_key_verifies_on_beside_the_sha256_key_that_took_its_place(client: Client, name: str) -> None:
    old = b"sixteen bytes or more"
    fields = {"hmac_algorithm": "HMAC_SHA1", "secret_format": "TEXT", "secret": old.decode()}
    ask(client, "ImportCredential", name=name, **fields)
    renewed = ask(client, "RenewCredential", name=name, secret_format="HEX", previous_ttl=HOUR)
    macs = [mac_of(old, MESSAGE, "HMAC_SHA1"), mac_of(old, MESSAGE), mac_by(renewed)]
    assert ["VALID", "INVALID", "VALID"] == [verify_mac(client, name, MESSAGE, mac) for mac in macs]


def test_only_the_new_key_signs(client: Client, name: str) -> None:
    ask(client, "CreateCredential", name=name)
    new = mac_by(ask(client, "RenewCredential", name=name, previous_ttl=HOUR))
    assert new == ask(client, "GenerateHmac", name=name, message=MESSAGE).mac


def test_the_view_shows_the_retiring_key_its_end_and_its_last_use(client: Client, name: str) -> None:
    old = mac_by(ask(client, "CreateCredential", name=name))
    told = ask(client, "RenewCredential", name=name, previous_ttl=HOUR).credential
    [retiring] = told.retiring
    assert (1, False) == (retiring.version, retiring.HasField("last_used_time"))
    assert timedelta(hours=1) == retiring.expire_time.ToDatetime() - told.renew_time.ToDatetime()
    assert told == ask(client, "GetCredential", name=name)
    verify_mac(client, name, MESSAGE, old)
    viewed = ask(client, "GetCredential", name=name)
    assert (False, True) == (viewed.HasField("last_used_time"), viewed.retiring[0].HasField("last_used_time"))


Watch = tuple[datetime, Callable[[], bool]]
"""When a key ends, and whether it is still good."""


def test_overlaps_end_on_time(client: Client, merchant: str) -> None:
    """A call that ended before the overlap did finds the key good, one that began after it does not."""
    watches = [make(client, merchant) for make in (_hmac_watch, _api_key_watch, _encryption_watch)]
    last_end = max(end for end, _ in watches)
    seen = set()
    while (began := datetime.now(UTC)) < last_end + timedelta(seconds=0.1):
        for end, is_good in watches:
            good = is_good()
            if datetime.now(UTC) < end:
                assert good
                seen.add(end)
            elif began >= end:
                assert not good
    assert 3 == len(seen)
    assert [False, False, False] == [is_good() for _, is_good in watches]
    assert [] == list(ask(client, "GetCredential", name=slot_of(merchant, "api-password")).retiring)


def _renewed(client: Client, name: str) -> datetime:
    renewed = ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=1, nanos=500_000_000))
    end: datetime = renewed.credential.retiring[0].expire_time.ToDatetime(UTC)
    return end


def _hmac_watch(client: Client, merchant: str) -> Watch:
    name = slot_of(merchant, "primary-hmac-key")
    mac = mac_by(ask(client, "CreateCredential", name=name))
    return _renewed(client, name), lambda: verify_mac(client, name, MESSAGE, mac) == "VALID"


def _api_key_watch(client: Client, merchant: str) -> Watch:
    name = slot_of(merchant, "api-password")
    value = ask(client, "CreateCredential", name=name).secret.value
    return _renewed(client, name), lambda: verify_key(client, name, value) == "VALID"


def _encryption_watch(client: Client, merchant: str) -> Watch:
    name = slot_of(merchant, "encryption-password")
    ask(client, "CreateCredential", name=name)
    sealed = ask(client, "Encrypt", name=name, plaintext=b"plain").ciphertext
    decrypt = request("Decrypt", name=name, ciphertext=sealed)
    return _renewed(client, name), lambda: code_of(lambda: client.call("Decrypt", decrypt)) is grpc.StatusCode.OK


Later = Callable[[Client, str], None]
"""What is done to a merchant while its primary key's predecessor retires."""


def _renewed_for_longer(client: Client, merchant: str) -> None:
    for _ in range(2):
        ask(client, "RenewCredential", name=slot_of(merchant, "primary-hmac-key"), previous_ttl=HOUR)


def _renewed_without_overlap(client: Client, merchant: str) -> None:
    ask(client, "RenewCredential", name=slot_of(merchant, "primary-hmac-key"))


def _swapped_and_renewed(client: Client, merchant: str) -> None:
    ask(client, "CreateCredential", name=slot_of(merchant, "secondary-hmac-key"))
    ask(client, "SwapCredentials", name=merchant, kind="HMAC_KEY")
    for slot in HMAC_SLOTS:
        ask(client, "RenewCredential", name=slot_of(merchant, slot), previous_ttl=HOUR)


def _others_revoked(client: Client, merchant: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "RenewCredential", name=name, previous_ttl=HOUR)
    ask(client, "RevokeCredential", name=name, version=2)


def _suspended_and_activated(client: Client, merchant: str) -> None:
    for method in ("SuspendMerchant", "ActivateMerchant"):
        ask(client, method, name=merchant)


def _scheduled(client: Client, merchant: str) -> None:
    later = {"seconds": int(datetime.now(UTC).timestamp()) + 86400}
    ask(client, "ScheduleRotation", name=slot_of(merchant, "primary-hmac-key"), rotate_before=later)


def test_an_old_key_never_outlives_its_end_whatever_comes_after(
    client: Client, merchant_ids: Callable[[], str]
) -> None:
    """Not by a longer overlap of the next, nor by a swap; and until its end it is good."""
    laters: list[Later] = [
        _renewed_for_longer, _renewed_without_overlap, _swapped_and_renewed, _others_revoked,
        _suspended_and_activated, _scheduled,
    ]  # fmt: skip
    olds = []
    for later in laters:
        merchant = client.active_merchant(merchant_ids())
        name = slot_of(merchant, "primary-hmac-key")
        old = mac_by(ask(client, "CreateCredential", name=name))
        ttl = Duration(seconds=2)
        renewed = ask(client, "RenewCredential", name=name, previous_ttl=ttl).credential
        end = renewed.retiring[0].expire_time.ToDatetime(UTC)
        later(client, merchant)
        olds.append((end, merchant, old))
        good = verify_mac(client, merchant, MESSAGE, old)
        assert datetime.now(UTC) >= end or good == "VALID", later
        assert end in [each.expire_time.ToDatetime(UTC) for each in _retiring(client, merchant)]
    last_end = max(end for end, _, _ in olds)
    time.sleep(max(0.0, (last_end - datetime.now(UTC)).total_seconds()))
    assert ["INVALID"] * len(laters) == [verify_mac(client, merchant, MESSAGE, old) for _, merchant, old in olds]
    for end, merchant, _ in olds:
        assert end not in [each.expire_time.ToDatetime(UTC) for each in _retiring(client, merchant)]


def _retiring(client: Client, merchant: str) -> list[Any]:
    listed = ask(client, "ListCredentials", parent=merchant).credentials
    return [each for credential in listed for each in credential.retiring]


def test_a_key_that_was_revoked_or_replaced_does_not_come_back_when_it_is_imported_for_another(
    client: Client, name: str, merchant: str
) -> None:
    """Nor does its overlap: what is imported into the slot begins anew."""
    old = ask(client, "CreateCredential", name=name).secret.value
    ask(client, "RenewCredential", name=name, previous_ttl=HOUR)
    ask(client, "RevokeCredential", name=name)
    ask(client, "ImportCredential", name=name, secret="ab" * 32)
    mac = mac_of(key_of(old, "HEX"), MESSAGE)
    assert "INVALID" == verify_mac(client, merchant, MESSAGE, mac)
    ask(client, "RevokeCredential", name=name)
    told = ask(client, "ImportCredential", name=name, secret=old).credential
    assert (4, []) == (told.version, list(told.retiring))
    assert "VALID" == verify_mac(client, merchant, MESSAGE, mac)


def test_without_an_overlap_the_old_key_stops_at_once(client: Client, name: str) -> None:
    old = mac_by(ask(client, "CreateCredential", name=name))
    ask(client, "RenewCredential", name=name, previous_ttl=Duration())
    assert "INVALID" == verify_mac(client, name, MESSAGE, old)
    assert [] == list(ask(client, "GetCredential", name=name).retiring)


def test_several_keys_retire_at_once_up_to_five(client: Client, name: str) -> None:
    macs = [mac_by(ask(client, "CreateCredential", name=name))]
    macs += [mac_by(ask(client, "RenewCredential", name=name, previous_ttl=HOUR)) for _ in range(5)]
    assert ["VALID"] * 6 == [verify_mac(client, name, MESSAGE, mac) for mac in macs]
    assert "TOO_MANY_RETIRING" == refused(client, "RenewCredential", name=name, previous_ttl=HOUR).reason
    macs.append(mac_by(ask(client, "RenewCredential", name=name)))
    assert [*["VALID"] * 5, "INVALID", "VALID"] == [verify_mac(client, name, MESSAGE, mac) for mac in macs]


def test_revoke_ends_the_retiring_keys_too(client: Client, name: str) -> None:
    old = mac_by(ask(client, "CreateCredential", name=name))
    ask(client, "RenewCredential", name=name, previous_ttl=HOUR)
    assert [] == list(ask(client, "RevokeCredential", name=name).credential.retiring)
    assert "NO_LIVE_KEY" == verify_mac(client, name, MESSAGE, old)
    ask(client, "CreateCredential", name=name)
    assert "INVALID" == verify_mac(client, name, MESSAGE, old)


def test_thirty_days_are_the_longest_overlap(client: Client, name: str) -> None:
    ask(client, "CreateCredential", name=name)
    told = ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=30 * 86400)).credential
    assert timedelta(days=30) == told.retiring[0].expire_time.ToDatetime() - told.renew_time.ToDatetime()
    for not_taken in (Duration(seconds=30 * 86400, nanos=1000), Duration(seconds=-1), Duration(nanos=-1000)):
        told = refused(client, "RenewCredential", name=name, previous_ttl=not_taken)
        assert ("INVALID_FIELD", ["previous_ttl"]) == (told.reason, told.fields)
    assert 2 == ask(client, "GetCredential", name=name).version
