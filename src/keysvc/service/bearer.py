"""JWTs that principals sign themselves (RFC 7519, used as RFC 7523 section 3 does).

`sub` is the principal's id, `aud` is `keysvc`, `iat` and `exp` lie at most 10 minutes apart, and `jti`
is used once. The algorithm follows from the registered key, never from the token (RFC 8725 section 3.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from keysvc.model.errors import InvalidField
from keysvc.model.names import is_id

AUDIENCE = "keysvc"
MAX_AGE = timedelta(minutes=10)
CLOCK_SKEW = timedelta(seconds=30)
"""How far the caller's clock may be ahead. A JWT that has expired by ours has expired."""
MAX_KEYS = 5
_MAX_PEM = 4096
_MAX_JTI = 256
_RSA_BITS = range(2048, 8193)
_REQUIRED = ["aud", "exp", "iat", "jti", "sub"]

PublicKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey


_STAND_INS: dict[str, PublicKey] = {
    "ES256": derive_private_key(1, SECP256R1()).public_key(),
    "EdDSA": Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
    "RS256": RSAPublicNumbers(65537, 2**2048 - 1).public_key(),
}
"""By algorithm: keys that are verified with and never believed."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a JWT says of itself, before its signature is checked."""

    token: str = field(repr=False)
    algorithm: str
    principal_id: str
    jti_hash: bytes
    issue_time: datetime
    expire_time: datetime


def read(header: str) -> Claims | None:
    """None for a header that bears no JWT with all the claims there must be."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        unverified = jwt.decode_complete(token.strip(), options={"verify_signature": False, "require": _REQUIRED})
        claims, algorithm = unverified["payload"], unverified["header"].get("alg")
        subject, jti = claims["sub"], claims["jti"]
        if not (isinstance(jti, str) and 0 < len(jti) <= _MAX_JTI and is_id(subject) and algorithm in _STAND_INS):
            return None
        times = [datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "exp")]
        return Claims(token.strip(), algorithm, subject, hashlib.sha256(jti.encode()).digest(), *times)
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, OSError, RecursionError):
        return None


def verify(claims: Claims, keys: Iterable[str], now: datetime) -> bool:
    """Whether one of the principal's keys signed it, for us and for now.

    Where there is no key of its kind a stand-in is tried, so that time does not tell which principals there are.
    """
    fitting = [key for key, algorithm in map(_key_of, keys) if algorithm == claims.algorithm]
    tried = fitting or [_STAND_INS[claims.algorithm]]
    signed = any(_signed_by(claims.token, key, claims.algorithm) for key in tried)
    brief = claims.issue_time < claims.expire_time <= claims.issue_time + MAX_AGE
    timely = claims.issue_time - CLOCK_SKEW <= now < claims.expire_time
    return bool(fitting) and signed and brief and timely


def check_key(pem: str, place: str) -> str:
    """Returns `pem`; raises InvalidField where it is no public key that signs JWTs here."""
    try:
        if len(pem) > _MAX_PEM:
            raise ValueError
        _key_of(pem)
    except ValueError:
        raise InvalidField(place, "must be PEM of a P-256, Ed25519 or RSA (2,048 to 8,192 bits) public key") from None
    return pem


@lru_cache(maxsize=1024)  # a key is parsed once, not once a call
def _key_of(pem: str) -> tuple[PublicKey, str]:
    """(the key, its algorithm of RFC 7518 or RFC 8037). Raises ValueError."""
    try:
        key = load_pem_public_key(pem.encode())
    except UnsupportedAlgorithm:
        raise ValueError("a key of another kind") from None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key, "ES256"
    if isinstance(key, Ed25519PublicKey):
        return key, "EdDSA"
    if isinstance(key, RSAPublicKey) and key.key_size in _RSA_BITS:
        return key, "RS256"
    raise ValueError("a key of another kind")


def _signed_by(token: str, key: PublicKey, algorithm: str) -> bool:
    # The times were checked by our clock; here, the signature and for whom it is.
    options: Any = {"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "strict_aud": True}
    try:
        jwt.decode(token, key, algorithms=[algorithm], audience=AUDIENCE, options=options)
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True
