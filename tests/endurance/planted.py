"""One word that is in every secret that a fuzzed call presents, and the search for it in every form."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from endurance.vault import forms

WORD = b"Kx9PlantedQz!"
KEY = WORD.ljust(32, b"~")
PASSWORD = (WORD + b"~~~").hex().upper()
TEXT = (WORD + b"~").decode() * 3
SECRET_FIELDS = frozenset(
    {
        "secret", "sealed_secret", "api_key", "mac", "message", "plaintext", "ciphertext", "additional_data", "body",
        "url", "headers", "fields",
    }
)  # fmt: skip
"""By their names, also in the requests that a request holds."""
# Within a base64 text the word starts at any of three places in a group: what does not depend on its neighbours counts.
_FORMS = {
    *forms(WORD).values(),
    *(base64.b64encode(b"\0" * shift + WORD)[4 if shift else 0 : 16].strip(b"=") for shift in range(3)),
}


def stands_in(data: bytes) -> bool:
    return any(form in data for form in _FORMS)


def strayed(message: type[Message], raw: bytes) -> bool:
    """Whether mutated bytes have the word where a caller may write what is kept, such as in a request_id."""
    try:
        parsed = message.FromString(raw)
    except DecodeError:
        return False
    _clear(parsed)
    parsed.DiscardUnknownFields()
    return stands_in(parsed.SerializeToString())


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _clear(message: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        text = is_map(field) or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
        if field.name in SECRET_FIELDS and text:
            message.ClearField(field.name)
        elif field.is_repeated and field.message_type is not None and not is_map(field):
            for each in getattr(message, field.name):
                _clear(each)
