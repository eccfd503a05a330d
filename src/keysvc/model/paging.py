"""Page tokens: where a list goes on, bound to the list that gave them.

A token is no secret and grants nothing (the list is authorised anew for each page); what is checked
is that it came from this service and for this very list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from keysvc.model.errors import InvalidField

_CHECK_BYTES = 8


def page_size(requested: int, default: int, maximum: int) -> int:
    """The size to use; raises InvalidField where it is negative. Larger than `maximum` is `maximum` (AIP-158)."""
    if requested < 0:
        raise InvalidField("page_size", "must not be negative")
    return min(requested or default, maximum)


def encode_page_token(list_name: str, last_id: str) -> str:
    """`list_name` names the rpc and the parent; `last_id` is the last row of this page."""
    return base64.urlsafe_b64encode(_check(list_name, last_id) + last_id.encode()).decode("ascii")


def decode_page_token(list_name: str, token: str) -> str | None:
    """The id after which the page starts, None at the beginning; raises InvalidField."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        last_id = raw[_CHECK_BYTES:].decode("ascii")
    except (ValueError, binascii.Error):
        raise _foreign() from None
    if raw[:_CHECK_BYTES] != _check(list_name, last_id) or not re.fullmatch(r"[A-Za-z0-9 _-]{1,160}", last_id):
        raise _foreign()
    return last_id


def _check(list_name: str, last_id: str) -> bytes:
    return hashlib.sha256(f"keysvc page\n{list_name}\n{last_id}".encode()).digest()[:_CHECK_BYTES]


def _foreign() -> InvalidField:
    return InvalidField("page_token", "is not of this list; start again without it")
