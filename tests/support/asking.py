"""Calls in one line: a method and its fields, the answer or the refusal; and the slots, as the contract lists them."""

from __future__ import annotations

from typing import Any

from keysvc.v1 import credential_service_pb2 as pb
from support.methods import message_of, path_of
from support.server import Client, Refusal, refusal

HMAC_SLOTS = ("primary-hmac-key", "secondary-hmac-key")
BEARER_SLOTS = ("api-password", "primary-rest-api-key", "secondary-rest-api-key")
ENCRYPTION_SLOTS = ("encryption-password", "webhook-encryption-key")
SLOTS = tuple(sorted((*HMAC_SLOTS, *BEARER_SLOTS, *ENCRYPTION_SLOTS)))
KINDS = {
    **dict.fromkeys(HMAC_SLOTS, "HMAC_KEY"),
    **dict.fromkeys(BEARER_SLOTS, "BEARER_SECRET"),
    **dict.fromkeys(ENCRYPTION_SLOTS, "ENCRYPTION_KEY"),
}


def request(method: str, **fields: Any) -> Any:
    """The request message of a method of any service. Enums may be given by name."""
    return message_of(path_of(method), fields)


def ask(client: Client, method: str, **fields: Any) -> Any:
    return client.call(method, request(method, **fields))


def refused(client: Client, method: str, **fields: Any) -> Refusal:
    """The error that the call ends with; an AssertionError where it is answered."""
    return refusal(lambda: ask(client, method, **fields))


def slot_of(merchant: str, slot: str) -> str:
    return f"{merchant}/credentials/{slot}"


def result_of(answer: Any) -> str:
    """The name of a verification's result."""
    return str(pb.VerifyHmacResponse.Result.Name(answer.result))


def verify_mac(client: Client, name: str, message: bytes, mac: bytes) -> str:
    return result_of(ask(client, "VerifyHmac", name=name, message=message, mac=mac))


def verify_key(client: Client, name: str, api_key: str) -> str:
    return result_of(ask(client, "VerifyApiKey", name=name, api_key=api_key))
