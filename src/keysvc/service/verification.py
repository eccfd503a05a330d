"""Verifying what others present: MACs, bearer secrets, webhooks. The hot path.

Only a wrong signature is INVALID: what keysvc cannot answer is an error, and never a guess.
"""

from __future__ import annotations

import hmac
from datetime import timedelta

from keysvc.hsm.token import Token
from keysvc.model.errors import WrongKind
from keysvc.model.slots import HmacAlgorithm, Kind
from keysvc.service.calls import Caller
from keysvc.service.digests import Digester
from keysvc.service.live_keys import Named, wrapped
from keysvc.service.material import API_KEY_USE
from keysvc.service.trials import Result, Trials, Verdict
from keysvc.webhooks.reading import fresh, read
from keysvc.webhooks.schemes import Delivery, Malformed, Scheme

_MALFORMED = Verdict(Result.MALFORMED_SIGNATURE)


class Verification:
    """Thread-safe. Callers refresh the cache first. Methods raise as `Trials` does."""

    def __init__(self, trials: Trials, token: Token, digester: Digester) -> None:
        self._trials = trials
        self._token = token
        self._digester = digester

    def verify_hmac(self, caller: Caller, name: Named, message: bytes, mac: bytes) -> Verdict:
        """Tries every live key of the slot, or of the merchant's pair."""
        trial = self._trials.begin(caller, name, Kind.HMAC_KEY)
        if isinstance(trial, Verdict):
            return trial
        for key in trial.keys:
            if hmac.compare_digest(self._token.hmac(wrapped(key), message), mac):
                return self._trials.matched(trial, key)
        return self._trials.unmatched(trial)

    def verify_api_key(self, caller: Caller, name: Named, api_key: str) -> Verdict:
        """Tries every live secret of the slot, or of the merchant's two REST API keys."""
        trial = self._trials.begin(caller, name, Kind.BEARER_SECRET)
        if isinstance(trial, Verdict):
            return trial
        for key in trial.keys:
            if self._digester.matches(API_KEY_USE, key.bound_to, api_key, key.digest, key.generation):
                return self._trials.matched(trial, key)
        return self._trials.unmatched(trial)

    def verify_webhook(
        self, caller: Caller, name: Named, scheme: Scheme, delivery: Delivery, tolerance: timedelta
    ) -> Verdict:
        """Tries every live HMAC_SHA256 key with every signature. Raises InvalidField where the scheme needs more."""
        trial = self._trials.begin(caller, name, Kind.HMAC_KEY)
        if isinstance(trial, Verdict):
            return trial
        fitting = [key for key in trial.keys if key.algorithm is HmacAlgorithm.HMAC_SHA256]
        if trial.keys and not fitting:
            raise WrongKind("Webhooks are signed with HMAC_SHA256, and no live key here is one: create or renew one")
        try:
            claim = read(scheme, delivery)
        except Malformed:
            return _MALFORMED
        for key in fitting:
            right = self._token.hmac(wrapped(key), claim.message)
            for signature in claim.signatures:
                if hmac.compare_digest(right, signature):
                    verdict = self._trials.matched(trial, key)
                    return verdict if fresh(claim, trial.now, tolerance) else Verdict(Result.STALE_TIMESTAMP, key)
        return self._trials.unmatched(trial)
