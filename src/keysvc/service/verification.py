"""The uses of a key: sign, verify, encrypt, decrypt. The hot path.

Callers refresh the cache first. Only a wrong signature is INVALID: what keysvc cannot answer is an
error, and never a guess.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from keysvc.hsm.keys import WrappedKey
from keysvc.hsm.operations import Undecryptable
from keysvc.hsm.token import Token
from keysvc.model.errors import DecryptFailed, Integrity, SlotEmpty, WrongKind
from keysvc.model.merchants import no_merchant, require_active
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.records import MerchantState
from keysvc.model.slots import RULES, Kind, Slot
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller, Clock
from keysvc.service.digests import Digester
from keysvc.service.envelope import Envelope, context_of
from keysvc.service.failures import FailureLimit
from keysvc.service.material import API_KEY_USE
from keysvc.service.usage import Usage
from keysvc.service.views import LiveKey, MerchantView, SlotView


class Result(StrEnum):
    """What a verification found, by its name on the wire."""

    VALID = "VALID"
    INVALID = "INVALID"
    NO_LIVE_KEY = "NO_LIVE_KEY"
    MERCHANT_NOT_ACTIVE = "MERCHANT_NOT_ACTIVE"


class Verdict(NamedTuple):
    """A result, with the key that matched where one did. A tuple, since every call makes one."""

    result: Result
    key: LiveKey | None = None


_INVALID = Verdict(Result.INVALID)
_NO_LIVE_KEY = Verdict(Result.NO_LIVE_KEY)
_MERCHANT_NOT_ACTIVE = Verdict(Result.MERCHANT_NOT_ACTIVE)


Named = tuple[str, Slot | None]
"""A merchant's id, and the one slot that is asked for; None stands for the merchant's pair."""


class Verification:
    """Thread-safe. Methods raise NotFound, WrongKind, Integrity, HsmUnavailable or StoreUnavailable; those that verify,
    TooManyFailures too."""

    def __init__(
        self, cache: Cache, token: Token, digester: Digester, usage: Usage, failures: FailureLimit, now: Clock
    ) -> None:
        """`failures` limits wrong signatures by caller and merchant."""
        self._cache = cache
        self._failures = failures
        self._token = token
        self._digester = digester
        self._usage = usage
        self._now = now

    def verify_hmac(self, caller: Caller, name: Named, message: bytes, mac: bytes) -> Verdict:
        """Tries every live key of the slot, or of the merchant's pair."""

        def matches(key: LiveKey) -> bool:
            return hmac.compare_digest(self._token.hmac(_wrapped(key), message), mac)

        return self._verify(caller, name, Kind.HMAC_KEY, matches)

    def verify_api_key(self, caller: Caller, name: Named, api_key: str) -> Verdict:
        """Tries every live secret of the slot, or of the merchant's two REST API keys."""

        def matches(key: LiveKey) -> bool:
            return self._digester.matches(API_KEY_USE, key.name, api_key, key.digest, key.generation)

        return self._verify(caller, name, Kind.BEARER_SECRET, matches)

    def generate_hmac(self, merchant_id: str, slot: Slot | None, message: bytes) -> tuple[bytes, LiveKey]:
        """By the current key of the slot, or of the first of the pair that holds one."""
        key = self._current(merchant_id, slot, Kind.HMAC_KEY)
        if key.algorithm is not None and not key.algorithm.may_sign:
            raise WrongKind(f"{key.name} holds an {key.algorithm} key, which only verifies: renew it to sign")
        mac = self._token.hmac(_wrapped(key), message)
        self._note(merchant_id, key, self._now())
        return mac, key

    def encrypt(self, name: CredentialName, plaintext: bytes, additional_data: bytes) -> tuple[bytes, int]:
        """(ciphertext, version) by the slot's current key, bound to the slot, the version and the additional data."""
        key = self._current(name.merchant_id, name.slot, Kind.ENCRYPTION_KEY)
        sealed = self._token.encrypt(_wrapped(key), plaintext, context_of(name, key.version, additional_data))
        self._note(name.merchant_id, key, self._now())
        return Envelope(key.version, sealed).to_bytes(), key.version

    def decrypt(self, name: CredentialName, ciphertext: bytes, additional_data: bytes) -> tuple[bytes, int]:
        """(plaintext, version) by the live key that made the ciphertext. Raises DecryptFailed."""
        view = self._merchant(name.merchant_id)
        asked = self._asked(view, name.slot, Kind.ENCRYPTION_KEY)
        require_active(view.record)
        live = self._live(asked)
        if not live:
            raise _empty(str(name))
        envelope = Envelope.from_bytes(ciphertext)
        key = next((k for k in live if envelope and k.version == envelope.version), None)
        if envelope is None or key is None:
            raise _undecryptable(name)
        try:
            plaintext = self._token.decrypt(
                _wrapped(key), envelope.sealed, context_of(name, key.version, additional_data)
            )
        except Undecryptable:
            raise _undecryptable(name) from None
        self._note(name.merchant_id, key, self._now())
        return plaintext, key.version

    def _verify(self, caller: Caller, name: Named, kind: Kind, matches: Callable[[LiveKey], bool]) -> Verdict:
        merchant_id, slot = name
        attempt = (caller.principal, merchant_id)
        self._failures.check(attempt)
        view = self._merchant(merchant_id)
        asked = self._asked(view, slot, kind)
        if view.record.state is not MerchantState.ACTIVE:
            return _MERCHANT_NOT_ACTIVE
        verdict = _NO_LIVE_KEY
        broken: Integrity | None = None
        for slot_view in asked:
            broken = broken or slot_view.broken
            for key in slot_view.keys:
                now = self._now()
                if not key.live(now):
                    continue
                verdict = _INVALID
                if matches(key):
                    self._note(merchant_id, key, now)
                    return Verdict(Result.VALID, key)
        if broken is not None:
            raise broken  # a key of the altered slot might have matched
        if verdict is _INVALID:
            self._failures.failed(attempt)
        return verdict

    def _current(self, merchant_id: str, slot: Slot | None, kind: Kind) -> LiveKey:
        view = self._merchant(merchant_id)
        asked = self._asked(view, slot, kind)
        require_active(view.record)
        for slot_view in asked:
            if slot_view.broken is not None:
                raise slot_view.broken
            if slot_view.keys:
                return slot_view.keys[0]
        raise _empty(str(CredentialName(merchant_id, slot)) if slot else merchant_name(merchant_id))

    def _live(self, asked: list[SlotView]) -> list[LiveKey]:
        now = self._now()
        live = []
        for slot_view in asked:
            if slot_view.broken is not None:
                raise slot_view.broken
            live += [key for key in slot_view.keys if key.live(now)]
        return live

    def _merchant(self, merchant_id: str) -> MerchantView:
        view = self._cache.merchant(merchant_id)
        if view is None:
            raise no_merchant(merchant_id)
        return view

    @staticmethod
    def _asked(view: MerchantView, slot: Slot | None, kind: Kind) -> list[SlotView]:
        if slot is None:
            return view.pairs[kind]
        if RULES[slot].kind is not kind:
            raise WrongKind(f"{slot} holds a {RULES[slot].kind}, and this needs a {kind}", slot=slot)
        return [view.slots[slot]] if slot in view.slots else []

    def _note(self, merchant_id: str, key: LiveKey, now: datetime) -> None:
        self._usage.note(merchant_id, key.slot, key.version, now)


def _wrapped(key: LiveKey) -> WrappedKey:
    if key.wrapped is None:
        raise ValueError(f"{key.name} has no key in the token")
    return key.wrapped


def _empty(name: str) -> SlotEmpty:
    return SlotEmpty(f"{name} holds no key: create one first", resource=name)


def _undecryptable(name: CredentialName) -> DecryptFailed:
    return DecryptFailed(f"No live key of {name} decrypts this with this additional data", resource=str(name))
