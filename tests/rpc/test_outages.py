"""The token, the database or a free thread out of reach: UNAVAILABLE or RESOURCE_EXHAUSTED with RetryInfo, no guess."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from support.asking import ask, refused, request, slot_of, verify_mac
from support.outages import StoppablePostgres, stoppable_postgres
from support.outside import key_of, mac_of
from support.server import Client, DevServer, Refusal, refusal
from support.waiting import code_of, until

MESSAGE = b"order 1"
OK = grpc.StatusCode.OK


def filled(client: Client, merchant_id: str) -> tuple[str, bytes]:
    """An active merchant with a key, and a MAC that is right."""
    merchant = client.active_merchant(merchant_id)
    secret = ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key")).secret.value
    mac = mac_of(key_of(secret, "HEX"), MESSAGE)
    assert "VALID" == verify_mac(client, merchant, MESSAGE, mac)
    return merchant, mac


def assert_unavailable(told: Refusal, reason: str) -> None:
    assert (grpc.StatusCode.UNAVAILABLE, reason, "keysvc") == (told.code, told.reason, told.info.domain)
    assert told.retry.retry_delay.seconds > 0


def test_with_the_token_out_of_reach_uses_and_changes_are_unavailable(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    tokens, away = server.home / "tokens", server.home / "tokens.away"
    with server.client() as client:
        merchant, mac = filled(client, "m")
        verify = request("VerifyHmac", name=merchant, message=MESSAGE, mac=mac)
        tokens.rename(away)
        until(lambda: code_of(lambda: client.call("VerifyHmac", verify)) is not OK)
        webhook = {"scheme": "GITHUB", "headers": {"x-hub-signature-256": f"sha256={mac.hex()}"}}
        empty, full = slot_of(merchant, "api-password"), slot_of(merchant, "primary-hmac-key")
        for method, fields in (
            ("VerifyHmac", {"name": merchant, "mac": mac}),
            ("GenerateHmac", {"name": merchant}),
            ("SignWebhook", {"name": merchant, "scheme": "GITHUB"}),
            ("VerifyWebhook", {"name": merchant, **webhook}),
            ("SwapCredentials", {"name": merchant, "kind": "HMAC_KEY"}),
            ("ScheduleRotation", {"name": full}),
            ("CreateCredential", {"name": empty}),
            ("RenewCredential", {"name": full}),
            ("ImportCredential", {"name": empty, "secret": "0A" * 16}),
            ("SuspendMerchant", {"name": merchant}),
        ):
            assert_unavailable(refused(client, method, **fields), "HSM_UNAVAILABLE")
        [told] = ask(client, "BatchVerifyHmac", requests=[{"name": merchant, "mac": mac}]).results
        assert grpc.StatusCode.UNAVAILABLE.value[0] == told.error.code
        assert 1 == ask(client, "GetCredential", name=full).version
        assert 0 < ask(client, "GetRotation", name=merchant, kind="HMAC_KEY").keys[0].calls.total
        assert 1 == ask(client, "SummarizeCredentials", parent="merchants/-").merchants
        away.rename(tokens)
        until(lambda: code_of(lambda: client.call("VerifyHmac", verify)) is OK)
        assert "VALID" == verify_mac(client, merchant, MESSAGE, mac)
        assert ("EMPTY", 1) == _state_of(client, empty, full)
    assert 0 == server.stop()


def _state_of(client: Client, empty: str, full: str) -> tuple[str, int]:
    """What the refused changes left: nothing of them."""
    viewed = ask(client, "GetCredential", name=empty)
    return viewed.State.Name(viewed.state), ask(client, "GetCredential", name=full).version


@pytest.fixture(scope="module")
def database() -> Iterator[StoppablePostgres]:
    with stoppable_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def on_postgres(database: StoppablePostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    home = tmp_path_factory.mktemp("on-postgres") / "home"
    running = DevServer(home, KEYSVC_DATABASE_URL=database.new_database()).start()
    yield running
    assert 0 == running.stop()


def test_with_the_database_out_of_reach_every_rpc_is_unavailable(
    on_postgres: DevServer, database: StoppablePostgres
) -> None:
    with on_postgres.client() as client:
        merchant, mac = filled(client, "m")
        name = slot_of(merchant, "primary-hmac-key")
        verify = request("VerifyHmac", name=merchant, message=MESSAGE, mac=mac)
        database.stop()
        try:
            for method, fields in (
                ("VerifyHmac", {"name": merchant, "mac": mac, "message": MESSAGE}),
                ("BatchVerifyHmac", {"requests": [{"name": merchant, "mac": mac, "message": MESSAGE}]}),
                ("VerifyWebhook", {"name": merchant, "scheme": "GITHUB"}),
                ("GetCredential", {"name": name}),
                ("GetRotation", {"name": merchant, "kind": "HMAC_KEY"}),
                ("SummarizeCredentials", {"parent": "merchants/-"}),
                ("SwapCredentials", {"name": merchant, "kind": "HMAC_KEY"}),
                ("RenewCredential", {"name": name}),
                ("RevokeCredential", {"name": name}),
                ("ListMerchants", {}),
            ):
                assert_unavailable(refused(client, method, **fields), "STORE_UNAVAILABLE")
        finally:
            database.start()
        until(lambda: code_of(lambda: client.call("VerifyHmac", verify)) is OK)
        assert "VALID" == verify_mac(client, merchant, MESSAGE, mac)
        assert 1 == ask(client, "GetCredential", name=name).version


def test_a_text_that_postgresql_cannot_hold_gets_a_plain_answer(on_postgres: DevServer) -> None:
    """PostgreSQL refuses NUL in texts, where SQLite takes it."""
    with on_postgres.client("ad\0min:password") as client:
        told = refusal(lambda: ask(client, "ListMerchants"))
        assert (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED") == (told.code, told.reason)
    with on_postgres.client() as client:
        for display_name in ("a\0b", "\0"):
            told = refused(client, "CreateMerchant", merchant_id="nul", merchant={"display_name": display_name})
            assert ("INVALID_FIELD", ["merchant.display_name"]) == (told.reason, told.fields)


def test_more_calls_than_are_taken_on_are_turned_away_and_the_others_answered(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home", KEYSVC_THREADS="1", KEYSVC_MAX_WAITING="1").start()
    with server.client() as client:
        merchant, mac = filled(client, "m")
        slow = request("GenerateHmac", name=merchant, message=bytes(4 * 1024 * 1024))
        told: list[Refusal] = []

        def call(_: int) -> str:
            try:
                client.call("GenerateHmac", slow)
            except grpc.RpcError as error:
                told.append(Refusal(error))
                return told[-1].reason
            return "OK"

        with ThreadPoolExecutor(16) as threads:
            outcomes = list(threads.map(call, range(32)))
        assert {"OK", "OVERLOADED"} == set(outcomes)
        assert {grpc.StatusCode.RESOURCE_EXHAUSTED} == {each.code for each in told}
        assert all(each.retry.retry_delay.seconds > 0 for each in told)
        assert "VALID" == verify_mac(client, merchant, MESSAGE, mac)
    assert 0 == server.stop()
