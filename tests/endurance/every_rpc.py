"""The rpcs of credentials and merchants, with every kind and format of secret, telling a Vault of each secret in them.

A new rpc must find its place here, in `every_rotation_rpc` or in `every_other_rpc`: the test that runs them compares
what was called with the services.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.protobuf.duration_pb2 import Duration
from support.server import Client

from endurance.formats import FORMATS, Format, decoded, new_secret
from endurance.history import CREATE, RENEW, REVOKE
from endurance.keys import ENCRYPTION_SLOTS, HMAC_PAIR, merchant_of, slot_of
from endurance.vault import Vault
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import merchant_service_pb2 as mpb
from keysvc.v1.credential_pb2 import Credential, Secret

IMPORT = "ImportCredential"
_VIEWS = (
    "Get", "List", "Revoke", "Import", "Update", "Disable", "Verify", "Batch", "Swap", "Schedule", "Summarize",
)  # fmt: skip
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
_SHA1, _SHA512 = Credential.HmacAlgorithm.HMAC_SHA1, Credential.HmacAlgorithm.HMAC_SHA512


class Caller:
    """Calls, and remembers which methods; the answers that are views may hold no secret either."""

    def __init__(self, client: Client, vault: Vault, rng: random.Random) -> None:
        self.client = client
        self.vault = vault
        self.rng = rng
        self.called: set[str] = set()
        self.shown: list[bytes] = []

    def call(self, method: str, request: Any, authorization: str | None = None) -> Any:
        """As the administrator, or by another header."""
        self.called.add(method)
        metadata = (("authorization", authorization),) if authorization else None
        answer = self.client.call(method, request, metadata)
        if method.startswith(_VIEWS) or method.endswith("Merchant"):
            self.shown.append(answer.SerializeToString())
        return answer

    def secret_bytes(self, label: str, size: int = 48) -> bytes:
        made = self.rng.randbytes(size)
        self.vault.watch(label, made)
        return made


class Recipient:
    """Whom secrets are sealed to."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.pem = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def open(self, sealed: bytes) -> bytes:
        return self._key.decrypt(sealed, OAEP)


class Lifecycles:
    """A slot's life in one format: made, renewed, sealed, imported, and used after each."""

    def __init__(self, caller: Caller, recipient: Recipient, merchant: str) -> None:
        self._caller = caller
        self._recipient = recipient
        self._merchant = merchant
        answer = caller.call("GetImportKey", pb.GetImportKeyRequest())
        key = serialization.load_pem_public_key(answer.public_key.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        self._import_key = key

    def run(self) -> None:
        """Leaves every slot with a key in it, and one that is retiring."""
        for slot, formats in FORMATS.items():
            name = f"{self._merchant}/credentials/{slot}"
            for secret_format in formats:
                self._live_once(name, secret_format)
            self._other_algorithms(name)
            self._fill(CREATE, pb.CreateCredentialRequest(name=name))
            self._fill(RENEW, pb.RenewCredentialRequest(name=name, previous_ttl=Duration(seconds=3600)))
        self._view()

    def _live_once(self, name: str, secret_format: Format) -> None:
        pem = self._recipient.pem
        ttl = Duration(seconds=3600)
        self._fill(CREATE, pb.CreateCredentialRequest(name=name, secret_format=secret_format))
        self._fill(RENEW, pb.RenewCredentialRequest(name=name, secret_format=secret_format, previous_ttl=ttl))
        self._fill(RENEW, pb.RenewCredentialRequest(name=name, secret_format=secret_format, recipient_public_key=pem))
        self._revoke(name)
        self._fill(CREATE, pb.CreateCredentialRequest(name=name, secret_format=secret_format, recipient_public_key=pem))
        self._revoke(name)
        text = new_secret(secret_format, self._caller.rng)
        self._import(pb.ImportCredentialRequest(name=name, secret_format=secret_format, secret=text))
        self._revoke(name)
        if slot_of(name) in (*HMAC_PAIR, *ENCRYPTION_SLOTS):
            key = self._caller.secret_bytes(f"{secret_format} sealed import", 32)
            sealed_key = self._import_key.encrypt(key, OAEP)
            self._import(pb.ImportCredentialRequest(name=name, secret_format=secret_format, sealed_secret=sealed_key))
            self._revoke(name)

    def _other_algorithms(self, name: str) -> None:
        if slot_of(name) in HMAC_PAIR:
            self._fill(CREATE, pb.CreateCredentialRequest(name=name, hmac_algorithm=_SHA512))
            self._revoke(name)
            text = new_secret(Format.HEX, self._caller.rng)
            self._import(pb.ImportCredentialRequest(name=name, hmac_algorithm=_SHA1, secret=text), signs=False)
            self._revoke(name)

    def _fill(self, method: str, request: Any) -> None:
        answer = self._caller.call(method, request)
        label = f"{method} {slot_of(request.name)} {Format.Name(answer.secret.format)}"
        self._caller.vault.watch(label, *self._forms_of(answer.secret))
        self._use(request.name, answer.secret.value)

    def _import(self, request: pb.ImportCredentialRequest, *, signs: bool = True) -> None:
        if request.secret:
            secret_format = request.secret_format or Format.HEX
            label = f"{IMPORT} {slot_of(request.name)} {Format.Name(secret_format)}"
            self._caller.vault.watch(label, request.secret, decoded(request.secret, secret_format))
        self._caller.call(IMPORT, request)
        if signs:
            self._use(request.name, request.secret)

    def _revoke(self, name: str) -> None:
        self._caller.call(REVOKE, pb.RevokeCredentialRequest(name=name))

    def _forms_of(self, secret: Secret) -> Iterator[str | bytes]:
        if secret.value:
            yield secret.value
            yield decoded(secret.value, secret.format)
        else:
            yield self._recipient.open(secret.sealed)

    def _use(self, name: str, text: str) -> None:
        """Where the text is not known, a wrong one is presented."""
        if slot_of(name) in HMAC_PAIR:
            self._sign_and_verify(name)
        elif slot_of(name) in ENCRYPTION_SLOTS:
            self._encrypt_and_decrypt(name)
        else:
            self._caller.vault.watch("a wrong API key", wrong := self._caller.rng.randbytes(20).hex())
            for api_key in (text or wrong, wrong):
                for asked in (name, merchant_of(name)):
                    self._caller.call("VerifyApiKey", pb.VerifyApiKeyRequest(name=asked, api_key=api_key))

    def _sign_and_verify(self, name: str) -> None:
        message = self._caller.secret_bytes("a message")
        mac = self._caller.call("GenerateHmac", pb.GenerateHmacRequest(name=name, message=message)).mac
        self._caller.vault.watch("a MAC", mac)
        for asked, presented in ((name, mac), (merchant_of(name), self._caller.secret_bytes("a wrong MAC", 32))):
            self._caller.call("VerifyHmac", pb.VerifyHmacRequest(name=asked, message=message, mac=presented))

    def _encrypt_and_decrypt(self, name: str) -> None:
        plaintext, data = self._caller.secret_bytes("a plaintext"), self._caller.secret_bytes("additional data")
        sealed = self._caller.call(
            "Encrypt", pb.EncryptRequest(name=name, plaintext=plaintext, additional_data=data)
        ).ciphertext
        self._caller.call("Decrypt", pb.DecryptRequest(name=name, ciphertext=sealed, additional_data=data))

    def _view(self) -> None:
        self._caller.call("ListCredentials", pb.ListCredentialsRequest(parent=self._merchant))
        for slot in FORMATS:
            self._caller.call("GetCredential", pb.GetCredentialRequest(name=f"{self._merchant}/credentials/{slot}"))


def merchants_come_and_go(caller: Caller, merchant_id: str, display_name: str) -> str:
    """The rpcs of MerchantService. Leaves the merchant active, and another that was terminated with keys in it."""
    for name, shown in ((merchant_id, display_name), (f"{merchant_id}-ended", "")):
        merchant = mpb.CreateMerchantRequest(merchant_id=name)
        merchant.merchant.display_name = shown
        caller.call("CreateMerchant", merchant)
        for method in ("Activate", "Suspend", "Activate"):
            caller.call(f"{method}Merchant", getattr(mpb, f"{method}MerchantRequest")(name=f"merchants/{name}"))
        caller.call("GetMerchant", mpb.GetMerchantRequest(name=f"merchants/{name}"))
    ended = f"merchants/{merchant_id}-ended"
    answer = caller.call(CREATE, pb.CreateCredentialRequest(name=f"{ended}/credentials/primary-hmac-key"))
    caller.vault.watch("a terminated merchant's key", answer.secret.value, bytes.fromhex(answer.secret.value))
    caller.call("TerminateMerchant", mpb.TerminateMerchantRequest(name=ended))
    caller.call("ListMerchants", mpb.ListMerchantsRequest())
    return f"merchants/{merchant_id}"
