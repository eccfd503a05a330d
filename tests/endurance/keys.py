"""Keys as a test was told them, and what the service answers when they are presented."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace

import grpc
from support.server import Client, Refusal

from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

HMAC_PAIR = ("primary-hmac-key", "secondary-hmac-key")
API_KEY_PAIR = ("primary-rest-api-key", "secondary-rest-api-key")
API_PASSWORD = "api-password"
ENCRYPTION_SLOTS = ("encryption-password", "webhook-encryption-key")
MESSAGE = b"order 17, 12.50 EUR"
Place = tuple[str, int]
"""A slot's name and a version: where a key stands, until a swap gives it another."""

_AS_RESULT = {"DECRYPT_FAILED": "INVALID", "SLOT_EMPTY": "NO_LIVE_KEY", "MERCHANT_NOT_ACTIVE": "MERCHANT_NOT_ACTIVE"}


@dataclass(frozen=True, slots=True)
class Key:
    """One version of a slot's key. HMAC keys are HMAC_SHA256 and their text is HEX."""

    credential: str
    version: int
    text: str = ""
    """Empty where the answer that told it was lost."""
    ciphertext: bytes = b""
    """MESSAGE, encrypted by an encryption key while it was current."""

    @property
    def slot(self) -> str:
        return slot_of(self.credential)

    @property
    def place(self) -> Place:
        return self.credential, self.version

    def mac(self, message: bytes) -> bytes:
        return hmac.new(bytes.fromhex(self.text), message, hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verification found."""

    result: str
    credential: str = ""
    version: int = 0
    retiring: bool = False


def merchant_of(credential: str) -> str:
    """`merchants/{merchant}` of one of its credentials, or of itself."""
    return credential.partition("/credentials/")[0]


def slot_of(credential: str) -> str:
    return credential.rpartition("/")[2]


def asked_slots(name: str, slot: str) -> tuple[str, ...]:
    """The slots that are tried when a key of `slot` is presented at `name`; the merchant stands for its pair."""
    if "/credentials/" in name:
        return (slot_of(name),)
    return HMAC_PAIR if slot in HMAC_PAIR else API_KEY_PAIR


def present(client: Client, name: str, key: Key, message: bytes = MESSAGE) -> Answer:
    """Verifies with the key at `name`: its MAC of the message, the API key itself, or what it encrypted."""
    if key.slot in HMAC_PAIR:
        return told(client.call("VerifyHmac", pb.VerifyHmacRequest(name=name, message=message, mac=key.mac(message))))
    if key.slot in ENCRYPTION_SLOTS:
        return _decrypt(client, name, key)
    return told(client.call("VerifyApiKey", pb.VerifyApiKeyRequest(name=name, api_key=key.text)))


def view(client: Client, name: str) -> Credential:
    """The slot as the service shows it."""
    shown: Credential = client.call("GetCredential", pb.GetCredentialRequest(name=name))
    return shown


def told(answer: pb.VerifyHmacResponse | pb.VerifyApiKeyResponse) -> Answer:
    result = pb.VerifyHmacResponse.Result.Name(answer.result)
    return Answer(result, answer.matched_credential, answer.matched_version, answer.retiring)


def encrypted(client: Client, key: Key) -> Key:
    """An encryption key with something that it encrypted; any other key as it is."""
    if key.slot not in ENCRYPTION_SLOTS:
        return key
    answer = client.call("Encrypt", pb.EncryptRequest(name=key.credential, plaintext=MESSAGE))
    assert key.version == answer.version
    return replace(key, ciphertext=answer.ciphertext)


def _decrypt(client: Client, name: str, key: Key) -> Answer:
    try:
        answer = client.call("Decrypt", pb.DecryptRequest(name=name, ciphertext=key.ciphertext))
    except grpc.RpcError as error:
        reason = Refusal(error).reason
        return Answer(_AS_RESULT.get(reason, reason))
    assert answer.plaintext == MESSAGE
    # Decrypt does not say whether the key is retiring.
    return Answer("VALID", name, answer.version)
