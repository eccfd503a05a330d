"""The five secret formats, once more: as the contract describes them, apart from the code under test."""

from __future__ import annotations

import base64
import random

from keysvc.v1.credential_pb2 import Credential

Format = Credential.SecretFormat
_ALL = (Format.HEX, Format.BASE64, Format.WHSEC, Format.TEXT, Format.HEX_UPPER_32)

FORMATS = {
    "encryption-password": (Format.HEX, Format.BASE64, Format.TEXT),
    "primary-hmac-key": _ALL,
    "primary-rest-api-key": _ALL,
    "secondary-hmac-key": _ALL,
    "secondary-rest-api-key": _ALL,
    "api-password": _ALL,
    "webhook-encryption-key": (Format.HEX, Format.BASE64, Format.TEXT),
}
"""What each slot takes."""


def new_secret(secret_format: Format, rng: random.Random) -> str:
    """32 bytes, which every kind of key takes; 16 for HEX_UPPER_32."""
    key = rng.randbytes(32)
    return {
        Format.HEX: key.hex(),
        Format.BASE64: base64.b64encode(key).decode(),
        Format.WHSEC: "whsec_" + base64.b64encode(key).decode(),
        Format.TEXT: base64.b85encode(key).decode()[:32],
        Format.HEX_UPPER_32: key[:16].hex().upper(),
    }[secret_format]


def decoded(text: str, secret_format: Format) -> bytes:
    """The key's bytes."""
    if secret_format in (Format.HEX, Format.HEX_UPPER_32):
        return bytes.fromhex(text)
    if secret_format == Format.TEXT:
        return text.encode()
    return base64.b64decode(text.removeprefix("whsec_"))
