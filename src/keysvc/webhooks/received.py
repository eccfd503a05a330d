"""The pieces of a webhook as received: found, checked, and never repaired.

What is signed is the text as it came, so nothing here is trimmed, folded or written anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from keysvc.webhooks.schemes import Malformed

MAX_SIGNATURE_TEXT = 16 * 1024
"""Characters of the longest header or field that signatures are read from."""
_MOST_DIGITS = 15
_TIME = re.compile(rf"-?[0-9]{{1,{_MOST_DIGITS}}}")


def known_headers(headers: Mapping[str, str], known: frozenset[str]) -> dict[str, str | None]:
    """The headers whose names in lower case are in `known`; one that is given twice is None.

    Only the twenty-six letters have two cases: U+212A, which Python lowers to k, is no letter of a header's name.
    """
    found: dict[str, str | None] = {}
    for name in headers:
        lowered = name.lower()
        if lowered in known and name.isascii():
            found[lowered] = None if lowered in found else headers[name]
    return found


def needed(found: Mapping[str, str | None], name: str) -> str:
    """The one value of that name."""
    value = found.get(name)
    if value is None:
        raise Malformed(f"{name} is absent, or given twice")
    return value


def signature_text(found: Mapping[str, str | None], name: str) -> str:
    """As `needed`, of a header or field that signatures are read from."""
    text = needed(found, name)
    if len(text) > MAX_SIGNATURE_TEXT:
        raise Malformed(f"{name} is longer than {MAX_SIGNATURE_TEXT} characters")
    return text


def only_signature(signature: bytes, name: str) -> tuple[bytes]:
    """What a notation decoded, where the scheme carries one signature."""
    if not signature:
        raise Malformed(f"{name} is not of its form")
    return (signature,)


def time_of(text: str, name: str) -> int:
    """Whole seconds since 1970 in ASCII digits, as Python's int() would also take from much else."""
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
        return int(text)  # most are
    if not _TIME.fullmatch(text):
        raise Malformed(f"{name} is no whole number of up to 15 digits")
    return int(text)


def bytes_of(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise Malformed(f"{name} is not Unicode text") from None
