"""After a run of everything: no secret stands in the data directory, in the log, in a view or in a refusal."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.methods import METHODS
from support.server import DevServer

from endurance.conftest import Sizes
from endurance.every_other_rpc import (
    a_token_key_is_asked_for,
    principals_come_and_go,
    the_record_is_read,
    tokens_come_and_go,
)
from endurance.every_rotation_rpc import batches_are_verified, keys_are_rotated, webhooks_are_signed_and_verified
from endurance.every_rpc import Caller, Lifecycles, Recipient, merchants_come_and_go
from endurance.logs import trouble_in
from endurance.vault import Vault, forms
from endurance.wrong_calls import (
    Refusals,
    forged_jwts,
    no_messages,
    secrets_in_wrong_fields,
    secrets_in_wrong_shapes,
    wrong_callers,
)

KEEPERS = {"admin-credentials", "pin"}
"""The two files that are there to hold a secret."""
DISPLAY_NAME = "Canary Coal & Sons, Wholesale"
SEED = 29
LAST_WRITTEN = "Canary Last Orders Ltd"


@pytest.mark.timeout(1800)
def test_no_secret_is_kept_or_told(tmp_path: Path, sizes: Sizes) -> None:
    vault, canary, rng = Vault(), Vault(), random.Random(SEED)
    canary.watch("display name", DISPLAY_NAME)
    canary.watch("last display name", LAST_WRITTEN)
    server = DevServer(tmp_path / "home").start()
    try:
        _watch_what_the_server_holds(vault, server)
        with server.client() as client:
            caller, refusals = Caller(client, vault, rng), Refusals(client, vault)
            for number in range(sizes.scan_rounds):
                _run_everything(caller, refusals, f"scanned-{number}")
            the_record_is_read(caller)
            merchants_come_and_go(caller, "last", LAST_WRITTEN)
        assert {method.name for method in METHODS.values()} == caller.called
        # The write-ahead log is there only while the server runs.
        assert [] == vault.found_under(_files(server))
        assert "last display name, as it is, in keysvc.db-wal" in canary.found_under(_files(server))
    finally:
        exit_code = server.stop()
    assert 0 == exit_code
    assert [] == vault.found_under(_files(server))
    assert "display name, as it is, in keysvc.db" in canary.found_under(_files(server))
    assert [] == vault.found_in(b"\n".join(refusals.said))
    assert [] == vault.found_in(b"\n".join(caller.shown))
    assert [] == refusals.wrong
    assert [] == trouble_in(server)


@pytest.mark.parametrize("form", forms(b"0123456789+/\xfe\xff"))
def test_the_search_finds_a_secret_in_each_form(tmp_path: Path, form: str) -> None:
    secret = b"0123456789+/\xfe\xff"
    vault = Vault()
    vault.watch("planted", secret)
    planted = tmp_path / "file"
    planted.write_bytes(b"before " + forms(secret)[form] + b" after")
    assert f"planted, {form}, in file" in vault.found_under([planted])
    planted.write_bytes(b"before " + forms(secret)[form][:-1] + b"? after")
    assert f"planted, {form}, in file" not in vault.found_under([planted])


def _run_everything(caller: Caller, refusals: Refusals, merchant_id: str) -> None:
    merchant = merchants_come_and_go(caller, merchant_id, DISPLAY_NAME)
    secrets_in_wrong_shapes(refusals, merchant)
    Lifecycles(caller, Recipient(), merchant).run()
    keys_are_rotated(caller, merchant)
    webhooks_are_signed_and_verified(caller, merchant)
    batches_are_verified(caller, merchant)
    tokens_come_and_go(caller, merchant)
    principals_come_and_go(caller, f"{merchant_id}-psp")
    a_token_key_is_asked_for(caller, f"{merchant_id}-admin")
    secrets_in_wrong_fields(refusals, merchant)
    wrong_callers(refusals, caller.vault, merchant)
    no_messages(refusals)
    forged_jwts(refusals)


def _watch_what_the_server_holds(vault: Vault, server: DevServer) -> None:
    credentials = (server.home / "admin-credentials").read_text()
    password = credentials.partition(":")[2]
    vault.watch("the administrator's password", password, bytes.fromhex(password))
    vault.watch("the authorization header", base64.b64encode(credentials.encode()))
    pin = (server.home / "pin").read_text()
    vault.watch("the PIN", pin, bytes.fromhex(pin))


def _files(server: DevServer) -> Iterator[Path]:
    """Every file under the data directory, and the log."""
    yield from sorted(path for path in server.home.rglob("*") if path.is_file() and path.name not in KEEPERS)
    yield server.log
