"""Secrets as text and as bytes: the five formats, and a wrapper that does not print itself.

Pure: random bytes are passed in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

from keysvc.model.errors import InvalidField
from keysvc.model.slots import SecretFormat

MIN_KEY_BYTES = 8
"""Shorter secrets are never taken."""
STRONG_KEY_BYTES = 14
"""112 bits, the least that NIST SP 800-131A allows for HMAC keys; shorter only when asked for."""
MAX_KEY_BYTES = 1024
WHSEC_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True, repr=False)
class SecretText:
    """A secret on its one way out. `repr` and `str` hide it; only `reveal()` tells it."""

    _value: str

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "SecretText(hidden)"


@dataclass(frozen=True, slots=True)
class _Codec:
    encode: Callable[[bytes], str]
    decode: Callable[[str], bytes]
    rule: str


def encode(key: bytes, secret_format: SecretFormat) -> str:
    """The text of `key`. For TEXT the key must be UTF-8, as `new_text_key` makes it."""
    return _CODECS[secret_format].encode(key)


def decode(text: str, secret_format: SecretFormat, field: str) -> bytes:
    """The key's bytes; raises InvalidField, which never quotes the text."""
    codec = _CODECS[secret_format]
    try:
        key = codec.decode(text)
    except (ValueError, binascii.Error):
        raise InvalidField(field, f"is not {secret_format}: {codec.rule}") from None
    if len(key) > MAX_KEY_BYTES:
        raise InvalidField(field, f"is longer than {MAX_KEY_BYTES} bytes")
    return key


def new_text_key(random: bytes) -> bytes:
    """A key of format TEXT from random bytes: the bytes of their base64url text (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(random).rstrip(b"=")


def _decode_hex(text: str) -> bytes:
    if not re.fullmatch(r"([0-9A-Fa-f]{2})+", text):
        raise ValueError
    return bytes.fromhex(text)


def _decode_base64(text: str) -> bytes:
    key = base64.b64decode(text.encode("ascii"), validate=True)
    if not key:
        raise ValueError
    return key


def _decode_whsec(text: str) -> bytes:
    if not text.startswith(WHSEC_PREFIX):
        raise ValueError
    return _decode_base64(text.removeprefix(WHSEC_PREFIX))


def _decode_text(text: str) -> bytes:
    if not text:
        raise ValueError
    return text.encode("utf-8")


def _decode_hex_upper_32(text: str) -> bytes:
    if not re.fullmatch(r"[0-9A-F]{32}", text):
        raise ValueError
    return bytes.fromhex(text)


_CODECS = {
    SecretFormat.HEX: _Codec(bytes.hex, _decode_hex, "an even number of hexadecimal digits"),
    SecretFormat.BASE64: _Codec(
        lambda key: base64.b64encode(key).decode("ascii"),
        _decode_base64,
        "base64 with its padding (RFC 4648 section 4)",
    ),
    SecretFormat.WHSEC: _Codec(
        lambda key: WHSEC_PREFIX + base64.b64encode(key).decode("ascii"),
        _decode_whsec,
        f"{WHSEC_PREFIX} and then base64 with its padding",
    ),
    SecretFormat.TEXT: _Codec(lambda key: key.decode("utf-8"), _decode_text, "at least one character"),
    SecretFormat.HEX_UPPER_32: _Codec(
        lambda key: key.hex().upper(), _decode_hex_upper_32, "32 upper-case hexadecimal digits"
    ),
}
