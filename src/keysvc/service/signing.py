"""Signing for a merchant: MACs and webhooks."""

from __future__ import annotations

from keysvc.hsm.token import Token
from keysvc.model.errors import WrongKind
from keysvc.model.slots import HmacAlgorithm, Kind
from keysvc.service.calls import Caller, Clock
from keysvc.service.live_keys import LiveKeys, Named, wrapped
from keysvc.service.usage import Usage
from keysvc.service.views import LiveKey
from keysvc.webhooks import writing
from keysvc.webhooks.schemes import Draft, Scheme, Signed


class Signing:
    """Thread-safe. Methods raise SlotEmpty, WrongKind, MerchantNotActive, NotFound, Integrity, HsmUnavailable or
    StoreUnavailable."""

    def __init__(self, keys: LiveKeys, token: Token, usage: Usage, now: Clock) -> None:
        self._keys = keys
        self._token = token
        self._usage = usage
        self._now = now

    def generate_hmac(self, caller: Caller, name: Named, message: bytes) -> tuple[bytes, LiveKey]:
        """By the current key of the slot, or of the first of the pair that holds one."""
        key = self._keys.current(name, Kind.HMAC_KEY)
        if key.algorithm is not None and not key.algorithm.may_sign:
            raise WrongKind(f"{key.name} holds an {key.algorithm} key, which only verifies: renew it to sign")
        mac = self._token.hmac(wrapped(key), message)
        self._note(caller, name, key)
        return mac, key

    def sign_webhook(self, caller: Caller, name: Named, scheme: Scheme, draft: Draft) -> tuple[Signed, list[LiveKey]]:
        """With the keys that signed. Raises InvalidField for a draft that the scheme cannot sign."""
        keys = self._signers(name, scheme)
        message = writing.message(scheme, draft)
        macs = self._token.hmacs([(wrapped(key), [message]) for key in keys])
        # Signing beside the first is for receivers that have not moved yet, and tells nothing of them.
        self._note(caller, name, keys[0])
        return writing.write(scheme, draft, macs), keys

    def _signers(self, name: Named, scheme: Scheme) -> list[LiveKey]:
        if scheme in writing.CARRIES_SEVERAL:
            keys = self._keys.live(name, Kind.HMAC_KEY, self._now())
        else:
            keys = [self._keys.current(name, Kind.HMAC_KEY)]
        if keys[0].algorithm is not HmacAlgorithm.HMAC_SHA256:
            raise WrongKind(
                f"{keys[0].name} holds an {keys[0].algorithm} key, and webhooks are signed with HMAC_SHA256"
            )
        return [key for key in keys if key.algorithm is HmacAlgorithm.HMAC_SHA256]

    def _note(self, caller: Caller, name: Named, key: LiveKey) -> None:
        self._usage.note(name[0], key.fingerprint, caller.principal, self._now())
