"""Secrets do not print themselves, and a digest is worth nothing beside what it was made for."""

from __future__ import annotations

import traceback
from dataclasses import fields, is_dataclass

import pytest
from support.databases import Database

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.keys import KeyShape
from keysvc.hsm.token import Token
from keysvc.model.errors import InvalidField
from keysvc.model.names import CredentialName
from keysvc.model.secrets import SecretText
from keysvc.model.slots import HmacAlgorithm, Kind, SecretFormat, Slot
from keysvc.service.calls import Request
from keysvc.service.digests import Digester
from keysvc.service.envelope import Envelope
from keysvc.service.material import API_KEY_USE, Maker, recipe
from service.parts import API_KEY, CALLER, HMAC, SECOND_API_KEY, Service, of_kind

SECRET = "open sesame, open sesame"


def test_a_secret_text_is_told_by_reveal_alone() -> None:
    text = SecretText(SECRET)
    shown = [repr(text), str(text), f"{text}", f"{text!s:>40}", repr([text]), repr({"secret": text})]
    assert not [told for told in shown if "sesame" in told]
    assert SECRET == text.reveal()


def test_the_pin_does_not_show() -> None:
    assert "1234" not in repr(TokenConfig("module", "label", "1234"))


@pytest.mark.parametrize("kind", Kind)
def test_a_fresh_key_does_not_show(token: Token, kind: Kind) -> None:
    name = CredentialName("m", of_kind(kind))
    fresh = Maker(token, Digester(token)).make(name, recipe(name, None, None), None)
    assert fresh.text is not None
    _shows_none_of(fresh, fresh.text.reveal(), fresh.material)


def test_a_new_key_of_the_token_does_not_show(token: Token) -> None:
    made = token.generate(KeyShape(HmacAlgorithm.HMAC_SHA256), None)
    assert made.plain is not None
    _shows_none_of(made, made.plain, made.material)


def test_an_envelope_does_not_show_what_it_holds() -> None:
    _shows_none_of(Envelope(1, b"sealed bytes"), b"sealed bytes")


@pytest.mark.parametrize("kind", Kind)
def test_an_answer_holds_its_secret_in_one_place_that_hides_it(service: Service, kind: Kind) -> None:
    service.add_merchant()
    view, fresh = service.lifecycle.create(Request(CALLER, CredentialName("m", of_kind(kind))), None, None, None)
    assert fresh.text is not None
    assert fresh.text.reveal() not in repr((view, fresh))


@pytest.mark.parametrize(("secret", "secret_format"), [("sesame!", SecretFormat.TEXT), ("sesame, no hex", None)])
def test_a_refused_import_does_not_quote_the_secret(
    service: Service, secret: str, secret_format: SecretFormat | None
) -> None:
    service.add_merchant()
    with pytest.raises(InvalidField) as refused:
        service.lifecycle.adopt(
            Request(CALLER, CredentialName("m", HMAC)), None, secret_format, secret, allow_weak=False
        )
    told = "".join(traceback.format_exception(refused.value)) + repr(refused.value.metadata)
    assert "sesame" not in told


def test_no_table_holds_a_secret(service: Service, database: Database) -> None:
    service.add_merchant()
    service.admins.put("admin", SecretText(SECRET))
    secrets = [service.create(slot) for slot in Slot]
    secrets += [service.renew(slot) for slot in Slot]
    stored = "".join(
        str(database.rows(table)) for table in ("credential", "credential_key", "principal", "audit_event")
    )
    for secret in [SECRET, *secrets]:
        assert secret not in stored
        if all(c in "0123456789abcdefABCDEF" for c in secret):
            assert repr(bytes.fromhex(secret))[2:-1] not in stored


def test_a_digest_is_bound_to_use_resource_and_secret(token: Token) -> None:
    digester = Digester(token)
    made, generation = digester.make("use", "resource", SECRET)
    assert digester.matches("use", "resource", SECRET, made, generation)
    assert digester.matches("use", "resource", SECRET, made, None)
    for use, resource, secret in [
        ("other", "resource", SECRET), ("use", "other", SECRET), ("use", "resource", SECRET + " "),
        ("user", "esource", SECRET), ("use", "resource" + SECRET, ""), ("use", "", "resource" + SECRET),
        ('use","resource', "", SECRET),
    ]:  # fmt: skip
        assert not digester.matches(use, resource, secret, made, generation)
    assert not digester.matches("use", "resource", SECRET, made[:-1], generation)
    assert not digester.matches("use", "resource", SECRET, b"", generation)


def test_a_digest_by_a_key_that_the_token_lacks_matches_nothing(token: Token) -> None:
    digester = Digester(token)
    made, generation = digester.make("use", "resource", SECRET)
    assert not digester.matches("use", "resource", SECRET, made, generation + 1)


def test_the_same_api_key_in_two_places_has_two_digests(service: Service, database: Database) -> None:
    """So that no one who reads the database learns who shares a key, and a digest that is moved opens nothing."""
    for merchant_id in ("m", "n"):
        service.add_merchant(merchant_id)
    places = [("m", API_KEY), ("m", SECOND_API_KEY), ("m", Slot.API_PASSWORD), ("n", API_KEY)]
    for merchant_id, slot in places:
        request = Request(CALLER, CredentialName(merchant_id, slot))
        service.lifecycle.adopt(request, None, SecretFormat.TEXT, SECRET, allow_weak=False)
        assert "VALID" == service.verdict(SECRET, slot, merchant_id)
    for table, column in (("credential_key", "material"), ("credential", "fingerprint")):
        assert len(places) == len({row[column] for row in database.rows(table)})


def test_a_digest_of_another_use_is_another(token: Token) -> None:
    digester = Digester(token)
    made, generation = digester.make("principal-password", "admin", SECRET)
    assert not digester.matches(API_KEY_USE, "admin", SECRET, made, generation)


def _shows_none_of(value: object, *secrets: str | bytes) -> None:
    assert is_dataclass(value)
    assert len(fields(value)) > 1
    shown = repr(value)
    for secret in secrets:
        raw = secret if isinstance(secret, bytes) else secret.encode()
        for form in (repr(raw)[2:-1], raw.hex(), repr(secret)):
            assert form not in shown
