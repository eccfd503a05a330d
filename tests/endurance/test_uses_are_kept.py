"""kill -9 two seconds after calls, and SIGTERM right after them: who used which key, how often and when is known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from support.asking import ask, refused, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.principals import create
from support.server import Client, DevServer

from endurance.logs import trouble_in

LATEST = 2.1
"""Seconds after which every use is written down."""
MESSAGE = b"order 1"
HMAC, API_KEY = "primary-hmac-key", "primary-rest-api-key"
CALLS = 7


def test_uses_are_known_after_a_kill_and_after_a_drain(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    try:
        with server.client() as client:
            merchant = client.active_merchant("used")
            password = create(client, "user", "SERVICE", merchants=[merchant], can_sign=True)
            key = key_of(ask(client, "CreateCredential", name=slot_of(merchant, HMAC)).secret.value, "HEX")
            api_key = ask(client, "CreateCredential", name=slot_of(merchant, API_KEY)).secret.value
            ask(client, "RenewCredential", name=slot_of(merchant, API_KEY), previous_ttl={"seconds": 3600})
            with server.client(f"user:{password}") as user:
                for caller in (user, client):
                    _use(caller, merchant, mac_of(key, MESSAGE), api_key)
            before = _known(client, merchant)
            time.sleep(LATEST)
        server.kill()
        server.start()
        with server.client() as client:
            assert before == _known(client, merchant)
            assert [2 * CALLS, 0, 2] == [each.calls.total for each in _keys(client, merchant)]
            _refuses_to_revoke(client, merchant)
            _use(client, merchant, mac_of(key, MESSAGE), api_key)
            before = _known(client, merchant)
        assert 0 == server.stop()
        server.start()
        with server.client() as client:
            assert before == _known(client, merchant)
            assert [3 * CALLS, 0, 3] == [each.calls.total for each in _keys(client, merchant)]
        assert 0 == server.stop()
    finally:
        server.kill()
    assert [] == trouble_in(server)


def _use(client: Client, merchant: str, mac: bytes, api_key: str) -> None:
    """CALLS uses of the HMAC key in every way there is, and one of the API key that retires."""
    assert ["VALID"] * 2 == [verify_mac(client, merchant, MESSAGE, mac) for _ in range(2)]
    ask(client, "GenerateHmac", name=merchant, message=MESSAGE)
    signed = ask(client, "SignWebhook", name=merchant, scheme="GITHUB", body=MESSAGE)
    webhook = {"name": merchant, "scheme": "GITHUB", "headers": signed.headers}
    assert [1, 2] == [ask(client, "VerifyWebhook", body=body, **webhook).result for body in (MESSAGE, b"another")]
    item = {"name": merchant, "message": MESSAGE, "mac": mac}
    ask(client, "BatchVerifyHmac", requests=[item, item, {**item, "mac": b"wrong"}])
    assert "VALID" == verify_key(client, merchant, api_key)


def _keys(client: Client, merchant: str) -> list[Any]:
    kinds = ("HMAC_KEY", "BEARER_SECRET")
    return [key for kind in kinds for key in ask(client, "GetRotation", name=merchant, kind=kind).keys]


def _known(client: Client, merchant: str) -> list[Any]:
    """All that is shown of uses."""
    credentials = ask(client, "ListCredentials", parent=merchant).credentials
    last_uses = [(each.name, each.last_used_time, list(each.retiring)) for each in credentials]
    return [*last_uses, *_keys(client, merchant)]


def _refuses_to_revoke(client: Client, merchant: str) -> None:
    for slot in (HMAC, API_KEY):
        told = refused(client, "RevokeCredential", name=slot_of(merchant, slot), unused_for={"seconds": 3600})
        assert ("STILL_IN_USE", "principals/admin,principals/user") == (told.reason, told.info.metadata["callers"])
