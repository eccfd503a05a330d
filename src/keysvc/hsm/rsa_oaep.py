"""RSA-OAEP by the process, as tokens do it: for what the process holds anyway. Pure."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MECHANISM = "RSA-OAEP"
"""By its name in RFC 7518 section 4.3: SHA-1, and MGF1 with SHA-1, which is what tokens wrap with."""


def seal(recipient: RSAPublicKey, plain: bytes) -> bytes:
    """Raises ValueError where the key is too short for `plain`."""
    sha1 = hashes.SHA1()  # noqa: S303 - OAEP does not rest on collision resistance (RFC 8017 section 7.1)
    return recipient.encrypt(plain, padding.OAEP(padding.MGF1(sha1), sha1, None))
