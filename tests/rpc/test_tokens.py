"""TokenService: several live tokens a merchant, each shown once, ended alone, and checked by its secret."""

from __future__ import annotations

import re
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.server import Client, DevServer, Refusal, refusal

from keysvc.v1 import merchant_service_pb2 as mpb
from keysvc.v1 import token_service_pb2 as pb

MAX_LIVE = 20
MAX_SECRET = 16 * 1024
FAILURES = 3
WRONG = "A" * 43
DAY = 24 * 60 * 60
TEN_YEARS = 3652 * DAY
Result = pb.VerifyTokenResponse.Result


def request(method: str, **fields: Any) -> Any:
    module = pb if hasattr(pb, f"{method}Request") else mpb
    return getattr(module, f"{method}Request")(**fields)


def ask(client: Client, method: str, **fields: Any) -> Any:
    return client.call(method, request(method, **fields))


def refused(client: Client, method: str, **fields: Any) -> Refusal:
    return refusal(lambda: ask(client, method, **fields))


def create(client: Client, merchant: str, token_id: str = "", **fields: Any) -> str:
    """Returns the secret."""
    return str(ask(client, "CreateToken", parent=merchant, token_id=token_id, **fields).secret)


def verify(client: Client, name: str, secret: str) -> str:
    """The result's name, and for a match the token's id behind it."""
    told = ask(client, "VerifyToken", name=name, secret=secret)
    matched = told.matched_token.rpartition("/")[2]
    return f"{Result.Name(told.result)} {matched}".strip()


def ids(client: Client, merchant: str) -> list[str]:
    listed = ask(client, "ListTokens", parent=merchant).tokens
    assert all(token.name.startswith(f"{merchant}/tokens/") for token in listed)
    return [token.name.rpartition("/")[2] for token in listed]


def in_seconds(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMicroseconds(round((time.time() + seconds) * 1_000_000))
    return made


def told_of(refusal: Refusal) -> tuple[grpc.StatusCode, str]:
    return refusal.code, refusal.reason


NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
INVALID_FIELD = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def test_tokens_are_live_side_by_side_and_each_ends_at_once_and_alone(client: Client, merchant: str) -> None:
    first, second = create(client, merchant, "first"), create(client, merchant, "second")
    assert ["VALID first", "VALID second"] == [verify(client, merchant, s) for s in (first, second)]
    assert f"{merchant}/tokens/first" == ask(client, "VerifyToken", name=merchant, secret=first).matched_token
    ended = ask(client, "RevokeToken", name=f"{merchant}/tokens/first").token
    assert f"{merchant}/tokens/first" == ended.name
    assert ["INVALID", "VALID second"] == [verify(client, merchant, s) for s in (first, second)]
    assert ["second"] == ids(client, merchant)
    ask(client, "RevokeToken", name=f"{merchant}/tokens/second")
    assert ["NO_LIVE_KEY"] * 2 == [verify(client, merchant, s) for s in (first, second)]


def test_a_token_is_listed_as_it_was_made_and_its_secret_is_shown_once(client: Client, merchant: str) -> None:
    expire_time = in_seconds(DAY)
    made = ask(client, "CreateToken", parent=merchant, token_id="t", expire_time=expire_time)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", made.secret)
    token = made.token
    assert (f"{merchant}/tokens/t", expire_time) == (token.name, token.expire_time)
    assert re.fullmatch("[0-9a-f]{16}", token.fingerprint)
    assert abs(token.create_time.seconds - time.time()) < 60
    listed = ask(client, "ListTokens", parent=merchant)
    assert [token] == list(listed.tokens)
    assert made.secret not in str(listed)
    assert token == ask(client, "RevokeToken", name=token.name).token


def test_without_an_expire_time_a_token_has_none(client: Client, merchant: str) -> None:
    assert not ask(client, "CreateToken", parent=merchant).token.HasField("expire_time")


def test_tokens_are_listed_by_id_and_named_by_the_service_where_the_caller_does_not(
    client: Client, merchant: str
) -> None:
    for token_id in ("b", "a", "-", "Z", "x" * 64):
        create(client, merchant, token_id)
    made = ask(client, "CreateToken", parent=merchant).token.name.rpartition("/")[2]
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert sorted(["b", "a", "-", "Z", "x" * 64, made]) == ids(client, merchant)


def test_by_its_own_name_a_token_takes_its_own_secret_only(client: Client, merchant: str) -> None:
    made = {token_id: create(client, merchant, token_id) for token_id in ("a", "b")}
    name = f"{merchant}/tokens/a"
    assert ["VALID a", "INVALID"] == [verify(client, name, made[token_id]) for token_id in ("a", "b")]
    assert "NO_LIVE_KEY" == verify(client, f"{merchant}/tokens/c", made["a"])


def test_another_merchants_secret_is_invalid(client: Client, merchant: str, other_merchant: str) -> None:
    secret = create(client, merchant, "t")
    create(client, other_merchant, "t")
    assert ["VALID t", "INVALID"] == [verify(client, name, secret) for name in (merchant, other_merchant)]


def test_a_merchant_has_at_most_twenty_live_tokens(client: Client, merchant: str) -> None:
    made = [create(client, merchant, f"t-{i}") for i in range(MAX_LIVE)]
    told = refused(client, "CreateToken", parent=merchant)
    assert (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_TOKENS") == told_of(told)
    assert [f"VALID t-{i}" for i in range(MAX_LIVE)] == [verify(client, merchant, secret) for secret in made]
    ask(client, "RevokeToken", name=f"{merchant}/tokens/t-0")
    create(client, merchant)
    assert MAX_LIVE == len(ids(client, merchant))


def test_many_threads_together_make_at_most_twenty(client: Client, merchant: str) -> None:
    def attempt(_: int) -> str:
        try:
            return verify(client, merchant, create(client, merchant)).split()[0]
        except grpc.RpcError as error:
            return Refusal(error).reason

    with ThreadPoolExecutor(8) as threads:
        told = Counter(threads.map(attempt, range(MAX_LIVE + 5)))
    assert {"VALID": MAX_LIVE, "TOO_MANY_TOKENS": 5} == told


def test_a_token_id_is_taken_while_its_token_is_live_and_free_again_after(client: Client, merchant: str) -> None:
    old = create(client, merchant, "t")
    told = refused(client, "CreateToken", parent=merchant, token_id="t")
    assert (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") == told_of(told)
    ask(client, "RevokeToken", name=f"{merchant}/tokens/t")
    new = create(client, merchant, "t")
    assert ["INVALID", "VALID t"] == [verify(client, merchant, s) for s in (old, new)]


def test_a_token_stops_by_itself_at_its_expire_time(client: Client, merchant: str) -> None:
    secret = create(client, merchant, "t", expire_time=in_seconds(2))
    kept = create(client, merchant, "kept")
    assert "VALID t" == verify(client, merchant, secret)
    time.sleep(2.05)
    assert ["INVALID", "VALID kept"] == [verify(client, merchant, s) for s in (secret, kept)]
    assert "NO_LIVE_KEY" == verify(client, f"{merchant}/tokens/t", secret)
    assert ["kept"] == ids(client, merchant)
    assert NOT_FOUND == told_of(refused(client, "RevokeToken", name=f"{merchant}/tokens/t"))


def test_an_expire_time_is_in_the_future_and_within_ten_years(client: Client, merchant: str) -> None:
    no_times = [Timestamp(seconds=2**62), Timestamp(seconds=int(time.time()) + DAY, nanos=-1), Timestamp()]
    for expire_time in [in_seconds(-1), in_seconds(TEN_YEARS + 3 * DAY), *no_times]:
        told = refused(client, "CreateToken", parent=merchant, expire_time=expire_time)
        assert (INVALID_FIELD, ["expire_time"]) == (told_of(told), told.fields)
    assert [] == ids(client, merchant)
    create(client, merchant, expire_time=in_seconds(TEN_YEARS))


@pytest.mark.parametrize("method", ["CreateToken", "RevokeToken"])
def test_a_repeated_request_changes_nothing_and_shows_no_secret(client: Client, merchant: str, method: str) -> None:
    fields: dict[str, Any] = {"request_id": secrets.token_urlsafe(24)}
    if method == "CreateToken":
        fields["parent"] = merchant
    else:
        create(client, merchant, "t")
        fields["name"] = f"{merchant}/tokens/t"
    done = ask(client, method, **fields).token.name
    before = ids(client, merchant)
    told = refused(client, method, **fields)
    assert (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ALREADY_DONE") == told_of(told)
    assert done == told.info.metadata["resource"]
    assert before == ids(client, merchant)


def test_while_a_merchant_is_suspended_none_is_made_none_verifies_and_any_can_be_revoked(
    client: Client, merchant: str
) -> None:
    made = [create(client, merchant, token_id) for token_id in ("t", "u")]
    ask(client, "SuspendMerchant", name=merchant)
    told = refused(client, "CreateToken", parent=merchant)
    assert (grpc.StatusCode.FAILED_PRECONDITION, "MERCHANT_NOT_ACTIVE") == told_of(told)
    assert {"MERCHANT_NOT_ACTIVE"} == {verify(client, merchant, secret) for secret in (*made, WRONG)}
    assert ["t", "u"] == ids(client, merchant)
    ask(client, "RevokeToken", name=f"{merchant}/tokens/t")
    ask(client, "ActivateMerchant", name=merchant)
    assert ["INVALID", "VALID u"] == [verify(client, merchant, secret) for secret in made]


def test_terminating_a_merchant_erases_its_tokens(server: DevServer, client: Client, merchant: str) -> None:
    secret = create(client, merchant, "t")
    ask(client, "TerminateMerchant", name=merchant)
    assert "MERCHANT_NOT_ACTIVE" == verify(client, merchant, secret)
    assert [] == ids(client, merchant)
    assert NOT_FOUND == told_of(refused(client, "RevokeToken", name=f"{merchant}/tokens/t"))
    with closing(sqlite3.connect(server.database)) as connection:
        query = "SELECT count(*) FROM merchant_token_set WHERE merchant_id = ?"
        assert [(0,)] == connection.execute(query, (merchant.removeprefix("merchants/"),)).fetchall()


def test_an_unknown_merchant_or_token_is_not_found(
    client: Client, merchant: str, merchant_ids: Callable[[], str]
) -> None:
    unknown = f"merchants/{merchant_ids()}"
    calls = [
        refused(client, "CreateToken", parent=unknown),
        refused(client, "ListTokens", parent=unknown),
        refused(client, "RevokeToken", name=f"{unknown}/tokens/t"),
        refused(client, "RevokeToken", name=f"{merchant}/tokens/t"),
        refused(client, "VerifyToken", name=unknown, secret=WRONG),
        refused(client, "VerifyToken", name=f"{unknown}/tokens/t", secret=WRONG),
    ]
    assert {NOT_FOUND} == {told_of(told) for told in calls}


@pytest.mark.parametrize(
    ("method", "field", "fields"),
    [
        ("CreateToken", "parent", {"parent": ""}),
        ("CreateToken", "parent", {"parent": "{merchant}/tokens/t"}),
        ("CreateToken", "token_id", {"parent": "{merchant}", "token_id": "a/b"}),
        ("CreateToken", "token_id", {"parent": "{merchant}", "token_id": "a" * 65}),
        ("CreateToken", "request_id", {"parent": "{merchant}", "request_id": "a b"}),
        ("ListTokens", "parent", {"parent": "{merchant}/tokens"}),
        ("RevokeToken", "name", {"name": "{merchant}"}),
        ("RevokeToken", "name", {"name": "{merchant}/tokens/"}),
        ("RevokeToken", "name", {"name": "{merchant}/credentials/api-password"}),
        ("RevokeToken", "request_id", {"name": "{merchant}/tokens/t", "request_id": "é"}),
        ("VerifyToken", "name", {"name": "{merchant}/credentials/api-password", "secret": WRONG}),
        ("VerifyToken", "secret", {"name": "{merchant}"}),
        ("VerifyToken", "secret", {"name": "{merchant}", "secret": "s" * (MAX_SECRET + 1)}),
    ],
)
def test_a_malformed_field_is_named(
    client: Client, merchant: str, method: str, field: str, fields: dict[str, str]
) -> None:
    told = refused(client, method, **{name: text.replace("{merchant}", merchant) for name, text in fields.items()})
    assert (INVALID_FIELD, [field]) == (told_of(told), told.fields)


@pytest.mark.parametrize("secret", [" ", "\0", "\n", "é", "\U0001f511" * 100, "s" * MAX_SECRET, "s"])
def test_any_text_is_answered(client: Client, merchant: str, secret: str) -> None:
    assert "NO_LIVE_KEY" == verify(client, merchant, secret)
    create(client, merchant)
    assert "INVALID" == verify(client, merchant, secret)


@pytest.mark.parametrize(
    "change", [str.swapcase, lambda text: text[:-1], lambda text: text + "=", lambda text: " " + text]
)
def test_a_secret_that_is_nearly_right_is_invalid(client: Client, merchant: str, change: Callable[[str], str]) -> None:
    assert "INVALID" == verify(client, merchant, change(create(client, merchant)))


def test_tokens_that_were_altered_are_refused_and_got_rid_of_by_revoking_any(
    server: DevServer, client: Client, merchant: str, other_merchant: str
) -> None:
    made = [create(client, merchant, token_id) for token_id in ("t", "u")]
    other = create(client, other_merchant, "t")
    with closing(sqlite3.connect(server.database, timeout=10)) as connection, connection:
        connection.execute(
            "UPDATE merchant_token_set SET revision = revision + 1 WHERE merchant_id = ?",
            (merchant.removeprefix("merchants/"),),
        )
    data_loss = (grpc.StatusCode.DATA_LOSS, "INTEGRITY")
    for secret in (*made, WRONG):
        assert data_loss == told_of(refused(client, "VerifyToken", name=merchant, secret=secret))
    assert data_loss == told_of(refused(client, "CreateToken", parent=merchant))
    assert "VALID t" == verify(client, other_merchant, other)
    ended = ask(client, "RevokeToken", name=f"{merchant}/tokens/t").token
    assert (f"{merchant}/tokens/t", "") == (ended.name, ended.fingerprint)
    assert ["NO_LIVE_KEY"] * 2 == [verify(client, merchant, secret) for secret in made]
    create(client, merchant, "t")


def test_tokens_live_on_over_a_restart(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    with server.client() as client:
        merchant = client.active_merchant("m")
        kept, ended = create(client, merchant, "kept"), create(client, merchant, "ended")
        ask(client, "RevokeToken", name=f"{merchant}/tokens/ended")
    server.kill()
    server.start()
    with server.client() as client:
        assert ["VALID kept", "INVALID"] == [verify(client, merchant, s) for s in (kept, ended)]
    assert 0 == server.stop()


def test_wrong_secrets_of_a_merchant_are_limited_and_no_others_are(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home", KEYSVC_FAILED_VERIFICATIONS=str(FAILURES)).start()
    with server.client() as client:
        merchant, other = client.active_merchant("m"), client.active_merchant("n")
        secret, others = create(client, merchant, "t"), create(client, other, "t")
        for _ in range(FAILURES + 1):
            assert "VALID t" == verify(client, merchant, secret)
        assert ["INVALID"] * FAILURES == [verify(client, merchant, WRONG) for _ in range(FAILURES)]
        told = refused(client, "VerifyToken", name=merchant, secret=secret)
        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_FAILURES") == told_of(told)
        assert "VALID t" == verify(client, other, others)
    assert 0 == server.stop()
