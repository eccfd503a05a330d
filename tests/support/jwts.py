"""JWTs as a principal's own program would make them, and calls that bear them."""

from __future__ import annotations

import base64
import hmac
import json
import time
import uuid
from typing import Any, TypeAlias

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from support.methods import call_raw, path_of
from support.server import Client, Refusal

PrivateKey: TypeAlias = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
LIFETIME = 300


def public_pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def algorithm_of(key: PrivateKey) -> str:
    if isinstance(key, RSAPrivateKey):
        return "RS256"
    return "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"


def claims_of(principal_id: str, **claims: Any) -> dict[str, Any]:
    """Those of a right JWT; `claims` replace them, and None takes one away."""
    now = int(time.time())
    right = {"sub": principal_id, "aud": "keysvc", "iat": now, "exp": now + LIFETIME, "jti": uuid.uuid4().hex}
    return {name: value for name, value in {**right, **claims}.items() if value is not None}


def signed(key: PrivateKey, principal_id: str, **claims: Any) -> str:
    return jwt.encode(claims_of(principal_id, **claims), key, algorithm=algorithm_of(key))


def part(value: Any) -> str:
    """One part of a JWT made by hand: base64url without padding."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hmac(secret: bytes, claims: dict[str, Any], header: dict[str, Any]) -> str:
    """Signed with HMAC-SHA256, whatever the header says; the library refuses to with a PEM."""
    said = f"{part(header)}.{part(claims)}"
    return f"{said}.{part(hmac.digest(secret, said.encode(), 'sha256'))}"


def unsigned(claims: dict[str, Any], header: dict[str, Any], signature: bytes = b"") -> str:
    return f"{part(header)}.{part(claims)}.{part(signature)}"


def call(client: Client, token: str, method: str = "GetImportKey", scheme: str = "Bearer") -> Refusal | None:
    """How a call ends that bears the token and asks nothing; None where it is answered."""
    try:
        call_raw(client, path_of(method), b"", (("authorization", f"{scheme} {token}"),))
    except grpc.RpcError as error:
        return Refusal(error)
    return None
