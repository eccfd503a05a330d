"""Nothing that the client hands out shows a secret when it is printed, or ends up in a traceback."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.asking import slot_of

from client.either import Open
from client.scripted import VERIFY, Scripted
from keysvc.client import Basic, Batching, CallFailed, ReceivedWebhook, Tls
from keysvc.client.calls import verify_api_key
from keysvc.client.received import received

SECRET = "correct horse battery staple"


def shown(*things: object) -> str:
    return "".join(f"{thing!r}{thing}" for thing in things)


def test_a_password_is_not_shown(tmp_path: Path, opened: Open, script: Scripted) -> None:
    path = tmp_path / "credentials"
    path.write_text(f"admin:{SECRET}\n")
    proof = Basic.from_file(path)
    assert Basic.of("admin", SECRET) == proof
    with opened(script.address, proof, batching=Batching()) as client:
        told = shown(proof, client, vars(client))
    assert "Basic(name='admin')" in told
    assert SECRET not in told
    assert proof().removeprefix("Basic ") not in told


@pytest.mark.parametrize("text", ["admin", ":password", "admin:", ""])
def test_a_file_of_another_form_is_told_without_what_it_holds(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials"
    path.write_text(text)
    with pytest.raises(ValueError, match="does not hold NAME:PASSWORD") as refused:
        Basic.from_file(path)
    assert f"{path} does not hold NAME:PASSWORD" == str(refused.value)


def test_a_new_secret_is_not_shown(keysvc: Any, merchant: str) -> None:
    made = keysvc.create_credential(slot_of(merchant, "api-password"))
    assert 32 == len(made.value)
    assert made.value not in shown(made)


def test_a_request_is_not_shown() -> None:
    webhook = ReceivedWebhook({"X-Signature": SECRET}, SECRET.encode(), fields={"MAC": SECRET})
    assert SECRET not in shown(webhook, received(webhook), verify_api_key("merchants/m", SECRET))


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL])
def test_an_error_holds_nothing_of_the_request(opened: Open, script: Scripted, code: grpc.StatusCode) -> None:
    script.refuse(VERIFY, code, "refused", "SOMETHING")
    proof = Basic.of("admin", SECRET)
    with opened(script.address, proof) as client, pytest.raises(CallFailed) as failed:
        client.verify_hmac("merchants/m", SECRET.encode(), SECRET.encode())
    told = shown(failed.value, vars(failed.value)) + "".join(traceback.format_exception(failed.value))
    assert "refused" in told
    assert SECRET not in told
    assert proof() not in told


def test_a_key_is_named_by_its_file(tmp_path: Path) -> None:
    key = tmp_path / "client.key"
    key.write_text(SECRET)
    assert SECRET not in shown(Tls(certificate=key, key=key))
