"""Signing webhooks: with every live key where receivers take several signatures, with the current one elsewhere."""

from __future__ import annotations

import base64
import hmac
from datetime import timedelta

import pytest

from keysvc.model.errors import SlotEmpty, WrongKind
from keysvc.model.names import CredentialName
from keysvc.model.records import MerchantState
from keysvc.model.slots import HmacAlgorithm, Slot
from keysvc.service.calls import Request
from keysvc.service.trials import Result
from keysvc.service.views import LiveKey
from keysvc.webhooks.schemes import Delivery, Draft, Scheme, Signed
from keysvc.webhooks.writing import CARRIES_SEVERAL
from service.parts import CALLER, HMAC, SECOND_HMAC, Clock, Service, outcome

HOUR = timedelta(hours=1)
BODY = b'{"order":1}'
SEVERAL = [Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE]
ONE = [Scheme.GITHUB, Scheme.SLACK_V0, Scheme.SHOPIFY]


@pytest.fixture(autouse=True)
def merchant(service: Service) -> None:
    service.add_merchant()


def sign(service: Service, scheme: Scheme, slot: Slot | None = None) -> tuple[Signed, list[LiveKey]]:
    service.cache.refresh()
    draft = Draft(BODY, "https://example.com/hook", {}, "msg_1", service.clock())
    return service.signing.sign_webhook(CALLER, ("m", slot), scheme, draft)


def create_sha512(service: Service, slot: Slot) -> None:
    service.lifecycle.create(Request(CALLER, CredentialName("m", slot)), HmacAlgorithm.HMAC_SHA512, None, None)


def by(secret: str, scheme: Scheme, clock: Clock) -> str:
    """One signature as it stands in the header, computed here."""
    time, key = str(int(clock.time.timestamp())).encode(), bytes.fromhex(secret)
    if scheme is Scheme.STANDARD_WEBHOOKS:
        return "v1," + base64.b64encode(hmac.digest(key, b"msg_1." + time + b"." + BODY, "sha256")).decode()
    return "v1=" + hmac.digest(key, time + b"." + BODY, "sha256").hex()


def signatures(signed: Signed, scheme: Scheme) -> list[str]:
    if scheme is Scheme.STANDARD_WEBHOOKS:
        return signed.headers["webhook-signature"].split(" ")
    return signed.headers["stripe-signature"].split(",")[1:]


def test_the_schemes_that_carry_several_signatures() -> None:
    assert set(SEVERAL) == CARRIES_SEVERAL


@pytest.mark.parametrize("scheme", SEVERAL)
def test_every_live_key_signs_the_primarys_current_first(service: Service, clock: Clock, scheme: Scheme) -> None:
    """In the order in which they are tried: retiring keys of both slots too, until their overlap ends."""
    oldest, old_second = service.create(), service.create(SECOND_HMAC)
    older, second = service.renew(HMAC, HOUR), service.renew(SECOND_HMAC, 2 * HOUR)
    newest = service.renew(HMAC, 3 * HOUR)
    for forward, live in (
        (timedelta(), [newest, older, oldest, second, old_second]),
        (HOUR, [newest, older, second, old_second]),
        (HOUR, [newest, older, second]),
    ):
        clock.forward(forward)
        signed, keys = sign(service, scheme)
        assert [by(secret, scheme, clock) for secret in live] == signatures(signed, scheme)
        assert len(live) == len(keys)
        delivery = Delivery(signed.headers, BODY)
        service.cache.refresh()
        verdict = service.verification.verify_webhook(CALLER, ("m", SECOND_HMAC), scheme, delivery, HOUR)
        assert (Result.VALID, SECOND_HMAC) == (verdict.result, verdict.key and verdict.key.slot)


@pytest.mark.parametrize("scheme", SEVERAL)
def test_only_the_first_signature_counts_as_a_use(service: Service, scheme: Scheme) -> None:
    service.create()
    service.create(SECOND_HMAC)
    service.renew(HMAC, HOUR)
    sign(service, scheme)
    (found,) = service.usage.of("m").items()
    assert (service.holdings().slots[HMAC].fingerprint, 1) == (found[0].fingerprint, found[1].calls)


@pytest.mark.parametrize("scheme", SEVERAL)
def test_a_slots_own_name_stands_for_its_own_live_keys(service: Service, clock: Clock, scheme: Scheme) -> None:
    service.create()
    old = service.create(SECOND_HMAC)
    new = service.renew(SECOND_HMAC, HOUR)
    signed, _ = sign(service, scheme, SECOND_HMAC)
    assert [by(secret, scheme, clock) for secret in (new, old)] == signatures(signed, scheme)


@pytest.mark.parametrize("scheme", ONE)
def test_a_scheme_that_carries_one_signature_is_signed_by_the_current_key(service: Service, scheme: Scheme) -> None:
    service.create()
    service.create(SECOND_HMAC)
    service.renew(HMAC, HOUR)
    _, keys = sign(service, scheme)
    assert [(HMAC, 2)] == [(key.slot, key.version) for key in keys]
    service.revoke()
    _, keys = sign(service, scheme)
    assert [(SECOND_HMAC, 1)] == [(key.slot, key.version) for key in keys]


@pytest.mark.parametrize("scheme", [*SEVERAL, *ONE])
def test_keys_of_another_algorithm_sign_no_webhook(service: Service, scheme: Scheme) -> None:
    create_sha512(service, HMAC)
    with pytest.raises(WrongKind):
        sign(service, scheme)
    assert {} == service.usage.of("m")


@pytest.mark.parametrize("scheme", SEVERAL)
def test_a_live_key_of_another_algorithm_is_left_out(service: Service, clock: Clock, scheme: Scheme) -> None:
    secret = service.create()
    create_sha512(service, SECOND_HMAC)
    signed, _ = sign(service, scheme)
    assert [by(secret, scheme, clock)] == signatures(signed, scheme)


@pytest.mark.parametrize("scheme", [*SEVERAL, *ONE])
def test_what_cannot_be_signed_with(service: Service, scheme: Scheme) -> None:
    """No key, an altered key beside a whole one, and a merchant that is not active."""
    with pytest.raises(SlotEmpty):
        sign(service, scheme)
    service.create()
    service.create(SECOND_HMAC)
    service.database.execute(f"UPDATE credential SET weak_key = true WHERE slot = '{HMAC}'")
    assert "Integrity" == outcome(lambda: sign(service, scheme))
    service.database.execute("UPDATE credential SET weak_key = false")
    service.move(MerchantState.SUSPENDED)
    assert "MerchantNotActive" == outcome(lambda: sign(service, scheme))
    assert {} == service.usage.of("m")
