"""Calls that are refused, with secrets where none belongs. No refusal may quote them, and nothing may keep them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.methods import message_of, path_of
from support.server import Client

from endurance.vault import Vault
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import merchant_service_pb2 as mpb
from keysvc.v1.credential_pb2 import Credential

SERVICE = "/keysvc.v1.CredentialService"


class Refusals:
    """Calls what must be refused, and keeps all that the refusals said."""

    def __init__(self, client: Client, vault: Vault) -> None:
        self._client = client
        self._vault = vault
        self.said: list[bytes] = []
        self.wrong: list[str] = []
        """Calls that were answered, or not refused cleanly."""

    def call(self, method: str, request: Any, authorization: str | None = None) -> None:
        metadata = (("authorization", authorization),) if authorization else None
        self._expect(method, lambda: self._client.call(method, request, metadata))

    def call_with_bytes(self, path: str, raw: bytes) -> None:
        """A request that is no message."""
        call: Any = self._client.channel.unary_unary(path)
        self._expect(path, lambda: call(raw, metadata=self._client.metadata, timeout=20))

    def _expect(self, method: str, call: Callable[[], object]) -> None:
        try:
            call()
        except grpc.RpcError as error:
            self.said += [(error.details() or "").encode(), *_trailing(error)]
            if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                self.wrong.append(f"{method} ended with {error.code()}: {error.details()}")
        else:
            self.wrong.append(f"{method} was answered")

    def new_secret(self, label: str) -> str:
        """No id: what may be stored, such as a merchant's id, is the caller's to choose."""
        return self.secret(label, f"{label}+hunter2/{base64.b64encode(label.encode()).decode()}")

    def secret(self, label: str, text: str) -> str:
        self._vault.watch(f"a secret sent as {label}", text)
        return text


def secrets_in_wrong_fields(refusals: Refusals, merchant: str) -> None:
    """`merchant` has keys in all slots."""
    for method, request in _requests(refusals, merchant):
        refusals.call(method, request)


def secrets_in_wrong_shapes(refusals: Refusals, merchant: str) -> None:
    """Secrets that are refused for what they are, in a slot that holds none."""
    hmac_key, api_key = (f"{merchant}/credentials/{slot}" for slot in ("primary-hmac-key", "primary-rest-api-key"))
    for name, secret_format in (
        (hmac_key, Credential.SecretFormat.HEX),
        (hmac_key, Credential.SecretFormat.BASE64),
        (hmac_key, Credential.SecretFormat.WHSEC),
        (api_key, Credential.SecretFormat.HEX_UPPER_32),
    ):
        secret = refusals.new_secret(f"a secret that is not {Credential.SecretFormat.Name(secret_format)}")
        refusals.call(
            "ImportCredential", pb.ImportCredentialRequest(name=name, secret=secret, secret_format=secret_format)
        )
    text = Credential.SecretFormat.TEXT
    short, long = refusals.secret("a short one", "sh0rt+pa/ss"), refusals.new_secret("a long one") * 100
    for secret in (short, long, long * 100):
        refusals.call("ImportCredential", pb.ImportCredentialRequest(name=hmac_key, secret=secret, secret_format=text))
    sealed = refusals.new_secret("a sealed secret").encode()
    for name in (hmac_key, api_key):
        refusals.call("ImportCredential", pb.ImportCredentialRequest(name=name, sealed_secret=sealed))


def wrong_callers(refusals: Refusals, vault: Vault, merchant: str) -> None:
    """Headers with wrong passwords, and some that are no headers."""
    request = mpb.GetMerchantRequest(name=merchant)
    for label, scheme in (("a wrong password", "Basic"), ("a bearer token", "Bearer"), ("no scheme", "")):
        encoded = base64.b64encode(f"admin:{refusals.new_secret(label)}".encode()).decode()
        vault.watch(f"the header with {label}", encoded)
        refusals.call("GetMerchant", request, authorization=f"{scheme} {encoded}".strip())
    refusals.call("GetMerchant", request, authorization=f"Basic {refusals.new_secret('a header without base64')}")


def forged_jwts(refusals: Refusals) -> None:
    """Signed by nobody, and by a key that is not registered."""
    for label, key, algorithm in (("a JWT of nobody", "", "none"), ("a forged JWT", "k" * 32, "HS256")):
        claims = {"sub": "admin", "aud": "keysvc", "iat": time.time(), "exp": time.time() + 60, "jti": label}
        token = refusals.secret(label, jwt.encode(claims, key, algorithm))
        refusals.call("GetAuditHead", message_of(path_of("GetAuditHead"), {}), authorization=f"Bearer {token}")


def no_messages(refusals: Refusals) -> None:
    """Bytes that no request can be read from, and a method that there is not."""
    for path in (f"{SERVICE}/ImportCredential", f"{SERVICE}/VerifyApiKey", f"{SERVICE}/NoSuchMethod"):
        refusals.call_with_bytes(path, b"\xff" + refusals.new_secret(f"bytes for {path[-12:]}").encode())


def _requests(refusals: Refusals, merchant: str) -> Iterator[tuple[str, Any]]:
    new = refusals.new_secret
    key, api_key, aes = (
        f"{merchant}/credentials/{slot}" for slot in ("primary-hmac-key", "primary-rest-api-key", "encryption-password")
    )
    yield "CreateCredential", pb.CreateCredentialRequest(name=new("a name"))
    yield "CreateCredential", pb.CreateCredentialRequest(name=f"{merchant}/credentials/{new('a slot')}")
    yield "CreateCredential", pb.CreateCredentialRequest(name=key, request_id=new("a request_id"))
    yield "CreateCredential", pb.CreateCredentialRequest(name=key, recipient_public_key=new("a public key"))
    yield "ImportCredential", pb.ImportCredentialRequest(name=key, secret=new("an import to a slot in use"))
    yield "RenewCredential", pb.RenewCredentialRequest(name=key, etag=new("an etag"))
    yield "RevokeCredential", pb.RevokeCredentialRequest(name=key, etag=new("an etag to revoke"))
    yield "GetCredential", pb.GetCredentialRequest(name=f"{new('a collection')}/{merchant}")
    yield "ListCredentials", pb.ListCredentialsRequest(parent=new("a parent"))
    yield "ListCredentials", pb.ListCredentialsRequest(parent=merchant, page_token=new("a page token"))
    yield "ListMerchants", mpb.ListMerchantsRequest(page_token=new("a page token of merchants"))
    yield "GenerateHmac", pb.GenerateHmacRequest(name=api_key, message=new("a message to a wrong slot").encode())
    yield "VerifyHmac", pb.VerifyHmacRequest(name=aes, message=b"", mac=new("a MAC to a wrong slot").encode())
    yield "VerifyHmac", pb.VerifyHmacRequest(name=key, message=new("a message without a MAC").encode())
    yield "VerifyHmac", pb.VerifyHmacRequest(name=key, message=new("a long message").encode() * 100_000, mac=b"mac")
    yield "VerifyApiKey", pb.VerifyApiKeyRequest(name=key, api_key=new("an API key to a wrong slot"))
    yield "VerifyApiKey", pb.VerifyApiKeyRequest(name=new("a name to verify at"), api_key=new("an API key nowhere"))
    yield "Encrypt", pb.EncryptRequest(name=key, plaintext=new("a plaintext to a wrong slot").encode())
    yield "Decrypt", pb.DecryptRequest(name=aes, ciphertext=new("a ciphertext that is none").encode() * 2)
    yield "CreateMerchant", mpb.CreateMerchantRequest(merchant_id=new("a merchant's id"))
    for field in ("psp", "acquirer", "name"):
        request = mpb.CreateMerchantRequest(merchant_id="refused")
        setattr(request.merchant, field, new(f"a merchant's {field}"))
        yield "CreateMerchant", request
    request = mpb.CreateMerchantRequest(merchant_id="refused")
    request.merchant.display_name = new("a display name that does not print") + "\n"
    yield "CreateMerchant", request
    yield from _rotation_requests(refusals, merchant)
    yield from _other_requests(refusals, merchant)
    yield "SuspendMerchant", mpb.SuspendMerchantRequest(name=merchant, etag=new("a merchant's etag"))


def _rotation_requests(refusals: Refusals, merchant: str) -> Iterator[tuple[str, Any]]:
    """Of rotations, webhooks and batches."""
    new = refusals.new_secret
    key = f"{merchant}/credentials/primary-hmac-key"

    def ask(method: str, **fields: Any) -> tuple[str, Any]:
        return method, message_of(path_of(method), fields)

    yield ask("GetRotation", name=new("a name of a rotation"), kind="HMAC_KEY")
    yield ask("SwapCredentials", name=merchant, kind="HMAC_KEY", etag=new("a rotation's etag"))
    yield ask("SwapCredentials", name=merchant, kind="HMAC_KEY", request_id=new("a swap's request_id"))
    yield ask("ScheduleRotation", name=key, etag=new("an etag to schedule"))
    yield ask("ScheduleRotation", name=key, request_id=new("a schedule's request_id"))
    yield ask("SummarizeCredentials", parent=new("a parent to summarize"))
    yield ask("ListCredentials", parent="merchants/-", due_within={}, page_token=new("a page token of the due"))
    yield ask("RevokeCredential", name=key, version=99, etag=new("an etag to revoke one"))
    body = {"name": merchant, "body": new("the body of no scheme").encode(), "headers": {"a": new("a header's value")}}
    yield ask("VerifyWebhook", **body)
    yield ask("VerifyWebhook", scheme="SQUARE", **body)
    yield ask("VerifyWebhook", scheme="SHOPIFY", **body | {"body": new("a body that is too long").encode() * 100_000})
    sent = {"name": merchant, "scheme": "STANDARD_WEBHOOKS"}
    yield ask("SignWebhook", body=new("the body of no event").encode(), **sent)
    yield ask("SignWebhook", event_id=f"{new('the id of an event')}.", **sent)
    yield ask("SignWebhook", name=new("a name to sign for"), scheme="GITHUB")
    fields = {new("the name of a field"): new("a field that is not signed")}
    yield ask("SignWebhook", name=merchant, scheme="ADYEN_NOTIFICATION", fields=fields)
    yield ask("SignWebhook", name=merchant, scheme="COMPUTOP_NOTIFY", fields={"Code": new("a long field") * 1_000})
    many = [{"name": merchant, "message": new("a message of too many").encode(), "mac": b"mac"}] * 1_001
    yield ask("BatchVerifyHmac", requests=many)


def _other_requests(refusals: Refusals, merchant: str) -> Iterator[tuple[str, Any]]:
    """Of tokens, principals and the audit record."""
    new = refusals.new_secret

    def ask(method: str, **fields: Any) -> tuple[str, Any]:
        return method, message_of(path_of(method), fields)

    yield ask("CreateToken", parent=merchant, token_id=new("a token's id"))
    yield ask("CreateToken", parent=merchant, request_id=new("a token's request_id"))
    yield ask("CreateToken", parent=new("a token's parent"))
    yield ask("RevokeToken", name=f"{merchant}/tokens/{new('a token to revoke')}")
    yield ask("VerifyToken", name=f"{merchant}/tokens/{new('a token to verify')}", secret=new("a token's secret"))
    yield ask("VerifyToken", name="merchants/nobody", secret=new("a token of nobody"))
    yield ask("VerifyToken", name=merchant, secret=new("a long token") * 1_000)
    private = new_private_key()
    refusals.secret("a private key", private.split("\n")[2])
    principal = {"kind": "PSP", "jwt_public_keys": [private]}
    yield ask("CreatePrincipal", principal_id="refused", principal=principal)
    for field in ("spiffe_id", "name"):
        principal = {"kind": "PSP", field: new(f"a principal's {field}")}
        yield ask("CreatePrincipal", principal_id="refused", principal=principal)
    yield ask("CreatePrincipal", principal_id=new("a principal's id"), principal={"kind": "PSP"})
    yield ask("UpdatePrincipal", principal={"name": "principals/admin"}, update_mask={"paths": [new("a field")]})
    yield ask("RenewPrincipalPassword", name="principals/admin", request_id=new("a password's request_id"))
    yield ask("DisablePrincipal", name="principals/admin", etag=new("a principal's etag"))
    yield ask("ListPrincipals", page_token=new("a page token of principals"))
    yield ask("ApproveHsmKey", name=new("a token key's name"))
    yield ask("WithdrawHsmKey", name="hsmKeys/row-1", etag=new("a token key's etag"))
    yield ask("ListAuditEvents", parent=new("a parent of events"))
    yield ask("ListAuditEvents", page_token=new("a page token of events"))


def new_private_key() -> str:
    """PEM of a key that would be taken, were it the public one."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _trailing(error: grpc.RpcError) -> list[bytes]:
    metadata: Any = error.trailing_metadata() or ()
    return [value.encode() if isinstance(value, str) else value for _, value in metadata]
