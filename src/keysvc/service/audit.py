"""The audit record's signatures: the chain's end, signed by the token's audit key."""

from __future__ import annotations

from keysvc.hsm.keyring import Purpose
from keysvc.hsm.token import Token
from keysvc.model.audit import head_bytes


class AuditSigner:
    """Signs the chain's end. Thread-safe. Raises HsmUnavailable when the token cannot answer."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def __call__(self, sequence: int, digest: str) -> tuple[int, bytes]:
        """(generation of the audit key, HMAC-SHA256)"""
        generation = self._token.newest(Purpose.AUDIT)
        return generation, self._token.keyed_digest(Purpose.AUDIT, generation, head_bytes(sequence, digest))
