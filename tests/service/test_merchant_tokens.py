"""Lib Lite tokens: several live at once, each ended alone, and none accepted that keysvc did not write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from support.databases import Database, Row

from keysvc.model.errors import (
    AlreadyExists,
    InvalidField,
    MerchantNotActive,
    NotFound,
    RequestAlreadyDone,
    StoreUnavailable,
    TooManyTokens,
)
from keysvc.model.names import TokenName
from keysvc.model.records import MerchantState
from keysvc.service.digests import Digester
from keysvc.service.merchant_tokens import MAX_LIFE, MAX_LIVE, NewToken
from service.lite import FAILURES, SET, WRONG, Tokens, tokens_of
from service.parts import CALLER, Clock, Service, both_databases

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def lite(service: Service) -> Tokens:
    """With two active merchants, `m` and `n`."""
    for merchant_id in ("m", "n"):
        service.add_merchant(merchant_id)
    return tokens_of(service)


@both_databases
def test_tokens_are_live_side_by_side_and_end_alone(lite: Tokens) -> None:
    first, second = lite.create("first"), lite.create("second")
    assert ["VALID first", "VALID second"] == [lite.verify(s) for s in (first, second)]
    lite.revoke("first")
    assert ["INVALID", "VALID second"] == [lite.verify(s) for s in (first, second)]
    lite.revoke("second")
    assert ["NO_LIVE_KEY"] * 2 == [lite.verify(s) for s in (first, second)]


def test_a_secret_is_43_characters_of_base64url_and_never_the_same(lite: Tokens) -> None:
    made = {lite.create() for _ in range(MAX_LIVE)}
    assert MAX_LIVE == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in made)


def test_an_id_that_is_not_given_is_16_hexadecimal_digits(lite: Tokens) -> None:
    for _ in range(3):
        lite.create()
    assert 3 == len(set(lite.ids()))
    assert all(re.fullmatch("[0-9a-f]{16}", token_id) for token_id in lite.ids())


@both_databases
def test_tokens_are_listed_by_id_with_their_dates_and_fingerprints(lite: Tokens, clock: Clock) -> None:
    made = [lite.cases.create(CALLER, NewToken("m", token_id))[0] for token_id in ("b", "c", "a", "Z")]
    ending, _ = lite.cases.create(CALLER, NewToken("m", "bb", clock.time + HOUR))
    assert ["Z", "a", "b", "bb", "c"] == lite.ids()
    assert sorted([*made, ending], key=lambda view: view.name.token_id) == lite.cases.list("m")
    assert ending.record is not None
    assert (clock.time, clock.time + HOUR) == (ending.record.create_time, ending.record.expire_time)
    assert 5 == len({view.record.fingerprint for view in lite.cases.list("m") if view.record})
    assert [] == lite.ids("n")


def test_listing_answers_while_the_row_was_altered(lite: Tokens) -> None:
    """As all views do: what a token opens is decided by checked rows only."""
    lite.create("t")
    lite.service.database.execute("UPDATE merchant_token_set SET mac_generation = 2")
    assert ["t"] == lite.ids()


def test_by_its_own_name_a_token_takes_its_own_secret_only(lite: Tokens) -> None:
    secrets = {token_id: lite.create(token_id) for token_id in ("a", "b")}
    assert ["VALID a", "INVALID"] == [lite.verify(secrets[token_id], "a") for token_id in ("a", "b")]
    assert "NO_LIVE_KEY" == lite.verify(secrets["a"], "c")


@pytest.mark.parametrize(
    "change", [str.swapcase, lambda text: text[:-1], lambda text: text + "=", lambda _: "\U0001f511"]
)
def test_a_secret_that_is_nearly_right_is_invalid(lite: Tokens, change: Callable[[str], str]) -> None:
    assert "INVALID" == lite.verify(change(lite.create()))


def test_another_merchants_secret_is_invalid(lite: Tokens) -> None:
    secret = lite.create("t")
    lite.create("t", merchant_id="n")
    assert ["VALID t", "INVALID"] == [lite.verify(secret, merchant_id=m) for m in ("m", "n")]


@both_databases
def test_a_token_verifies_until_just_before_its_expire_time(lite: Tokens, clock: Clock) -> None:
    secret, other = lite.create("t", HOUR), lite.create("for-ever")
    clock.forward(HOUR - MICROSECOND)
    assert ("VALID t", ["for-ever", "t"]) == (lite.verify(secret), lite.ids())
    clock.forward(MICROSECOND)
    assert ("INVALID", ["for-ever"]) == (lite.verify(secret), lite.ids())
    assert ["NO_LIVE_KEY", "VALID for-ever"] == [lite.verify(secret, "t"), lite.verify(other)]


def test_a_merchant_whose_tokens_have_all_expired_has_none_that_is_live(lite: Tokens, clock: Clock) -> None:
    secret = lite.create("t", MICROSECOND)
    assert "VALID t" == lite.verify(secret)
    clock.forward(MICROSECOND)
    assert "NO_LIVE_KEY" == lite.verify(secret)


@pytest.mark.parametrize("work", [lambda lite: lite.create("new"), lambda lite: lite.revoke("kept")])
def test_expired_tokens_are_erased_when_the_others_are_written(
    lite: Tokens, clock: Clock, work: Callable[[Tokens], object]
) -> None:
    lite.create("kept")
    lite.create("expired", HOUR)
    clock.forward(HOUR)
    work(lite)
    assert "expired" not in {each["token_id"] for each in lite.stored()}


def test_an_expired_token_is_none_that_can_be_revoked(lite: Tokens, clock: Clock) -> None:
    lite.create("t", HOUR)
    clock.forward(HOUR)
    with pytest.raises(NotFound):
        lite.revoke("t")


@pytest.mark.parametrize("ttl", [timedelta(0), -MICROSECOND, MAX_LIFE + MICROSECOND])
def test_an_expire_time_is_in_the_future_and_within_ten_years(lite: Tokens, ttl: timedelta) -> None:
    with pytest.raises(InvalidField) as refused:
        lite.create("t", ttl)
    assert "expire_time" == refused.value.field
    assert [] == lite.ids()


def test_ten_years_by_the_calendar_are_within_ten_years(lite: Tokens, clock: Clock) -> None:
    ten_years = clock.time.replace(year=clock.time.year + 10) - clock.time
    for ttl in (ten_years, MAX_LIFE):
        lite.create("", ttl)
    assert 2 == len(lite.ids())


@both_databases
def test_a_merchant_has_at_most_twenty_live_tokens(lite: Tokens, clock: Clock) -> None:
    secrets = [lite.create(f"t-{i}") for i in range(MAX_LIVE - 1)] + [lite.create("ends", HOUR)]
    with pytest.raises(TooManyTokens):
        lite.create("one-more")
    lite.create("others", merchant_id="n")
    assert {"VALID"} == {lite.verify(secret).split()[0] for secret in secrets}
    clock.forward(HOUR)
    lite.create("instead-of-expired")
    with pytest.raises(TooManyTokens):
        lite.create("one-more")
    lite.revoke("t-0")
    lite.create("instead-of-revoked")
    assert MAX_LIVE == len(lite.ids())


@both_databases
def test_many_threads_together_make_at_most_twenty(lite: Tokens) -> None:
    def attempt(_: int) -> str:
        try:
            return lite.verify(lite.create())[:5]
        except TooManyTokens:
            return "refused"

    with ThreadPoolExecutor(8) as threads:
        assert {"VALID": MAX_LIVE, "refused": 5} == Counter(threads.map(attempt, range(MAX_LIVE + 5)))
    assert MAX_LIVE == len(lite.ids())


def test_an_id_is_taken_while_its_token_is_live(lite: Tokens, clock: Clock) -> None:
    lite.create("t", HOUR)
    with pytest.raises(AlreadyExists):
        lite.create("t")
    clock.forward(HOUR)
    lite.create("t")


def test_an_id_is_taken_even_where_there_is_no_room(lite: Tokens) -> None:
    for i in range(MAX_LIVE):
        lite.create(f"t-{i}")
    with pytest.raises(AlreadyExists):
        lite.create("t-0")


@both_databases
def test_a_revoked_id_may_be_used_again_and_its_old_secret_stays_dead(lite: Tokens) -> None:
    old = lite.create("t")
    lite.revoke("t")
    new = lite.create("t")
    assert ["INVALID", "VALID t"] == [lite.verify(s) for s in (old, new)]


@pytest.mark.parametrize("token_id", ["a b", "a" * 65, "a/b", "é", "a\n"])
def test_what_is_no_id_is_refused(lite: Tokens, token_id: str) -> None:
    with pytest.raises(InvalidField) as refused:
        lite.create(token_id)
    assert "token_id" == refused.value.field


def test_an_unknown_token_or_merchant_is_not_found(lite: Tokens) -> None:
    lite.create("t")
    calls: list[Callable[[], object]] = [
        lambda: lite.revoke("unknown"),
        lambda: lite.revoke("t", "n"),
        lambda: lite.revoke("t", "unknown"),
        lambda: lite.create("t", merchant_id="unknown"),
        lambda: lite.ids("unknown"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    assert "NotFound" == lite.verify(WRONG, merchant_id="unknown")
    assert ["t"] == lite.ids()


@pytest.mark.parametrize("method", ["create", "revoke"])
def test_a_repeated_request_changes_nothing_and_says_what_it_did(lite: Tokens, clock: Clock, method: str) -> None:
    """Whatever else has happened since: the end that it asks for may be past by now."""

    def send() -> None:
        if method == "create":
            lite.cases.create(CALLER, NewToken("m", "", ends, "r-1"))
        else:
            lite.cases.revoke(CALLER, TokenName("m", "t"), "r-1")

    ends = clock.time + HOUR
    lite.create("t")
    send()
    ids = lite.ids()
    row = lite.row()
    done = f"{SET}/{next(i for i in ids if i != 't') if method == 'create' else 't'}"
    for forward in (timedelta(0), HOUR):
        clock.forward(forward)
        with pytest.raises(RequestAlreadyDone) as refused:
            send()
        assert {"resource": done, "version": "0"} == refused.value.metadata
    assert row == lite.row()


def test_a_refused_request_is_not_done(lite: Tokens) -> None:
    lite.create("t")
    with pytest.raises(AlreadyExists):
        lite.cases.create(CALLER, NewToken("m", "t", None, "r-1"))
    lite.cases.create(CALLER, NewToken("m", "u", None, "r-1"))
    assert ["t", "u"] == lite.ids()


@pytest.mark.parametrize("state", [MerchantState.SUSPENDED, MerchantState.TERMINATED])
def test_while_a_merchant_is_not_active_none_is_made_and_none_verifies(lite: Tokens, state: MerchantState) -> None:
    secret = lite.create("t")
    lite.service.move(state)
    with pytest.raises(MerchantNotActive):
        lite.create("u")
    assert ["MERCHANT_NOT_ACTIVE"] * 2 == [lite.verify(s) for s in (secret, WRONG)]


def test_a_suspended_merchants_tokens_can_be_revoked_and_the_others_come_back(lite: Tokens) -> None:
    secrets = [lite.create(token_id) for token_id in ("t", "u")]
    lite.service.move(MerchantState.SUSPENDED)
    lite.revoke("t")
    lite.service.move(MerchantState.ACTIVE)
    assert ["INVALID", "VALID u"] == [lite.verify(s) for s in secrets]


@both_databases
@pytest.mark.parametrize("edit", [None, "mac_generation = 2"])
def test_terminating_a_merchant_erases_its_tokens_altered_or_not(
    lite: Tokens, database: Database, edit: str | None
) -> None:
    for merchant_id in ("m", "n"):
        lite.create("t", merchant_id=merchant_id)
    if edit:
        database.execute(f"UPDATE merchant_token_set SET {edit} WHERE merchant_id = 'm'")
    lite.service.move(MerchantState.TERMINATED)
    assert ["n"] == [row["merchant_id"] for row in database.rows("merchant_token_set")]
    assert [SET, "merchants/m"] == _told(database)[-2:]
    assert [] == lite.ids()


def test_terminating_a_merchant_that_never_had_tokens_tells_of_none(lite: Tokens, database: Database) -> None:
    lite.service.move(MerchantState.TERMINATED)
    assert SET not in _told(database)


@both_databases
def test_a_revoked_token_ends_on_every_replica_at_once(lite: Tokens) -> None:
    other = tokens_of(lite.service.replica())
    secret = lite.create("t")
    assert "VALID t" == other.verify(secret)
    lite.revoke("t")
    assert "NO_LIVE_KEY" == other.verify(secret)
    assert "VALID u" == other.verify(lite.create("u"))


def test_wrong_secrets_are_limited_by_caller_and_merchant(lite: Tokens) -> None:
    secret = lite.create("t")
    lite.create("t", merchant_id="n")
    second = CALLER._replace(principal="second")
    assert ["INVALID"] * FAILURES == [lite.verify(WRONG) for _ in range(FAILURES)]
    assert ["TooManyFailures"] * 3 == [
        lite.verify(s, name) for s, name in ((WRONG, None), (secret, None), (secret, "t"))
    ]
    assert ["VALID t", "INVALID"] == [lite.verify(s, caller=second) for s in (secret, WRONG)]
    assert "INVALID" == lite.verify(WRONG, merchant_id="n")


def test_only_a_wrong_secret_counts_as_a_failure(lite: Tokens) -> None:
    for _ in range(FAILURES):
        assert "NO_LIVE_KEY" == lite.verify(WRONG)
        assert "NotFound" == lite.verify(WRONG, merchant_id="unknown")
    secret = lite.create("t")
    for _ in range(FAILURES):
        assert "VALID t" == lite.verify(secret)
        assert "NO_LIVE_KEY" == lite.verify(secret, "u")
    lite.service.move(MerchantState.SUSPENDED)
    for _ in range(FAILURES):
        assert "MERCHANT_NOT_ACTIVE" == lite.verify(WRONG)
    lite.service.move(MerchantState.ACTIVE)
    assert "VALID t" == lite.verify(secret)


class _Counting(Digester):
    """Counts the digests that are made."""

    made = 0

    def _digest(self, generation: int, *parts: str) -> bytes:
        self.made += 1
        return super()._digest(generation, *parts)


def test_one_digest_serves_all_of_a_merchants_tokens(lite: Tokens) -> None:
    for _ in range(MAX_LIVE):
        lite.create()
    digester = _Counting(lite.service.token)
    assert "INVALID" == tokens_of(lite.service, digester).verify(WRONG)
    assert 1 == digester.made


def test_every_change_is_one_audit_event(lite: Tokens, database: Database) -> None:
    before = database.count("audit_event")
    lite.cases.create(CALLER, NewToken("m", "t", None, "r-1"))
    lite.verify(WRONG)
    lite.ids()
    lite.cases.revoke(CALLER, TokenName("m", "t"), "r-2")
    told = [
        (row["principal"], row["resource"], row["outcome"], row["request_id"]) for row in _events(database)[before:]
    ]
    assert [(CALLER.name, f"{SET}/t", "OK", request_id) for request_id in ("r-1", "r-2")] == told


@pytest.mark.parametrize("work", [lambda lite: lite.create("new"), lambda lite: lite.revoke("t")])
def test_what_cannot_be_audited_does_not_happen(lite: Tokens, work: Callable[[Tokens], object]) -> None:
    secret = lite.create("t")
    row = lite.row()
    lite.service.database.execute("ALTER TABLE audit_event RENAME TO away")
    with pytest.raises(StoreUnavailable):
        work(lite)
    lite.service.database.execute("ALTER TABLE away RENAME TO audit_event")
    assert (row, "VALID t") == (lite.row(), lite.verify(secret))


def _told(database: Database) -> list[str]:
    """The resources of all audit events."""
    return [str(row["resource"]) for row in _events(database)]


def _events(database: Database) -> list[Row]:
    return sorted(database.rows("audit_event"), key=lambda row: int(row["sequence"]))
