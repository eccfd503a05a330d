"""The rpcs of rotations, webhooks and batches, telling a Vault of each secret that was in them."""

from __future__ import annotations

import time
from typing import Any

from support.methods import message_of, path_of

from endurance.every_rpc import Caller
from keysvc.v1.webhook_pb2 import WebhookScheme

_SIGNED_FIELDS = ("merchantReference", "TransID")
"""One of each form over fields."""
_SOON = {"seconds": 86_400}


def keys_are_rotated(caller: Caller, merchant: str) -> None:
    """`merchant` has keys in all slots. Leaves it so, each key where it was."""
    for kind in ("HMAC_KEY", "BEARER_SECRET"):
        for _ in range(2):
            etag = _ask(caller, "GetRotation", name=merchant, kind=kind).etag
            _ask(caller, "SwapCredentials", name=merchant, kind=kind, etag=etag)
    due = {"seconds": int(time.time()) + 3600}
    name = f"{merchant}/credentials/primary-hmac-key"
    _ask(caller, "ScheduleRotation", name=name, rotate_before=due)
    for parent in (merchant, "merchants/-"):
        _ask(caller, "ListCredentials", parent=parent, due_within=_SOON)
        _ask(caller, "SummarizeCredentials", parent=parent)
    retiring = _ask(caller, "GetCredential", name=name).retiring[0].version
    _ask(caller, "RevokeCredential", name=name, version=retiring, validate_only=True)


def webhooks_are_signed_and_verified(caller: Caller, merchant: str) -> None:
    """In every scheme, and not as they were signed."""
    for scheme in WebhookScheme.values()[1:]:
        fields = {name: _text(caller, "a field") for name in _SIGNED_FIELDS}
        sent: dict[str, Any] = {
            "name": merchant,
            "scheme": scheme,
            "body": caller.secret_bytes("a body"),
            "url": f"https://canary.example/{_text(caller, 'an address')}",
            "fields": fields,
        }
        signed = _ask(caller, "SignWebhook", event_id=_text(caller, "an event's id"), **sent)
        for text in (*signed.headers.values(), *signed.fields.values()):
            if len(text) > 32:
                caller.vault.watch("a signature", text, text.rpartition(",")[2].rpartition("=")[2] or text[3:])
        received = {"headers": dict(signed.headers), **sent, "fields": fields | dict(signed.fields)}
        assert 1 == _ask(caller, "VerifyWebhook", **received).result
        _ask(caller, "VerifyWebhook", **received | {"name": f"{merchant}/credentials/secondary-hmac-key"})
        _ask(caller, "VerifyWebhook", **received | {"headers": {}, "fields": {"MAC": _text(caller, "no MAC")}})


def batches_are_verified(caller: Caller, merchant: str) -> None:
    """With right MACs, wrong ones, and names that hold what they should not."""
    message = caller.secret_bytes("a message of a batch")
    mac = _ask(caller, "GenerateHmac", name=merchant, message=message).mac
    caller.vault.watch("a MAC of a batch", mac)
    wrong = caller.secret_bytes("a wrong MAC of a batch", 32)
    names = (merchant, "merchants/nobody", f"{merchant}/credentials/api-password", _text(caller, "a name of a batch"))
    requests = [{"name": name, "message": message, "mac": each} for name in names for each in (mac, wrong, b"")]
    answer = _ask(caller, "BatchVerifyHmac", requests=requests)
    assert len(requests) == len(answer.results)


def _text(caller: Caller, label: str) -> str:
    return caller.secret_bytes(label, 12).hex()


def _ask(caller: Caller, method: str, **fields: Any) -> Any:
    return caller.call(method, message_of(path_of(method), fields))
