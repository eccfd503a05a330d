"""Many MACs at once: each is answered as it would be alone, in its place, whatever becomes of the others."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import pytest

from keysvc.model.errors import DeadlineExceeded, HsmUnavailable, KeysvcError, TooManyFailures
from keysvc.model.records import MerchantState
from keysvc.model.slots import Slot
from keysvc.service.batch import BatchVerification, Presented
from keysvc.service.calls import Caller
from keysvc.service.failures import FailureLimit
from keysvc.service.live_keys import LiveKeys, Named
from keysvc.service.trials import Result, Trials, Verdict
from service.parts import API_KEY, CALLER, HMAC, MESSAGE, SECOND_HMAC, Clock, Service, mac_by

HOUR = timedelta(hours=1)
WRONG = "00" * 32
Answer = Verdict | KeysvcError


class Item(NamedTuple):
    name: Named
    message: bytes
    mac: bytes


def answered(batch: BatchVerification, caller: Caller, items: list[Item]) -> list[Answer]:
    """In the order of the items."""
    names: dict[Named, list[int]] = {}
    for number, item in enumerate(items):
        names.setdefault(item.name, []).append(number)
    presented = Presented([item.message for item in items], [item.mac for item in items], names)
    answers = batch.verify(caller, presented)
    assert set(range(len(items))) == set(answers)
    return [answers[number] for number in range(len(items))]


@pytest.fixture
def presented(service: Service) -> list[Item]:
    """Of every sort, of several merchants, many of each."""
    for merchant_id in ("m", "n", "suspended", "altered", "bare"):
        service.add_merchant(merchant_id)
    secrets = {
        "m": [service.create(), service.create(SECOND_HMAC), service.renew(HMAC, HOUR), service.renew(HMAC, 2 * HOUR)],
        "n": [service.create(SECOND_HMAC, "n")],
        "suspended": [service.create(HMAC, "suspended")],
        "altered": [service.create(HMAC, "altered"), service.create(SECOND_HMAC, "altered")],
        "bare": [],
        "nobody": [],
    }
    ended = service.create(Slot.API_PASSWORD)
    service.move(MerchantState.SUSPENDED, "suspended")
    service.database.execute(
        "UPDATE credential SET weak_key = true WHERE merchant_id = 'altered' AND slot LIKE 'prim%'"
    )
    chosen = random.Random(4)
    items = []
    for merchant_id, own in secrets.items():
        for slot in (None, HMAC, SECOND_HMAC, API_KEY):
            items += [Item((merchant_id, slot), MESSAGE, mac_by(secret)) for secret in (*own, WRONG, ended)]
        items += [Item((merchant_id, None), MESSAGE, mac) for mac in (b"", b"\0" * 31, b"\0" * 33)]
        items += [Item((merchant_id, None), b"another", mac_by(secret)) for secret in own]
    chosen.shuffle(items)
    return items


def one_by_one(service: Service, presented: list[Item]) -> list[Answer]:
    answers: list[Answer] = []
    for each in presented:
        try:
            answers.append(service.verification.verify_hmac(CALLER, each.name, each.message, each.mac))
        except KeysvcError as error:
            answers.append(error)
    return answers


def told(answer: Answer) -> object:
    """An error by its type and its words."""
    return (type(answer), answer.message) if isinstance(answer, KeysvcError) else answer


def test_a_batch_is_answered_as_each_alone_in_its_order(service: Service, presented: list[Item]) -> None:
    service.cache.refresh()
    expected = one_by_one(service, presented)
    found = answered(service.batch, CALLER, presented)
    assert list(map(told, expected)) == list(map(told, found))
    kinds = {answer.result if isinstance(answer, Verdict) else type(answer).__name__ for answer in found}
    assert {"VALID", "INVALID", "NO_LIVE_KEY", "MERCHANT_NOT_ACTIVE", "NotFound", "WrongKind", "Integrity"} == kinds
    matched = {(v.key.slot, v.key.version) for v in found if isinstance(v, Verdict) and v.key}
    assert {(HMAC, 1), (HMAC, 2), (HMAC, 3), (SECOND_HMAC, 1)} == matched


@pytest.mark.parametrize("seed", range(4))
def test_any_part_of_it_in_any_order_is_too(service: Service, presented: list[Item], clock: Clock, seed: int) -> None:
    """Repeated ones among them; and when an overlap has ended meanwhile."""
    clock.forward(seed * HOUR / 2)
    service.cache.refresh()
    some = random.Random(seed).choices(presented, k=25)
    assert list(map(told, one_by_one(service, some))) == list(map(told, answered(service.batch, CALLER, some)))


def test_an_empty_batch_is_answered_with_nothing(service: Service) -> None:
    assert [] == answered(service.batch, CALLER, [])


def test_matches_of_a_batch_count_as_uses_and_others_do_not(service: Service) -> None:
    service.add_merchant()
    secrets = [service.create(), service.create(SECOND_HMAC)]
    items = [Item(("m", None), MESSAGE, mac_by(secret)) for secret in (*secrets, *secrets, secrets[0], WRONG)]
    service.cache.refresh()
    answered(service.batch, CALLER, items)
    calls = {use.fingerprint: tally.calls for use, tally in service.usage.of("m").items()}
    slots = service.holdings().slots
    assert {slots[HMAC].fingerprint: 3, slots[SECOND_HMAC].fingerprint: 2} == calls


def test_a_batch_asks_the_token_once_for_each_turn(service: Service) -> None:
    """All first keys in one visit, then the second keys of those left."""
    service.add_merchant()
    secrets = [service.create(), service.create(SECOND_HMAC)]
    items = [Item(("m", None), MESSAGE, mac_by(secret)) for secret in secrets * 20]
    service.cache.refresh()
    answered(service.batch, CALLER, items)
    before = service.token.figures().operations
    assert {Result.VALID} == {v.result for v in answered(service.batch, CALLER, items) if isinstance(v, Verdict)}
    assert 2 == service.token.figures().operations - before


@pytest.fixture
def spoilt(service: Service) -> str:
    """The secret of merchant s, whose one key the token will not unwrap: its row is rightly sealed."""
    service.add_merchant("s")
    secret = service.create(HMAC, "s")
    (key,) = service.holdings("s").keys[HMAC]
    with service.store.change() as change:
        change.put_key(service.sealer.seal(replace(key, material=bytes(len(key.material)))))
    return secret


@pytest.mark.parametrize("places", [{0}, {7}, {19}, {3, 4, 11}, set(range(20))])
def test_a_key_that_the_token_fails_harms_no_other_item(service: Service, spoilt: str, places: set[int]) -> None:
    service.add_merchant()
    secret = service.create()
    items = [
        Item(("s", None), MESSAGE, mac_by(spoilt)) if number in places
        else Item(("m", None), MESSAGE, mac_by(secret if number % 2 else WRONG))
        for number in range(20)
    ]  # fmt: skip
    service.cache.refresh()
    answers = answered(service.batch, CALLER, items)
    for number, answer in enumerate(answers):
        if number in places:
            assert isinstance(answer, HsmUnavailable), number
        else:
            assert isinstance(answer, Verdict), number
            assert ("VALID" if number % 2 else "INVALID") == answer.result


def test_many_items_of_a_key_that_the_token_fails_are_not_tried_one_by_one(service: Service, spoilt: str) -> None:
    service.cache.refresh()
    answered(service.batch, CALLER, [Item(("s", None), MESSAGE, b"the merchant is looked up")])
    before = service.token.figures().operations
    answers = answered(service.batch, CALLER, [Item(("s", None), MESSAGE, mac_by(spoilt))] * 100)
    assert all(isinstance(answer, HsmUnavailable) for answer in answers)
    assert 1 == service.token.figures().operations - before


def test_a_key_that_the_token_fails_hides_no_later_key_of_other_items(service: Service, spoilt: str) -> None:
    """The item of the second key is asked once more than the others, after the failed one is out."""
    service.add_merchant()
    second = [service.create(), service.create(SECOND_HMAC)][1]
    service.cache.refresh()
    items = [Item(("s", None), MESSAGE, mac_by(spoilt)), Item(("m", None), MESSAGE, mac_by(second))]
    failed, found = answered(service.batch, CALLER, items)
    assert isinstance(failed, HsmUnavailable)
    assert isinstance(found, Verdict)
    assert Result.VALID is found.result


@pytest.fixture
def strict(service: Service, clock: Clock) -> BatchVerification:
    """Refuses a caller's sixth wrong signature a minute."""
    failures = FailureLimit("verifications", 5)
    return BatchVerification(Trials(LiveKeys(service.cache), service.usage, failures, clock), service.token)


def test_wrong_ones_of_a_batch_count_as_failures_of_their_merchant(service: Service, strict: BatchVerification) -> None:
    secrets = {}
    for merchant_id in ("m", "n"):
        service.add_merchant(merchant_id)
        secrets[merchant_id] = service.create(HMAC, merchant_id)
    service.cache.refresh()
    answered(strict, CALLER, [Item(("m", None), MESSAGE, mac_by(WRONG))] * 5)
    right = [Item((merchant_id, None), MESSAGE, mac_by(secrets[merchant_id])) for merchant_id in ("m", "n")]
    refused, found = answered(strict, CALLER, right)
    assert isinstance(refused, TooManyFailures)
    assert isinstance(found, Verdict)
    assert Result.VALID is found.result


def test_a_batch_that_nobody_waits_for_any_more_does_not_ask_the_token(service: Service) -> None:
    service.add_merchant()
    items = [Item(("m", None), MESSAGE, mac_by(service.create()))] * 3
    service.cache.refresh()
    before = service.token.figures().operations
    gone = CALLER._replace(remaining=_seconds(0.0))
    answered(service.batch, CALLER, items[:0])
    answers = answered(service.batch, gone, [Item(("bare", None), b"", b""), *items])
    assert [DeadlineExceeded] * 3 == [type(answer) for answer in answers[1:]]
    assert service.token.figures().operations - before <= 3  # the merchant's rows were checked: no MAC was made


def _seconds(left: float) -> Callable[[], float]:
    return lambda: left
