"""Encrypting and decrypting with a slot's keys, in the token."""

from __future__ import annotations

from keysvc.hsm.operations import Undecryptable
from keysvc.hsm.token import Token
from keysvc.model.errors import DecryptFailed
from keysvc.model.names import CredentialName
from keysvc.model.slots import Kind
from keysvc.service.calls import Caller, Clock
from keysvc.service.envelope import Envelope, context_of
from keysvc.service.live_keys import LiveKeys, wrapped
from keysvc.service.usage import Usage


class Encryption:
    """Thread-safe. Methods raise SlotEmpty, WrongKind, MerchantNotActive, NotFound, Integrity, HsmUnavailable or
    StoreUnavailable."""

    def __init__(self, keys: LiveKeys, token: Token, usage: Usage, now: Clock) -> None:
        self._keys = keys
        self._token = token
        self._usage = usage
        self._now = now

    def encrypt(
        self, caller: Caller, name: CredentialName, plaintext: bytes, additional_data: bytes
    ) -> tuple[bytes, int]:
        """(ciphertext, version) by the slot's current key, bound to the slot, the version and the additional data."""
        key = self._keys.current((name.merchant_id, name.slot), Kind.ENCRYPTION_KEY)
        sealed = self._token.encrypt(wrapped(key), plaintext, context_of(name, key.version, additional_data))
        self._usage.note(name.merchant_id, key.fingerprint, caller.principal, self._now())
        return Envelope(key.version, sealed).to_bytes(), key.version

    def decrypt(
        self, caller: Caller, name: CredentialName, ciphertext: bytes, additional_data: bytes
    ) -> tuple[bytes, int]:
        """(plaintext, version) by the live key that made the ciphertext. Raises DecryptFailed."""
        now = self._now()
        live = self._keys.live((name.merchant_id, name.slot), Kind.ENCRYPTION_KEY, now)
        envelope = Envelope.from_bytes(ciphertext)
        key = next((k for k in live if envelope and k.version == envelope.version), None)
        if envelope is None or key is None:
            raise _undecryptable(name)
        context = context_of(name, key.version, additional_data)
        try:
            plaintext = self._token.decrypt(wrapped(key), envelope.sealed, context)
        except Undecryptable:
            raise _undecryptable(name) from None
        self._usage.note(name.merchant_id, key.fingerprint, caller.principal, now)
        return plaintext, key.version


def _undecryptable(name: CredentialName) -> DecryptFailed:
    return DecryptFailed(f"No live key of {name} decrypts this with this additional data", resource=str(name))
