"""The token's directory is moved away under a running server, and back: it tells so, and goes on by itself."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
from support import healthcheck
from support.asking import SLOTS, ask, refused, slot_of, verify_key, verify_mac
from support.healthcheck import NOT_SERVING, SERVING
from support.outside import key_of, mac_of
from support.server import Client, DevServer


def assert_views_answer(client: Client, merchant: str) -> None:
    assert len(SLOTS) == len(ask(client, "ListCredentials", parent=merchant).credentials)
    assert 1 == ask(client, "GetCredential", name=slot_of(merchant, "primary-hmac-key")).version
    assert merchant == ask(client, "GetMerchant", name=merchant).name
    assert merchant in {each.name for each in ask(client, "ListMerchants").merchants}
    assert "PUBLIC KEY" in ask(client, "GetImportKey").public_key


def assert_refused_quickly(client: Client, merchant: str) -> None:
    """A caller is not left to wait for what cannot come."""
    began = time.monotonic()
    for _ in range(20):
        told = refused(client, "GenerateHmac", name=merchant)
        assert (grpc.StatusCode.UNAVAILABLE, "HSM_UNAVAILABLE") == (told.code, told.reason)
    assert time.monotonic() - began < 2


def test_the_service_tells_that_its_token_is_gone_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    tokens, away = server.home / "tokens", server.home / "tokens.away"
    with server.client() as client:
        merchant = client.active_merchant("m")
        name = slot_of(merchant, "primary-hmac-key")
        mac = mac_of(key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX"), b"m")
        password = ask(client, "CreateCredential", name=slot_of(merchant, "api-password")).secret.value
        watches = [healthcheck.watch(client.channel, service) for service in ("", "keysvc.v1.CredentialService")]
        assert [SERVING] * 2 == [next(watch).status for watch in watches]
        for _ in range(2):
            tokens.rename(away)
            assert [NOT_SERVING] * 2 == [next(watch).status for watch in watches]
            assert NOT_SERVING == healthcheck.check(client.channel)
            assert_refused_quickly(client, merchant)
            assert_views_answer(client, merchant)
            away.rename(tokens)
            assert [SERVING] * 2 == [next(watch).status for watch in watches]
            assert "VALID" == verify_mac(client, merchant, b"m", mac)
            assert "VALID" == verify_key(client, slot_of(merchant, "api-password"), password)
        renewed = mac_of(key_of(ask(client, "RenewCredential", name=name).secret.value, "HEX"), b"m")
        assert ["INVALID", "VALID"] == [verify_mac(client, merchant, b"m", each) for each in (mac, renewed)]
        for watch in watches:
            watch.cancel()
    assert 0 == server.stop()
