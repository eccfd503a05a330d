"""The life of every slot over the wire: empty, created, renewed, revoked, created again; and how it is viewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.asking import KINDS, SLOTS, ask, refused, slot_of
from support.server import Client

from keysvc.v1.credential_pb2 import Credential

State = Credential.State
every_slot = pytest.mark.parametrize("slot", SLOTS)


def recent(time: Timestamp) -> bool:
    now = datetime.now(UTC)
    return now - timedelta(seconds=30) < time.ToDatetime(UTC) <= now


@every_slot
def test_a_slot_that_was_never_filled_is_empty_and_has_no_dates(client: Client, merchant: str, slot: str) -> None:
    name = slot_of(merchant, slot)
    viewed = ask(client, "GetCredential", name=name)
    assert Credential(name=name, state="EMPTY", kind=KINDS[slot], etag=viewed.etag) == viewed
    assert viewed.etag != ""


@every_slot
def test_create_fills_the_slot_and_the_view_shows_what_create_answered(
    client: Client, merchant: str, slot: str
) -> None:
    made = ask(client, "CreateCredential", name=slot_of(merchant, slot))
    told = made.credential
    assert (slot_of(merchant, slot), State.ACTIVE, KINDS[slot], 1) == (
        told.name,
        told.state,
        Credential.Kind.Name(told.kind),
        told.version,
    )
    assert recent(told.create_time)
    assert (False, False, False) == (
        told.HasField("renew_time"),
        told.HasField("revoke_time"),
        told.HasField("last_used_time"),
    )
    assert made.secret.value != ""
    assert told == ask(client, "GetCredential", name=told.name)


@every_slot
def test_renew_counts_the_version_and_keeps_the_create_time(client: Client, merchant: str, slot: str) -> None:
    made = ask(client, "CreateCredential", name=slot_of(merchant, slot))
    renewed = ask(client, "RenewCredential", name=slot_of(merchant, slot))
    before, told = made.credential, renewed.credential
    assert (State.ACTIVE, 2, before.create_time) == (told.state, told.version, told.create_time)
    assert told.renew_time.ToDatetime(UTC) > told.create_time.ToDatetime(UTC)
    assert (before.hmac_algorithm, before.secret_format) == (told.hmac_algorithm, told.secret_format)
    assert made.secret.value != renewed.secret.value
    assert [] == list(told.retiring)
    assert told == ask(client, "GetCredential", name=told.name)


@every_slot
def test_a_revoked_slot_is_inactive_keeps_its_version_and_can_be_filled_again(
    client: Client, merchant: str, slot: str
) -> None:
    name = slot_of(merchant, slot)
    ask(client, "CreateCredential", name=name)
    ask(client, "RenewCredential", name=name)
    revoked = ask(client, "RevokeCredential", name=name).credential
    assert (State.INACTIVE, 2) == (revoked.state, revoked.version)
    assert recent(revoked.revoke_time)
    assert revoked == ask(client, "GetCredential", name=name)
    again = ask(client, "CreateCredential", name=name).credential
    assert (State.ACTIVE, 3) == (again.state, again.version)
    assert again.create_time.ToDatetime(UTC) > revoked.revoke_time.ToDatetime(UTC)
    assert (False, False) == (again.HasField("renew_time"), again.HasField("revoke_time"))
    assert again == ask(client, "GetCredential", name=name)


@every_slot
def test_every_change_changes_the_etag(client: Client, merchant: str, slot: str) -> None:
    name = slot_of(merchant, slot)
    etags = [ask(client, "GetCredential", name=name).etag]
    changes = ("CreateCredential", "RenewCredential", "RevokeCredential", "CreateCredential", "RevokeCredential")
    etags += [ask(client, method, name=name).credential.etag for method in changes]
    assert len(etags) == len(set(etags))


@every_slot
def test_a_fingerprint_is_stable_and_every_key_has_its_own(client: Client, merchant: str, slot: str) -> None:
    name = slot_of(merchant, slot)
    first = ask(client, "CreateCredential", name=name).credential.fingerprint
    assert first == ask(client, "GetCredential", name=name).fingerprint
    second = ask(client, "RenewCredential", name=name).credential.fingerprint
    other = ask(client, "CreateCredential", name=slot_of(merchant, SLOTS[SLOTS.index(slot) - 1])).credential.fingerprint
    assert 3 == len({first, second, other})
    assert 16 == len(bytes.fromhex(first).hex())


@every_slot
def test_a_slot_refuses_what_its_state_does_not_allow(client: Client, merchant: str, slot: str) -> None:
    name = slot_of(merchant, slot)
    told = [refused(client, method, name=name).reason for method in ("RenewCredential", "RevokeCredential")]
    ask(client, "CreateCredential", name=name)
    told.append(refused(client, "CreateCredential", name=name).reason)
    ask(client, "RevokeCredential", name=name)
    told += [refused(client, method, name=name).reason for method in ("RenewCredential", "RevokeCredential")]
    assert ["SLOT_EMPTY", "SLOT_EMPTY", "SLOT_OCCUPIED", "SLOT_EMPTY", "SLOT_EMPTY"] == told


def test_a_list_shows_all_seven_slots_in_order_whatever_they_hold(client: Client, merchant: str) -> None:
    ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key"))
    ask(client, "CreateCredential", name=slot_of(merchant, "api-password"))
    ask(client, "RevokeCredential", name=slot_of(merchant, "api-password"))
    listed = ask(client, "ListCredentials", parent=merchant)
    assert [slot_of(merchant, slot) for slot in SLOTS] == [credential.name for credential in listed.credentials]
    states = {c.name.rpartition("/")[2]: State.Name(c.state) for c in listed.credentials}
    expected = {**dict.fromkeys(SLOTS, "EMPTY"), "primary-hmac-key": "ACTIVE", "api-password": "INACTIVE"}
    assert expected == states
    assert [ask(client, "GetCredential", name=c.name) for c in listed.credentials] == list(listed.credentials)
    assert "" == listed.next_page_token


@pytest.mark.parametrize("size", [1, 3, 6, 7, 8, 1000])
def test_paging_through_a_list_gives_every_slot_once(client: Client, merchant: str, size: int) -> None:
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        page = ask(client, "ListCredentials", parent=merchant, page_size=size, page_token=token)
        assert len(page.credentials) <= size
        seen += [credential.name for credential in page.credentials]
        token = page.next_page_token
        pages += 1
    assert [slot_of(merchant, slot) for slot in SLOTS] == seen
    assert -(-len(SLOTS) // size) == pages


def test_views_and_changes_of_an_unknown_merchant_are_not_found(client: Client, merchant: str) -> None:
    name = "merchants/nobody/credentials/api-password"
    methods = ("GetCredential", "CreateCredential", "RenewCredential", "RevokeCredential")
    told = [refused(client, method, name=name) for method in methods]
    told.append(refused(client, "ListCredentials", parent="merchants/nobody"))
    told.append(refused(client, "VerifyHmac", name="merchants/nobody", mac=b"x"))
    assert {(grpc.StatusCode.NOT_FOUND, "NOT_FOUND")} == {(r.code, r.reason) for r in told}


def test_use_of_a_key_shows_in_its_view(client: Client, merchant: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "CreateCredential", name=name)
    mac = ask(client, "GenerateHmac", name=name, message=b"m").mac
    signed = ask(client, "GetCredential", name=name).last_used_time
    ask(client, "VerifyHmac", name=name, message=b"m", mac=b"wrong")
    assert recent(signed)
    assert signed == ask(client, "GetCredential", name=name).last_used_time
    ask(client, "VerifyHmac", name=name, message=b"m", mac=mac)
    assert ask(client, "GetCredential", name=name).last_used_time.ToDatetime() > signed.ToDatetime()


def test_validate_only_tells_what_revoke_would_answer_and_changes_nothing(client: Client, merchant: str) -> None:
    name = slot_of(merchant, "api-password")
    before = ask(client, "CreateCredential", name=name).credential
    told = ask(client, "RevokeCredential", name=name, validate_only=True).credential
    assert State.INACTIVE == told.state
    assert before == ask(client, "GetCredential", name=name)
