"""The ciphertext as callers keep it: which key version made it, and what it is bound to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from keysvc.hsm.operations import NONCE_BYTES, TAG_BITS
from keysvc.model.names import CredentialName

_FORMAT = 1
_HEADER_BYTES = 5
_MIN_SEALED_BYTES = NONCE_BYTES + TAG_BITS // 8
OVERHEAD_BYTES = _HEADER_BYTES + _MIN_SEALED_BYTES
"""How much longer a ciphertext is than its plaintext."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One byte of format (1), four of the key's version, big-endian; then nonce (12), ciphertext and tag (16)."""

    version: int
    sealed: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        return bytes([_FORMAT]) + self.version.to_bytes(4, "big") + self.sealed

    @classmethod
    def from_bytes(cls, raw: bytes) -> Envelope | None:
        """None for what `to_bytes` never made."""
        if len(raw) < OVERHEAD_BYTES or raw[0] != _FORMAT:
            return None
        return cls(int.from_bytes(raw[1:_HEADER_BYTES], "big"), raw[_HEADER_BYTES:])


def context_of(name: CredentialName, version: int, additional_data: bytes) -> bytes:
    """The GCM additional data: the slot and version, ended by a byte that stands in no name, then the caller's own."""
    return f"{name}@{version}\n".encode() + additional_data
