"""The rpcs of tokens, principals and the audit record, telling a Vault of each secret that was in them."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.field_mask_pb2 import FieldMask
from support.methods import message_of, path_of
from support.server import Client, refusal

from endurance.every_rpc import Caller


def tokens_come_and_go(caller: Caller, merchant: str) -> None:
    """Leaves one live token of the merchant."""
    soon = {"seconds": int(time.time()) + 3600}
    made = [_ask(caller, "CreateToken", parent=merchant, expire_time=expiry) for expiry in (None, soon)]
    for answer in made:
        caller.vault.watch("a token's secret", answer.secret, base64.urlsafe_b64decode(f"{answer.secret}="))
    caller.vault.watch("a wrong token", wrong := caller.rng.randbytes(24).hex())
    for name in (merchant, made[0].token.name):
        for secret in (made[0].secret, wrong):
            _ask(caller, "VerifyToken", name=name, secret=secret)
    _ask(caller, "RevokeToken", name=made[0].token.name)
    _ask(caller, "VerifyToken", name=merchant, secret=made[0].secret)
    _ask(caller, "ListTokens", parent=merchant)


def principals_come_and_go(caller: Caller, principal_id: str) -> None:
    """One that calls with each of its passwords and with JWTs, and is disabled at the end."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    principal = {"kind": "PSP", "jwt_public_keys": [pem]}
    made = _ask(caller, "CreatePrincipal", principal_id=principal_id, principal=principal)
    name = made.principal.name
    renewed = _ask(caller, "RenewPrincipalPassword", name=name, previous_ttl={"seconds": 3600})
    headers = [_basic(caller, principal_id, answer.password) for answer in (made, renewed)]
    headers += [_bearer(caller, principal_id, key) for _ in range(2)]
    for header in headers:
        caller.call("ListMerchants", message_of(path_of("ListMerchants"), {}), header)
    again = _ask(caller, "RenewPrincipalPassword", name=name)
    caller.vault.watch("a password", again.password, bytes.fromhex(again.password))
    changed = {"name": name, "remote_access": True, "spiffe_id": f"spiffe://example/{principal_id}"}
    _ask(caller, "UpdatePrincipal", principal=changed, update_mask=FieldMask(paths=["remote_access", "spiffe_id"]))
    _ask(caller, "GetPrincipal", name=name)
    _ask(caller, "DisablePrincipal", name=name)
    _ask(caller, "ListPrincipals")
    for header in (*headers, _bearer(caller, principal_id, key)):
        assert "UNAUTHENTICATED" == _refused(caller.client, header)


def the_record_is_read(caller: Caller) -> None:
    """To its end: what it shows is searched with all else that is shown."""
    page_token = ""
    while True:
        page = _ask(caller, "ListAuditEvents", page_size=1000, page_token=page_token)
        page_token = page.next_page_token
        if not page_token:
            break
    _ask(caller, "GetAuditHead")


def a_token_key_is_asked_for(caller: Caller, other_id: str) -> None:
    """And taken back, after another administrator agreed."""
    other = _ask(caller, "CreatePrincipal", principal_id=other_id, principal={"kind": "ADMIN"})
    name = _ask(caller, "RequestHsmKey", purpose="AUDIT").name
    header = _basic(caller, other_id, other.password)
    caller.call("ApproveHsmKey", message_of(path_of("ApproveHsmKey"), {"name": name}), header)
    _ask(caller, "ListHsmKeys")
    _ask(caller, "WithdrawHsmKey", name=name)
    _ask(caller, "DisablePrincipal", name=other.principal.name)


def _basic(caller: Caller, principal_id: str, password: str) -> str:
    encoded = base64.b64encode(f"{principal_id}:{password}".encode()).decode()
    caller.vault.watch("a password", password, bytes.fromhex(password))
    caller.vault.watch("a password's header", encoded)
    return f"Basic {encoded}"


def _bearer(caller: Caller, principal_id: str, key: ed25519.Ed25519PrivateKey) -> str:
    now = int(time.time())
    jti = caller.rng.randbytes(20).hex()
    claims = {"sub": principal_id, "aud": "keysvc", "iat": now, "exp": now + 300, "jti": jti}
    token = jwt.encode(claims, key, "EdDSA")
    caller.vault.watch("a JWT", token, token.rpartition(".")[2])
    caller.vault.watch("a JWT's id", jti)
    return f"Bearer {token}"


def _refused(client: Client, header: str) -> str:
    request = message_of(path_of("ListMerchants"), {})
    return refusal(lambda: client.call("ListMerchants", request, (("authorization", header),))).reason


def _ask(caller: Caller, method: str, **fields: Any) -> Any:
    return caller.call(method, message_of(path_of(method), fields))
