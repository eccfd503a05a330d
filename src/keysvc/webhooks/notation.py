"""How signatures are written as text, each in one way only: text that decodes but was written otherwise is not taken.

So no two texts stand for one signature, but for the case of Computop's hexadecimal.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notation:
    """One way to write bytes. `decode` answers with no bytes where the text is not written so."""

    encode: Callable[[bytes], str]
    decode: Callable[[str], bytes]


def _hex_upper(signature: bytes) -> str:
    return signature.hex().upper()


def _base64(signature: bytes) -> str:
    return b2a_base64(signature, newline=False).decode("ascii")


# Each decodes leniently and then writes again: equal to the text means canonical, whatever the decoder forgives
# (white space, bits after the end, characters of no alphabet). Text that is not ASCII is a ValueError in both decoders.
def _from_hex(text: str) -> bytes:
    try:
        signature = bytes.fromhex(text)
    except ValueError:
        return b""
    return signature if signature.hex() == text else b""


def _from_hex_of_either_case(text: str) -> bytes:
    return _from_hex(text.lower())  # which makes a hexadecimal digit of nothing else


def _from_base64(text: str) -> bytes:
    try:
        signature = a2b_base64(text)
    except ValueError:
        return b""
    return signature if b2a_base64(signature, newline=False) == text.encode("ascii") else b""


HEX = Notation(bytes.hex, _from_hex)
HEX_OF_EITHER_CASE = Notation(_hex_upper, _from_hex_of_either_case)
"""Written in upper case."""
BASE64 = Notation(_base64, _from_base64)
"""RFC 4648 section 4, padded, the bits after the end zero."""
