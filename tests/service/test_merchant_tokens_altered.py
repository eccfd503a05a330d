"""What is stored of a merchant's tokens is used as keysvc wrote it, or not at all; and no secret stands in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from support.databases import Database, Row

from keysvc.model.errors import AlreadyExists, Integrity
from keysvc.model.names import TokenName
from keysvc.model.records import MerchantToken, TokenSetRecord
from keysvc.service.merchant_tokens import NewToken
from service.lite import SET, WRONG, Tokens, tokens_of
from service.parts import CALLER, HMAC, Clock, Service, both_databases

HOUR = timedelta(hours=1)

Listed = list[dict[str, Any]]

COLUMNS = {
    "tokens": "'[]'",
    "revision": "revision + 1",
    "mac": "(SELECT mac FROM merchant WHERE merchant_id = 'n')",
    "mac_generation": "2",
}
TOKEN_EDITS: dict[str, Callable[[Listed], Listed]] = {
    "token_id": lambda listed: [{**listed[0], "token_id": "edited"}, listed[1]],
    "digest": lambda listed: [{**listed[0], "digest": listed[1]["digest"]}, listed[1]],
    "generation": lambda listed: [{**listed[0], "generation": 2}, listed[1]],
    "fingerprint": lambda listed: [{**listed[0], "fingerprint": "0000"}, listed[1]],
    "create_time": lambda listed: [{**listed[0], "create_time": "2001-01-01T00:00:00.000001Z"}, listed[1]],
    "expire_time": lambda listed: [{**listed[0], "expire_time": None}, listed[1]],
    "one taken away": lambda listed: listed[1:],
    "one twice": lambda listed: [*listed, listed[0]],
    "another order": lambda listed: listed[::-1],
}


@pytest.fixture
def lite(service: Service) -> Tokens:
    """With two active merchants, `m` and `n`."""
    for merchant_id in ("m", "n"):
        service.add_merchant(merchant_id)
    return tokens_of(service)


def test_no_field_is_left_out_here() -> None:
    assert {field.name for field in fields(TokenSetRecord)} == {*COLUMNS, "merchant_id"}
    assert {field.name for field in fields(MerchantToken)} <= set(TOKEN_EDITS)


@both_databases
def test_an_edited_set_is_never_used(lite: Tokens, database: Database) -> None:
    secrets = _two(lite)
    row = lite.row()
    listed = json.loads(row["tokens"])
    edits = [*COLUMNS.items()]
    edits += [("tokens", f"'{json.dumps(edit(listed))}'".replace(":", r"\:")) for edit in TOKEN_EDITS.values()]
    for column, value in edits:
        database.execute(f"UPDATE merchant_token_set SET {column} = {value} WHERE merchant_id = 'm'")
        assert (value, ["Integrity"] * 4) == (value, [*_results(lite, secrets), lite.verify(WRONG), _made(lite)])
        database.put_back("merchant_token_set", row)
        assert (value, ["VALID a", "VALID b"]) == (value, _results(lite, secrets))


@both_databases
def test_a_set_moved_to_another_merchant_is_never_used(lite: Tokens, database: Database) -> None:
    secrets = _two(lite)
    database.execute("UPDATE merchant_token_set SET merchant_id = 'n'")
    assert ["Integrity"] * 2 == [lite.verify(secret, merchant_id="n") for secret in secrets]
    assert ["NO_LIVE_KEY"] * 2 == _results(lite, secrets)


def test_a_set_copied_over_that_of_another_merchant_is_never_used(lite: Tokens, database: Database) -> None:
    known = lite.create("t")
    lite.create("t", merchant_id="n")
    database.put_back("merchant_token_set", {**lite.row(), "merchant_id": "n"})
    assert ["Integrity", "VALID t"] == [lite.verify(known, merchant_id=m) for m in ("n", "m")]


@both_databases
def test_a_revoked_token_cannot_be_put_back_among_the_others(lite: Tokens, database: Database) -> None:
    revoked, kept = _two(lite)
    before: Row = lite.row()
    lite.revoke("a")
    row = lite.row()
    for put_back in ({**row, "tokens": before["tokens"]}, {**row, "tokens": before["tokens"], "mac": before["mac"]}):
        database.put_back("merchant_token_set", put_back)
        assert ["Integrity"] * 2 == _results(lite, (revoked, kept))
    database.put_back("merchant_token_set", row)
    assert ["INVALID", "VALID b"] == _results(lite, (revoked, kept))


def test_altered_tokens_take_nothing_else_out_of_use(lite: Tokens) -> None:
    secret, other = lite.create("t"), lite.create("t", merchant_id="n")
    key = lite.service.create(HMAC)
    _alter(lite)
    assert ["Integrity", "VALID t"] == [lite.verify(secret), lite.verify(other, merchant_id="n")]
    lite.service.renew(HMAC)
    assert lite.service.create(HMAC, "n") != key


def test_an_altered_merchant_has_no_tokens_but_they_can_be_revoked(lite: Tokens, database: Database) -> None:
    secret = lite.create("t")
    database.execute("UPDATE merchant SET psp = 'PSP_666' WHERE merchant_id = 'm'")
    assert ["Integrity", "Integrity"] == [lite.verify(secret), _made(lite)]
    lite.revoke("t")
    assert [] == lite.ids()


@both_databases
@pytest.mark.parametrize("token_id", ["a", "not-one-of-them"])
def test_revoking_any_token_gets_rid_of_an_altered_set(lite: Tokens, database: Database, token_id: str) -> None:
    """Or else nothing would: it can be neither added to nor used as it stands."""
    secrets = _two(lite)
    lite.create("t", merchant_id="n")
    _alter(lite)
    view = lite.cases.revoke(CALLER, TokenName("m", token_id), "r-1")
    assert (f"{SET}/{token_id}", None) == (str(view.name), view.record)
    assert ["NO_LIVE_KEY"] * 2 == _results(lite, secrets)
    assert ["n"] == [row["merchant_id"] for row in database.rows("merchant_token_set")]
    assert "VALID a" == lite.verify(lite.create("a"))


def test_the_audit_record_tells_that_all_were_erased(lite: Tokens, database: Database) -> None:
    _two(lite)
    _alter(lite)
    before = database.count("audit_event")
    lite.cases.revoke(CALLER, TokenName("m", "a"), "r-1")
    lite.service.reporter.flush()
    events = sorted(database.rows("audit_event"), key=lambda row: int(row["sequence"]))[before:]
    told = [(row["principal"], row["resource"], row["outcome"], row["reason"], row["request_id"]) for row in events]
    assert [
        (CALLER.name, SET, "OK", "", ""),
        (CALLER.name, f"{SET}/a", "OK", "", "r-1"),
        ("keysvc", SET, "REFUSED", "INTEGRITY", ""),
    ] == told


def test_an_alteration_is_told_in_the_audit_record_once(lite: Tokens, database: Database) -> None:
    secret = lite.create("t")
    _alter(lite)
    for _ in range(3):
        assert "Integrity" == lite.verify(secret)
        lite.service.reporter.flush()
    assert [SET] == [row["resource"] for row in database.rows("audit_event", "reason = 'INTEGRITY'")]


def test_a_digest_by_a_key_that_the_token_lacks_matches_nothing_and_hinders_no_other(lite: Tokens) -> None:
    """As after a digest key is gone: what it made is dead, and what others made is not."""
    lost, kept = _two(lite)
    holdings = lite.service.store.holdings("m")
    assert holdings is not None
    assert holdings.tokens is not None
    first, second = holdings.tokens.tokens
    written = replace(holdings.tokens, tokens=(replace(first, generation=99), second))
    with lite.service.store.change() as change:
        change.put_tokens(lite.service.sealer.seal(written))
    assert ["INVALID", "VALID b"] == _results(lite, (lost, kept))


def test_no_table_and_no_repr_holds_a_secret(lite: Tokens, database: Database, clock: Clock) -> None:
    view, secret = lite.cases.create(CALLER, NewToken("m", "t", clock.time + HOUR, "r-1"))
    stored = "".join(str(database.rows(table)) for table in ("merchant_token_set", "audit_event", "request", "change"))
    lite.service.cache.refresh()
    verdict = lite.cases.verify(CALLER, "m", None, secret.reveal())
    shown = repr((view, secret, verdict, lite.service.cache.merchant("m"), lite.cases.list("m")))
    assert "t" in lite.ids()
    assert secret.reveal() not in stored + shown + str(secret)


def test_the_same_secret_of_two_merchants_would_have_two_digests(lite: Tokens) -> None:
    """A digest that is moved opens nothing, and no one who reads the database learns who shares what."""
    secret = lite.create("t")
    made = [lite.service.digester.make("merchant-token", f"merchants/{m}", secret)[0].hex() for m in ("m", "n")]
    assert [True, False] == [digest == lite.stored()[0]["digest"] for digest in made]


def _two(lite: Tokens) -> tuple[str, str]:
    """The secrets of `a`, which ends in an hour, and of `b`."""
    return lite.create("a", HOUR), lite.create("b")


def _results(lite: Tokens, secrets: tuple[str, str]) -> list[str]:
    return [lite.verify(secret) for secret in secrets]


def _made(lite: Tokens) -> str:
    """What creating another one ends with."""
    try:
        lite.create("a")
    except (Integrity, AlreadyExists) as error:
        return type(error).__name__
    return "OK"


def _alter(lite: Tokens) -> None:
    lite.service.database.execute("UPDATE merchant_token_set SET mac_generation = 2 WHERE merchant_id = 'm'")
