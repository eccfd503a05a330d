"""Secrets that must not be found: every way in which one could have been written down, and the search for them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_encoding

_WINDOW = 8
"""Bytes. Shorter secrets could be met by chance."""


class Vault:
    """What to look for, with a label that says what it is without telling it."""

    def __init__(self) -> None:
        self._forms: dict[bytes, dict[bytes, str]] = {}

    def watch(self, label: str, *secrets: str | bytes) -> None:
        """As it is, in hexadecimal, in base64, and as programs print bytes."""
        for secret in secrets:
            raw = secret.encode() if isinstance(secret, str) else secret
            for form_label, form in forms(raw).items():
                self._forms.setdefault(form[:_WINDOW], {}).setdefault(form, f"{label}, {form_label}")

    def found_in(self, data: bytes) -> list[str]:
        """The labels of what stands in `data`."""
        # One pass over the data: there are thousands of forms, and a search for each would take minutes.
        starts = {data[i : i + _WINDOW] for i in range(len(data) - _WINDOW + 1)} & self._forms.keys()
        return sorted(label for start in starts for form, label in self._forms[start].items() if form in data)

    def found_under(self, files: Iterable[Path]) -> list[str]:
        """The labels, each with the name of the file."""
        return [f"{label}, in {file.name}" for file in files for label in self.found_in(file.read_bytes())]


def forms(raw: bytes) -> dict[str, bytes]:
    """Raises ValueError for a secret that is too short to look for."""
    if len(raw) < _WINDOW:
        raise ValueError(f"a secret of {len(raw)} bytes could be found by chance")
    return {
        "as it is": raw,
        "in hexadecimal": raw.hex().encode(),
        "in upper-case hexadecimal": raw.hex().upper().encode(),
        "in base64": base64.b64encode(raw).rstrip(b"="),
        "in base64url": base64.urlsafe_b64encode(raw).rstrip(b"="),
        "as Python prints it": repr(raw)[2:-1].encode(),
        "as protobuf prints it": text_encoding.CEscape(raw, as_utf8=False).encode(),
    }
