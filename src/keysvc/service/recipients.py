"""Public keys that a new secret is sealed to: RSA-OAEP, by the token where it can, else by the process."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keysvc.hsm import rsa_oaep
from keysvc.model.errors import InvalidField

MECHANISM = rsa_oaep.MECHANISM
MIN_BITS = 2048
MAX_BITS = 8192


def parse_recipient(pem: str) -> RSAPublicKey | None:
    """The key of a PEM SubjectPublicKeyInfo, None for an empty text. Raises InvalidField."""
    field = "recipient_public_key"
    if not pem:
        return None
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidField(field, "is no public key: send PEM that begins with -----BEGIN PUBLIC KEY-----") from None
    if not isinstance(key, RSAPublicKey):
        raise InvalidField(field, "is not an RSA key")
    if not MIN_BITS <= key.key_size <= MAX_BITS:
        raise InvalidField(field, f"has {key.key_size} bits; RSA keys of {MIN_BITS} to {MAX_BITS} are taken")
    return key


def seal(recipient: RSAPublicKey, plain: bytes) -> bytes:
    """For what the process holds anyway. Raises InvalidField where the key is too short for it."""
    try:
        return rsa_oaep.seal(recipient, plain)
    except ValueError:
        raise InvalidField("recipient_public_key", "is too short for this secret") from None


def to_pem(key: RSAPublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")
