"""What docker shows of the stack holds no secret: neither its logs nor its settings."""

from __future__ import annotations

import base64
import json

from endurance.vault import Vault
from support.asking import ask, slot_of

from containers.stack import REPLICAS, SERVICES, Stack


def test_no_secret_stands_in_a_log_or_a_setting(stack: Stack) -> None:
    vault = Vault()
    for path in ("pin", "admin-credentials", "pgpass"):
        secret = stack.file(path).decode().strip().rpartition(":")[2]
        vault.watch(path, secret)
    credentials = stack.file("admin-credentials")
    vault.watch("the authorization header", base64.b64encode(credentials))
    with stack.client(REPLICAS[0]) as client:
        merchant = client.active_merchant("watched")
        key = ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key")).secret.value
        vault.watch("a key", key, bytes.fromhex(key))
        made = ask(client, "CreateCredential", name=slot_of(merchant, "api-password")).secret
        vault.watch("a bearer secret", made.value)
        ask(client, "VerifyApiKey", name=slot_of(merchant, "api-password"), api_key=made.value)
    logs = {name: stack.logs(name) for name in SERVICES}
    assert b"VerifyApiKey" in logs[REPLICAS[0]]
    assert {name: [] for name in SERVICES} == {name: vault.found_in(text) for name, text in logs.items()}
    settings = {name: json.dumps(stack.inspect(name)).encode() for name in SERVICES}
    assert {name: [] for name in SERVICES} == {name: vault.found_in(text) for name, text in settings.items()}
