"""Merchants moving in: a line is done wholly or not at all, once, and never in the place of what is there."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from support.databases import Database
from support.outside import decrypt

from keysvc.hsm.token import Token
from keysvc.model.errors import StoreUnavailable
from keysvc.model.moving import About, Entry, Outcome
from keysvc.model.names import CredentialName
from keysvc.model.principals import PrincipalKind
from keysvc.model.records import MerchantState
from keysvc.model.slots import HmacAlgorithm, Kind, SecretFormat, Slot
from keysvc.service.audit_check import ChainCheck
from keysvc.service.material import Fresh, Offered
from keysvc.service.moving_in import MovingIn
from keysvc.service.principals import Passwords, Principals
from service.parts import (
    AES,
    API_KEY,
    CALLER,
    HMAC,
    MESSAGE,
    SECOND_API_KEY,
    SECOND_HMAC,
    Clock,
    Service,
    both_databases,
)

KEY, OTHER = "0b" * 32, "0c" * 32
API_PASSWORD = "0123456789ABCDEF0123456789ABCDEF"
NOBODY = About()
DUE = datetime(2027, 1, 31, tzinfo=UTC)

Told = tuple[int, str, str]
"""A line, its result, and the reason of a refusal."""


def moving(service: Service) -> MovingIn:
    """As one run of the command makes it."""
    return MovingIn(service.store, service.token, service.sealer, service.digester, service.clock)


def taken(service: Service, *entries: Entry) -> list[Told]:
    return told(moving(service).take_in(entries))


def told(outcomes: Sequence[Outcome]) -> list[Told]:
    return [(outcome.line, outcome.result, outcome.reason) for outcome in outcomes]


def entry(
    line: int = 1, merchant: str = "m", slot: Slot | None = HMAC, secret: str | bytes = KEY, **more: object
) -> Entry:
    return Entry(line, merchant, NOBODY, slot, secret if slot else "", **more)  # type: ignore[arg-type]


def about(line: int = 1, merchant: str = "m", slot: Slot | None = None, secret: str = KEY, **said: object) -> Entry:
    """A line that tells of its merchant."""
    return Entry(line, merchant, About(**said), slot, secret if slot else "")  # type: ignore[arg-type]


def sealed(token: Token, key: bytes) -> bytes:
    """As a merchant seals it, outside of keysvc."""
    return token.import_public_key().encrypt(key, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))


def every_kind(token: Token) -> list[Entry]:
    """Two merchants with keys in plain, one with sealed ones, one without any."""
    return [
        entry(1, "a", HMAC, KEY, rotate_before=DUE),
        entry(2, "a", SECOND_HMAC, "short key", secret_format=SecretFormat.TEXT, allow_weak=True,
              algorithm=HmacAlgorithm.HMAC_SHA1),
        entry(3, "a", AES, OTHER),
        entry(4, "a", API_KEY, "a bearer secret"),
        entry(5, "b", Slot.API_PASSWORD, API_PASSWORD),
        entry(6, "c", HMAC, sealed(token, bytes.fromhex(KEY))),
        entry(7, "c", AES, sealed(token, bytes.fromhex(OTHER))),
        about(8, "d", display_name="Dora's", state=MerchantState.WAITING_ACTIVATION),
    ]  # fmt: skip


@both_databases
def test_what_moved_in_is_used_at_once_and_is_there_when_it_comes_again(service: Service, database: Database) -> None:
    replica = service.replica()
    replica.cache.refresh()
    entries = every_kind(service.token)
    assert [(line, "CREATED", "") for line in range(1, 9)] == taken(service, *entries)
    for verify in (service.verdict, replica.verdict):
        assert ["VALID"] * 5 == [
            verify(KEY, HMAC, "a"),
            verify("a bearer secret", API_KEY, "a"),
            verify(API_PASSWORD, Slot.API_PASSWORD, "b"),
            verify(KEY, HMAC, "c"),
            verify(KEY, None, "a"),
        ]
        assert "INVALID" == verify(OTHER, HMAC, "a")
    mac = hmac.digest(b"short key", MESSAGE, hashlib.sha1)
    service.cache.refresh()
    assert "VALID" == str(service.verification.verify_hmac(CALLER, ("a", SECOND_HMAC), MESSAGE, mac).result)
    for name in (CredentialName("a", AES), CredentialName("c", AES)):
        ciphertext, _ = service.encryption.encrypt(CALLER, name, b"plain", b"")
        assert b"plain" == decrypt(bytes.fromhex(OTHER), str(name), ciphertext, b"")
    slot = service.holdings("a").slots
    assert (DUE, True, False) == (slot[HMAC].rotate_before, slot[SECOND_HMAC].weak_key, slot[HMAC].weak_key)
    assert ("Dora's", "WAITING_ACTIVATION") == (
        service.holdings("d").merchant.display_name, service.holdings("d").merchant.state,
    )  # fmt: skip
    rows = {table: database.rows(table) for table in ("merchant", "credential", "credential_key")}
    assert [(line, "ALREADY_THERE", "") for line in range(1, 9)] == taken(service, *every_kind(service.token))
    assert rows == {table: database.rows(table) for table in rows}
    events = [(event["principal"], event["method"], event["resource"]) for event in database.rows("audit_event")]
    keys = [f"merchants/{each.merchant_id}/credentials/{each.slot}" for each in entries if each.slot]
    resources = sorted(["", "", *(f"merchants/{name}" for name in "abcd"), *keys])
    assert [("keysvc", "import", resource) for resource in resources] == sorted(events)
    list(ChainCheck(service.store, service.signer, []).run())


def test_another_secret_is_told_from_the_one_that_a_slot_holds(service: Service) -> None:
    taken(service, *every_kind(service.token))
    others = [
        entry(1, "a", HMAC, OTHER),
        entry(2, "a", HMAC, KEY, algorithm=HmacAlgorithm.HMAC_SHA1),
        entry(3, "a", HMAC, sealed(service.token, bytes.fromhex(OTHER))),
        entry(4, "a", AES, KEY),
        entry(5, "c", AES, sealed(service.token, bytes.fromhex(KEY))),
        entry(6, "a", API_KEY, "another secret"),
        entry(7, "a", HMAC, sealed(service.token, bytes.fromhex(KEY))),
        entry(8, "c", HMAC, KEY + "00"),
    ]
    refused = [(line, "REFUSED", "SLOT_OCCUPIED") for line in range(1, 7)]
    assert [*refused, (7, "ALREADY_THERE", ""), (8, "ALREADY_THERE", "")] == taken(service, *others)


def add_principal(service: Service, name: str, kind: PrincipalKind) -> None:
    passwords = Passwords(service.token, service.digester)
    Principals(service.store, passwords, service.sealer, service.clock).create(CALLER, name, kind, {})


def test_what_does_not_fit_is_refused_and_nothing_of_it_is_done(service: Service, database: Database) -> None:
    add_principal(service, "PSP_1", PrincipalKind.PSP)
    service.add_merchant("old")
    service.create(HMAC, "old")
    service.revoke(HMAC, merchant_id="old")
    service.add_merchant("asleep")
    service.move(MerchantState.SUSPENDED, "asleep")
    service.add_merchant("altered")
    database.execute("UPDATE merchant SET display_name = 'x' WHERE merchant_id = 'altered'")
    service.add_merchant("edited")
    service.create(HMAC, "edited")
    database.execute("UPDATE credential SET weak_key = true WHERE merchant_id = 'edited'")
    rows = {table: database.rows(table) for table in ("merchant", "credential", "credential_key")}
    wrong = {
        "REVOKED": [entry(1, "old")],
        "MERCHANT_NOT_ACTIVE": [
            entry(2, "asleep"), about(3, "n3", HMAC, state=MerchantState.TERMINATED),
        ],
        "MERCHANT_DIFFERS": [
            about(4, "old", display_name="Another"), about(5, "old", psp="PSP_1"),
            about(6, "asleep", state=MerchantState.ACTIVE), about(7, "old", SECOND_HMAC, acquirer="A"),
        ],
        "NOT_FOUND": [about(8, "n8", psp="PSP_2"), about(9, "n9", HMAC, acquirer="PSP_3")],
        "INTEGRITY": [entry(10, "altered"), entry(23, "edited")],
        "INVALID_FIELD": [
            about(11, "n11", acquirer="PSP_1"), about(12, "-"), about(13, "n13", display_name="a\nb"),
            entry(14, "n14", HMAC, "0b" * 13), entry(15, "n15", HMAC, "0b" * 7, allow_weak=True),
            entry(16, "n16", HMAC, "not hexadecimal"), entry(17, "n17", AES, "0b" * 31),
            entry(18, "n18", API_KEY, b"sealed"), entry(19, "n19", HMAC, b"not sealed"),
            entry(20, "n20", HMAC, sealed(service.token, b"k" * 16)),
            entry(21, "n21", AES, secret_format=SecretFormat.WHSEC),
            entry(22, "n22", API_KEY, algorithm=HmacAlgorithm.HMAC_SHA256),
        ],
    }  # fmt: skip
    expected = [(each.line, "REFUSED", reason) for reason, entries in wrong.items() for each in entries]
    outcomes = moving(service).take_in([each for entries in wrong.values() for each in entries])
    assert expected == told(outcomes)
    assert rows == {table: database.rows(table) for table in rows}
    assert [] == [outcome.message for outcome in outcomes if "not hex" in outcome.message or "0b0b" in outcome.message]
    assert [(1, "CREATED", "")] == taken(service, about(1, "good", HMAC, psp="PSP_1"))


def test_lines_of_one_merchant_and_slot_are_decided_in_their_order(service: Service) -> None:
    entries = [
        about(1, "m", HMAC, display_name="M"),
        entry(2),
        entry(3, secret=OTHER),
        entry(4, slot=API_KEY),
        about(5, "m", SECOND_HMAC, OTHER, display_name="N"),
        about(6, "m", display_name="M"),
    ]
    assert [
        (1, "CREATED", ""), (2, "ALREADY_THERE", ""), (3, "REFUSED", "SLOT_OCCUPIED"), (4, "CREATED", ""),
        (5, "REFUSED", "MERCHANT_DIFFERS"), (6, "ALREADY_THERE", ""),
    ] == taken(service, *entries)  # fmt: skip
    assert {HMAC, API_KEY} == set(service.holdings().slots)


def test_a_merchant_whose_line_was_refused_is_not_added_by_one_that_says_less_of_it(service: Service) -> None:
    entries = [
        about(1, "m", HMAC, "short", display_name="M"),
        entry(2, slot=API_KEY),
        about(3, "n", display_name="N"),
        about(4, "m", SECOND_HMAC, display_name="M"),
        entry(5, slot=API_KEY),
    ]
    run = moving(service)
    assert [
        (1, "REFUSED", "INVALID_FIELD"), (2, "REFUSED", "MERCHANT_REFUSED"), (3, "CREATED", ""), (4, "CREATED", ""),
        (5, "CREATED", ""),
    ] == told(run.take_in(entries[:3])) + told(run.take_in(entries[3:]))  # fmt: skip
    assert "M" == service.holdings().merchant.display_name
    assert 1 == sum(event["resource"] == "" for event in service.database.rows("audit_event"))


def test_an_api_key_that_was_swapped_into_its_slot_is_found_there(service: Service) -> None:
    first, second = (
        entry(1, slot=API_KEY, secret="the first of two keys"),
        entry(2, slot=SECOND_API_KEY, secret="the second of two keys"),
    )
    taken(service, first, second)
    service.swap(Kind.BEARER_SECRET)
    assert ["SLOT_OCCUPIED"] * 2 == [reason for _, _, reason in taken(service, first, second)]
    swapped = [replace(first, secret=second.secret), replace(second, secret=first.secret)]
    assert ["ALREADY_THERE"] * 2 == [result for _, result, _ in taken(service, *swapped)]


def test_a_suspended_merchant_brings_keys_that_verify_nothing_until_it_is_activated(service: Service) -> None:
    entries = [
        about(1, "m", HMAC, state=MerchantState.SUSPENDED),
        about(2, "m", SECOND_HMAC, OTHER, state=MerchantState.SUSPENDED),
    ]
    assert [(1, "CREATED", ""), (2, "CREATED", "")] == taken(service, entries[0]) + taken(service, entries[1])
    assert "MERCHANT_NOT_ACTIVE" == service.verdict(KEY)
    service.move(MerchantState.ACTIVE)
    assert ("VALID", "VALID") == (service.verdict(KEY), service.verdict(OTHER))


@both_databases
def test_what_changed_while_keys_were_wrapped_is_seen_before_anything_is_written(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, secrets = moving(service), list[str]()
    for merchant in ("m", "ending"):
        service.add_merchant(merchant)
    wrap = run._maker.adopt_each

    def meanwhile(offered: Sequence[Offered]) -> list[Fresh]:
        if not secrets:
            secrets.append(service.create(HMAC))
        elif offered and offered[0].name.merchant_id == "ending":
            service.move(MerchantState.TERMINATED, "ending")
        return wrap(offered)

    monkeypatch.setattr(run._maker, "adopt_each", meanwhile)
    assert [(1, "REFUSED", "SLOT_OCCUPIED"), (2, "CREATED", "")] == told(run.take_in([entry(1), entry(2, "other")]))
    assert [(3, "REFUSED", "MERCHANT_NOT_ACTIVE")] == told(run.take_in([entry(3, "ending")]))
    assert not service.holdings("ending").keys
    assert ("VALID", "INVALID") == (service.verdict(secrets[0]), service.verdict(KEY))


def test_keys_that_an_older_key_of_the_token_wrapped_are_wrapped_anew(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = moving(service)
    newest, asked = run._maker.is_newest, list[Fresh]()

    def once_older(fresh: Fresh) -> bool:
        asked.append(fresh)
        return len(asked) > 1 and newest(fresh)

    monkeypatch.setattr(run._maker, "is_newest", once_older)
    assert [(1, "CREATED", ""), (2, "CREATED", "")] == told(run.take_in([entry(1), entry(2, slot=API_KEY)]))
    assert [2, 2] == [sum(fresh.recipe.kind is kind for fresh in asked) for kind in {f.recipe.kind for f in asked}]
    assert "VALID" == service.verdict(KEY)


def test_a_row_that_contradicts_one_line_refuses_that_line_alone(service: Service, database: Database) -> None:
    service.add_merchant("gone")
    service.create(HMAC, "gone")
    database.execute("DELETE FROM merchant WHERE merchant_id = 'gone'", foreign_keys=False)
    entries = [entry(line, f"m{line}") for line in range(1, 6)]
    entries[3] = entry(4, "gone")
    expected = [(line, "CREATED", "") for line in range(1, 6)]
    expected[3] = (4, "REFUSED", "INTEGRITY")
    assert expected == taken(service, *entries)


@both_databases
def test_what_cannot_be_recorded_does_not_move_in(service: Service, database: Database) -> None:
    run = moving(service)
    run.take_in([entry(1, "first")])
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER dropping BEFORE INSERT ON audit_event WHEN NEW.resource = 'merchants/m3'"
            " BEGIN SELECT RAISE(IGNORE); END"
        )
    else:
        database.execute(
            "CREATE FUNCTION dropping() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.resource = 'merchants/m3' THEN RETURN NULL; END IF; RETURN NEW; END $$"
        )
        database.execute(
            "CREATE TRIGGER dropping BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION dropping()"
        )
    with pytest.raises(StoreUnavailable):
        run.take_in([entry(line, f"m{line}") for line in range(1, 6)])
    assert ["first"] == [row["merchant_id"] for row in database.rows("merchant")]
    database.execute("DROP TRIGGER dropping" + ("" if database.is_sqlite else " ON audit_event"))
    assert 5 == sum(outcome.result == "CREATED" for outcome in run.take_in([entry(n, f"m{n}") for n in range(1, 6)]))


def test_the_record_is_signed_as_if_events_came_one_after_another(service: Service, clock: Clock) -> None:
    taken(service, *(entry(line, f"m{line}") for line in range(1, 131)))
    assert [100, 200] == [head.sequence for head in service.store.audit_heads()]
    list(ChainCheck(service.store, service.signer, []).run())
