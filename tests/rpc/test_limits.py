"""Limits: failures count against who fails and nobody else, what is too much is turned away at once, and what comes
too late is not begun or undone."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from support.asking import ask, refused, slot_of, verify_key, verify_mac
from support.asking import request as message
from support.jwts import call, public_pem, signed
from support.outside import key_of, mac_of
from support.principals import create, events_since, head_of, update
from support.server import Client, DevServer, Refusal
from support.waiting import until

Code = grpc.StatusCode
FAILURES = 5
WRONG = "0123456789ABCDEF0123456789ABCDEF"
HMAC = "primary-hmac-key"
RENEW = "/keysvc.v1.CredentialService/RenewCredential"
WAITING = 40
CALLS = 200
LEAST_MS = 20
"""What a call must have left to be begun."""


@contextmanager
def serving(tmp_path_factory: pytest.TempPathFactory, **environment: str) -> Iterator[DevServer]:
    server = DevServer(tmp_path_factory.mktemp("limits") / "home", **environment).start()
    try:
        yield server
        assert 0 == server.stop()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server that takes five failures a minute."""
    settings = {"KEYSVC_FAILED_AUTHENTICATIONS": str(FAILURES), "KEYSVC_FAILED_VERIFICATIONS": str(FAILURES)}
    with serving(tmp_path_factory, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def admin(strict: DevServer) -> Iterator[Client]:
    with strict.client() as made:
        yield made


def reason_of(server: DevServer, credentials: str) -> str:
    """Why a call with these credentials is refused, over a connection of its own; empty where it is answered."""
    with server.client(credentials) as client:
        try:
            ask(client, "GetImportKey")
        except grpc.RpcError as error:
            return Refusal(error).reason
    return ""


def fail(server: DevServer, principal_id: str, times: int = FAILURES) -> None:
    assert ["UNAUTHENTICATED"] * times == [reason_of(server, f"{principal_id}:{WRONG}") for _ in range(times)]


def test_after_too_many_wrong_passwords_only_the_right_one_is_let_in(strict: DevServer, admin: Client) -> None:
    """It cannot be guessed, and whoever has it may come from where a guesser does: from behind one front end."""
    password = create(admin, "guessed", "PSP")
    fail(strict, "guessed")
    outcomes = [reason_of(strict, f"guessed:{each}") for each in (WRONG, password, WRONG)]
    assert ["TOO_MANY_FAILURES", "", "TOO_MANY_FAILURES"] == outcomes


def test_the_refusal_says_when_to_try_again_and_not_what_was_wrong(strict: DevServer) -> None:
    fail(strict, "nobody")
    with strict.client(f"nobody:{WRONG}") as client:
        told = refused(client, "GetImportKey")
    assert (Code.RESOURCE_EXHAUSTED, "TOO_MANY_FAILURES") == (told.code, told.reason)
    assert told.retry.retry_delay.seconds > 0
    assert "nobody" not in told.message
    assert {} == dict(told.info.metadata)


def test_a_principal_that_is_not_there_is_limited_as_one_that_is(strict: DevServer, admin: Client) -> None:
    """So that the limit does not tell who exists."""
    create(admin, "there", "PSP")
    outcomes = [
        [reason_of(strict, f"{principal_id}:{WRONG}") for _ in range(FAILURES + 3)]
        for principal_id in ("there", "not-there")
    ]
    assert outcomes[0] == outcomes[1]


def test_failures_of_one_claimed_principal_lock_no_other_out(strict: DevServer, admin: Client) -> None:
    """From the same address, and with proofs that were not seen before."""
    passwords = {principal_id: create(admin, principal_id, "PSP") for principal_id in ("attacked", "beside")}
    fail(strict, "attacked")
    assert "" == reason_of(strict, f"beside:{passwords['beside']}")
    assert "" == reason_of(strict, f"attacked:{passwords['attacked']}")
    assert "TOO_MANY_FAILURES" == reason_of(strict, f"attacked:{WRONG}")
    ask(admin, "ListMerchants", page_size=1)


def test_a_principal_at_work_is_not_locked_out_by_those_who_guess(strict: DevServer, admin: Client) -> None:
    password = create(admin, "at-work", "PSP")
    assert "" == reason_of(strict, f"at-work:{password}")
    fail(strict, "at-work")
    assert "TOO_MANY_FAILURES" == reason_of(strict, f"at-work:{WRONG}")
    assert [""] * 3 == [reason_of(strict, f"at-work:{password}") for _ in range(3)]


def test_right_passwords_do_not_count(strict: DevServer, admin: Client) -> None:
    password = create(admin, "busy", "PSP")
    assert [""] * 4 * FAILURES == [reason_of(strict, f"busy:{password}") for _ in range(4 * FAILURES)]
    fail(strict, "busy", FAILURES - 1)
    assert "" == reason_of(strict, f"busy:{password}")


def test_a_principal_at_work_is_not_locked_out_when_another_changes(strict: DevServer, admin: Client) -> None:
    password = create(admin, "steady", "PSP")
    assert "" == reason_of(strict, f"steady:{password}")
    fail(strict, "steady")
    create(admin, "another", "PSP")
    update(admin, "another", can_edit_credentials=True)
    assert "" == reason_of(strict, f"steady:{password}")


def test_a_right_jwt_is_let_in_whatever_strangers_send_in_its_principals_name(admin: Client) -> None:
    """A signature cannot be guessed, so nothing is gained by refusing the next."""
    key, stranger = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    create(admin, "unguessable", "PSP", jwt_public_keys=[public_pem(key)])
    for _ in range(2 * FAILURES):
        assert call(admin, signed(stranger, "unguessable")) is not None
    assert call(admin, signed(key, "unguessable")) is None


def test_wrong_jwts_count_too(admin: Client) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    create(admin, "signer", "PSP", jwt_public_keys=[public_pem(key)])
    assert [None] * 4 * FAILURES == [call(admin, signed(key, "signer")) for _ in range(4 * FAILURES)]
    stranger = ed25519.Ed25519PrivateKey.generate()
    told = [call(admin, signed(stranger, "signer")) for _ in range(FAILURES + 1)]
    reasons = [each.reason for each in told if each is not None]
    assert ["UNAUTHENTICATED"] * FAILURES + ["TOO_MANY_FAILURES"] == reasons


@pytest.fixture
def node(request: pytest.FixtureRequest) -> str:
    """The test's own id for what it makes."""
    return str(request.node.name)[-40:]


@pytest.fixture
def services(strict: DevServer, admin: Client, node: str) -> Iterator[list[Client]]:
    """Two callers that verify for all merchants."""
    ids = [f"service-{number}-{node}" for number in (1, 2)]
    clients = [
        strict.client(f"{each}:{create(admin, each, 'SERVICE', merchants=['merchants/-'], can_sign=True)}")
        for each in ids
    ]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def merchants(admin: Client, node: str) -> list[str]:
    """Two, each with an HMAC key."""
    names = [admin.active_merchant(f"m-{number}-{node}") for number in (1, 2)]
    for name in names:
        ask(admin, "CreateCredential", name=slot_of(name, HMAC))
    return names


def limited(client: Client, merchant: str) -> bool:
    try:
        verify_mac(client, merchant, b"m", b"wrong")
    except grpc.RpcError as error:
        told = Refusal(error)
        assert (Code.RESOURCE_EXHAUSTED, "TOO_MANY_FAILURES") == (told.code, told.reason)
        assert told.retry.retry_delay.seconds > 0
        return True
    return False


def test_wrong_signatures_are_limited_by_caller_and_merchant(services: list[Client], merchants: list[str]) -> None:
    first, second = services
    assert [False] * FAILURES + [True] * 2 == [limited(first, merchants[0]) for _ in range(FAILURES + 2)]
    assert [False, False, False] == [
        limited(first, merchants[1]), limited(second, merchants[0]), limited(second, merchants[1])
    ]  # fmt: skip
    assert limited(first, merchants[0])


def test_right_signatures_do_not_count_and_are_answered_until_the_limit(
    services: list[Client], merchants: list[str]
) -> None:
    caller, merchant = services[0], merchants[0]
    mac = ask(caller, "GenerateHmac", name=merchant, message=b"m").mac
    for _ in range(FAILURES - 1):
        assert not limited(caller, merchant)
        assert ["VALID"] * FAILURES == [verify_mac(caller, merchant, b"m", mac) for _ in range(FAILURES)]
    assert [False, True] == [limited(caller, merchant) for _ in range(2)]
    told = refused(caller, "VerifyHmac", name=merchant, message=b"m", mac=mac)
    assert "TOO_MANY_FAILURES" == told.reason
    assert mac == ask(caller, "GenerateHmac", name=merchant, message=b"m").mac


def test_what_no_key_could_match_does_not_count(admin: Client, services: list[Client], node: str) -> None:
    """A merchant without a key, or that is not active, is nobody's guess."""
    merchant = admin.active_merchant(f"m-{node}")
    keyless = [verify_mac(services[0], merchant, b"m", b"x") for _ in range(2 * FAILURES)]
    assert ["NO_LIVE_KEY"] * 2 * FAILURES == keyless
    ask(admin, "CreateCredential", name=slot_of(merchant, HMAC))
    ask(admin, "SuspendMerchant", name=merchant)
    inactive = [verify_mac(services[0], merchant, b"m", b"x") for _ in range(2 * FAILURES)]
    assert ["MERCHANT_NOT_ACTIVE"] * 2 * FAILURES == inactive
    ask(admin, "ActivateMerchant", name=merchant)
    assert not limited(services[0], merchant)


def test_wrong_macs_keys_and_tokens_count_together(admin: Client, services: list[Client], merchants: list[str]) -> None:
    caller, merchant = services[0], merchants[0]
    ask(admin, "CreateCredential", name=slot_of(merchant, "primary-rest-api-key"))
    secret = ask(admin, "CreateToken", parent=merchant).secret
    for _ in range(2):
        assert "INVALID" == verify_key(caller, merchant, "wrong")
        assert 2 == ask(caller, "VerifyToken", name=merchant, secret="wrong").result
    assert [False, True] == [limited(caller, merchant) for _ in range(2)]
    assert "TOO_MANY_FAILURES" == refused(caller, "VerifyApiKey", name=merchant, api_key="wrong").reason
    assert "TOO_MANY_FAILURES" == refused(caller, "VerifyToken", name=merchant, secret=secret).reason


def test_wrong_webhooks_count_and_malformed_ones_do_not(services: list[Client], merchants: list[str]) -> None:
    """Nothing can be guessed by what is not of the scheme's form."""
    asked = {"name": merchants[0], "scheme": "GITHUB"}
    for text, result in ((f"sha256={bytes(32).hex()}", 2), ("no signature", 6)):
        headers = {"x-hub-signature-256": text}
        told = [ask(services[0], "VerifyWebhook", headers=headers, **asked).result for _ in range(FAILURES - 1)]
        assert [result] * (FAILURES - 1) == told
    assert [False, True] == [limited(services[0], merchants[0]) for _ in range(2)]
    assert "TOO_MANY_FAILURES" == refused(services[0], "VerifyWebhook", **asked).reason


def test_the_wrong_ones_of_a_batch_count_one_by_one(admin: Client, services: list[Client], node: str) -> None:
    """And once there are too many, each request of that merchant is refused, in a batch as alone, and no other is."""
    caller = services[0]
    ours, others = (admin.active_merchant(f"batch-{which}-{node}") for which in ("one", "two"))
    for merchant in (ours, others):
        ask(admin, "CreateCredential", name=slot_of(merchant, HMAC))
    items = [{"name": ours, "mac": b"x"}] * (FAILURES - 1) + [{"name": others, "mac": b"x"}]
    assert [2] * FAILURES == [each.response.result for each in ask(caller, "BatchVerifyHmac", requests=items).results]
    assert not limited(caller, ours)
    told = ask(caller, "BatchVerifyHmac", requests=items).results
    assert [Code.RESOURCE_EXHAUSTED.value[0]] * (FAILURES - 1) + [0] == [each.error.code for each in told]
    assert 2 == told[-1].response.result
    assert limited(caller, ours)


def test_names_that_are_none_do_not_count(services: list[Client], merchants: list[str]) -> None:
    for _ in range(2 * FAILURES):
        assert "INVALID_FIELD" == refused(services[0], "VerifyHmac", name=merchants[0], message=b"m").reason
        assert "NOT_FOUND" == refused(services[0], "VerifyHmac", name="merchants/nobody", mac=b"x").reason
    assert not limited(services[0], merchants[0])


@dataclass(frozen=True)
class Ended:
    """How a call ended, and how long after the first was sent."""

    told: Refusal | None
    """None where it was answered."""
    seconds: float


def all_at_once(client: Client, path: str, raw: bytes, count: int) -> list[Ended]:
    method: Any = client.channel.unary_unary(path)
    begun = time.monotonic()
    times: dict[int, float] = {}
    futures = [method.future(raw, metadata=client.metadata, timeout=60) for _ in range(count)]
    for future in futures:
        future.add_done_callback(lambda done: times.__setitem__(id(done), time.monotonic()))
    refusals = [Refusal(error) if (error := future.exception()) else None for future in futures]
    until(lambda: len(times) == count)
    return [Ended(told, times[id(future)] - begun) for future, told in zip(futures, refusals, strict=True)]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server that does one thing after another."""
    with serving(tmp_path_factory, KEYSVC_THREADS="1", KEYSVC_MAX_WAITING=str(WAITING)) as server:
        yield server


def test_of_too_many_calls_at_once_some_are_turned_away_at_once_and_the_rest_done(narrow: DevServer) -> None:
    with narrow.client() as client:
        name = slot_of(client.active_merchant("m"), HMAC)
        ask(client, "CreateCredential", name=name)
        before = head_of(client)
        ended = all_at_once(client, RENEW, message("RenewCredential", name=name).SerializeToString(), CALLS)
        done = [each for each in ended if each.told is None]
        refusals = [each.told for each in ended if each.told is not None]
        assert {(Code.RESOURCE_EXHAUSTED, "OVERLOADED")} == {(told.code, told.reason) for told in refusals}
        assert [] == [told for told in refusals if told.retry is None or told.retry.retry_delay.seconds <= 0]
        assert len(done) >= WAITING
        seconds = sorted(each.seconds for each in ended if each.told is not None)
        queue_done = max(each.seconds for each in done)
        assert seconds[0] < queue_done / 2
        assert seconds[len(seconds) // 2] < queue_done
        # What was turned away was not done, and a flood of calls does not fill the record.
        assert 1 + len(done) == ask(client, "GetCredential", name=name).version
        assert before + len(done) == head_of(client)


@pytest.mark.parametrize("credentials", [None, f"nobody:{WRONG}"], ids=["the administrator", "a stranger"])
def test_calls_are_taken_again_when_the_queue_is_done(narrow: DevServer, credentials: str | None) -> None:
    """A stranger is told no more than before, whatever the load."""
    expected = "" if credentials is None else "UNAUTHENTICATED"
    with narrow.client(credentials) as client, narrow.client() as admin:
        raw = message("ListPrincipals").SerializeToString()
        for _ in range(2):
            ended = all_at_once(client, "/keysvc.v1.PrincipalService/ListPrincipals", raw, 2 * CALLS)
            assert {expected, "OVERLOADED"} == {each.told.reason if each.told else "" for each in ended}
            ask(admin, "ListPrincipals")


def renewed(client: Client, name: str, seconds: float) -> bool:
    """Whether the caller was told so in time."""
    call_it: Any = client.channel.unary_unary(RENEW)
    raw = message("RenewCredential", name=name).SerializeToString()
    try:
        call_it(raw, metadata=client.metadata, timeout=seconds)
    except grpc.RpcError as error:
        if error.code() is not Code.DEADLINE_EXCEEDED:
            raise
        return False
    return True


def outcomes(client: Client, since: int) -> Counter[tuple[str, str]]:
    """(outcome, reason) of each renewal, by the audit record after an event."""
    return Counter(
        (event.Outcome.Name(event.outcome), event.reason)
        for event in events_since(client, since)
        if event.method == RENEW
    )


def test_a_call_with_too_little_time_left_is_not_begun(admin: Client) -> None:
    """The caller's own gRPC may give up first; that the service took the call in and refused it, the record tells."""
    client, merchant = admin, admin.active_merchant("in-haste")
    name = slot_of(merchant, HMAC)
    key = key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX")
    since = head_of(client)
    assert [False] * 40 == [renewed(client, name, (LEAST_MS - 1) / 1000) for _ in range(40)]
    until(lambda: sum(outcomes(client, since).values()) > 0)
    assert {("REFUSED", "DEADLINE_EXCEEDED")} == set(outcomes(client, since))
    assert 1 == ask(client, "GetCredential", name=name).version
    assert "VALID" == verify_mac(client, name, b"m", mac_of(key, b"m"))


def test_what_was_done_is_what_the_record_says_however_little_time_there_was(client: Client, merchant: str) -> None:
    """And each renewal that a caller heard of was done. One that it did not hear of was done, or not, as a whole."""
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    since = head_of(client)
    heard = sum(renewed(client, name, milliseconds / 1000) for milliseconds in [*range(10, 50)] * 3)
    assert renewed(client, name, 20)  # behind all that were begun before: changes happen one after another
    version = ask(client, "GetCredential", name=name).version
    done = outcomes(client, since)["OK", ""]
    assert version == 1 + done
    assert heard + 1 <= done
    assert 0 < heard


@contextmanager
def held_up(server: DevServer) -> Iterator[None]:
    """All changes wait, as behind a long one."""
    with closing(sqlite3.connect(server.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


@pytest.mark.parametrize("how", ["its deadline passed", "it hung up"])
def test_a_change_whose_caller_gave_up_before_it_was_done_is_undone(
    server: DevServer, client: Client, merchant: str, how: str
) -> None:
    name = slot_of(merchant, HMAC)
    key = key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX")
    since = head_of(client)
    raw = message("RenewCredential", name=name).SerializeToString()
    call_it: Any = client.channel.unary_unary(RENEW)
    with held_up(server):
        future = call_it.future(raw, metadata=client.metadata, timeout=0.3 if how == "its deadline passed" else 20)
        time.sleep(0.2)
        if how == "it hung up":
            future.cancel()
        until(future.done)
        time.sleep(0.2)
    until(lambda: sum(outcomes(client, since).values()) == 1)
    assert {("REFUSED", "DEADLINE_EXCEEDED"): 1} == outcomes(client, since)
    assert 1 == ask(client, "GetCredential", name=name).version
    assert "VALID" == verify_mac(client, name, b"m", mac_of(key, b"m"))


def test_a_change_that_was_held_up_is_done_for_a_caller_that_waits(
    server: DevServer, client: Client, merchant: str
) -> None:
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    since = head_of(client)
    raw = message("RenewCredential", name=name).SerializeToString()
    call_it: Any = client.channel.unary_unary(RENEW)
    with held_up(server):
        future = call_it.future(raw, metadata=client.metadata, timeout=20)
        time.sleep(0.5)
        assert not future.done()
    future.result()
    assert 2 == ask(client, "GetCredential", name=name).version
    assert {("OK", ""): 1} == outcomes(client, since)
