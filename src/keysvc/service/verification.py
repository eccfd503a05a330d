"""Verifying what others present: MACs, bearer secrets, webhooks. The hot path.

Callers refresh the cache first. Only a wrong signature is INVALID: what keysvc cannot answer is an
error, and never a guess.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from keysvc.hsm.token import Token
from keysvc.model.errors import HsmUnavailable, Integrity, KeysvcError, WrongKind
from keysvc.model.records import MerchantState
from keysvc.model.slots import HmacAlgorithm, Kind
from keysvc.service.calls import Caller, Clock
from keysvc.service.digests import Digester
from keysvc.service.failures import FailureLimit
from keysvc.service.live_keys import LiveKeys, Named, wrapped
from keysvc.service.material import API_KEY_USE
from keysvc.service.usage import Usage
from keysvc.service.views import LiveKey
from keysvc.webhooks.reading import fresh, read
from keysvc.webhooks.schemes import Delivery, Malformed, Scheme


class Result(StrEnum):
    """What a verification found, by its name on the wire."""

    VALID = "VALID"
    INVALID = "INVALID"
    NO_LIVE_KEY = "NO_LIVE_KEY"
    MERCHANT_NOT_ACTIVE = "MERCHANT_NOT_ACTIVE"
    STALE_TIMESTAMP = "STALE_TIMESTAMP"
    MALFORMED_SIGNATURE = "MALFORMED_SIGNATURE"


class Verdict(NamedTuple):
    """A result, with the key that matched where one did. A tuple, since every call makes one."""

    result: Result
    key: LiveKey | None = None


_INVALID = Verdict(Result.INVALID)
_NO_LIVE_KEY = Verdict(Result.NO_LIVE_KEY)
_MERCHANT_NOT_ACTIVE = Verdict(Result.MERCHANT_NOT_ACTIVE)
_MALFORMED = Verdict(Result.MALFORMED_SIGNATURE)


class Presented(NamedTuple):
    """A MAC to verify, of a batch."""

    name: Named
    message: bytes
    mac: bytes


class _Trial(NamedTuple):
    """A question with the keys to try, of which there is at least one, or a slot that is broken."""

    attempt: tuple[str, str]
    """The caller and the merchant: what failures are counted by."""
    keys: list[LiveKey]
    broken: Integrity | None
    now: datetime


class Verification:
    """Thread-safe. Methods raise NotFound, WrongKind, Integrity, HsmUnavailable, StoreUnavailable or
    TooManyFailures."""

    def __init__(
        self, keys: LiveKeys, token: Token, digester: Digester, usage: Usage, failures: FailureLimit, now: Clock
    ) -> None:
        """`failures` limits wrong signatures by caller and merchant."""
        self._keys = keys
        self._failures = failures
        self._token = token
        self._digester = digester
        self._usage = usage
        self._now = now

    def verify_hmac(self, caller: Caller, name: Named, message: bytes, mac: bytes) -> Verdict:
        """Tries every live key of the slot, or of the merchant's pair."""
        trial = self._begin(caller, name, Kind.HMAC_KEY)
        if isinstance(trial, Verdict):
            return trial
        for key in trial.keys:
            if hmac.compare_digest(self._token.hmac(wrapped(key), message), mac):
                return self._matched(trial, key)
        return self._unmatched(trial)

    def verify_hmacs(self, caller: Caller, presented: Sequence[Presented]) -> list[Verdict | KeysvcError]:
        """The same for many, each with a verdict or an error of its own, in their order."""
        answers: list[Verdict | KeysvcError] = [_NO_LIVE_KEY] * len(presented)
        trials: dict[int, _Trial] = {}
        for number, each in enumerate(presented):
            try:
                trial = self._begin(caller, each.name, Kind.HMAC_KEY)
            except KeysvcError as error:
                answers[number] = error
                continue
            if isinstance(trial, Verdict):
                answers[number] = trial
            else:
                trials[number] = trial
        self._try_in_turns(caller, presented, trials, answers)
        return answers

    def verify_api_key(self, caller: Caller, name: Named, api_key: str) -> Verdict:
        """Tries every live secret of the slot, or of the merchant's two REST API keys."""
        trial = self._begin(caller, name, Kind.BEARER_SECRET)
        if isinstance(trial, Verdict):
            return trial
        for key in trial.keys:
            if self._digester.matches(API_KEY_USE, key.bound_to, api_key, key.digest, key.generation):
                return self._matched(trial, key)
        return self._unmatched(trial)

    def verify_webhook(
        self, caller: Caller, name: Named, scheme: Scheme, delivery: Delivery, tolerance: timedelta
    ) -> Verdict:
        """Tries every live HMAC_SHA256 key with every signature. Raises InvalidField where the scheme needs more."""
        trial = self._begin(caller, name, Kind.HMAC_KEY)
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
            if any(hmac.compare_digest(right, signature) for signature in claim.signatures):
                verdict = self._matched(trial, key)
                return verdict if fresh(claim, trial.now, tolerance) else Verdict(Result.STALE_TIMESTAMP, key)
        return self._unmatched(trial)

    def _begin(self, caller: Caller, name: Named, kind: Kind) -> _Trial | Verdict:
        attempt = (caller.principal, name[0])
        self._failures.check(attempt)
        view, asked = self._keys.asked(name, kind)
        if view.record.state is not MerchantState.ACTIVE:
            return _MERCHANT_NOT_ACTIVE
        now = self._now()
        keys = [key for slot_view in asked for key in slot_view.keys if key.live(now)]
        broken = next((slot_view.broken for slot_view in asked if slot_view.broken is not None), None)
        if not keys and broken is None:
            return _NO_LIVE_KEY
        return _Trial(attempt, keys, broken, now)

    def _matched(self, trial: _Trial, key: LiveKey) -> Verdict:
        principal, merchant_id = trial.attempt
        self._usage.note(merchant_id, key.fingerprint, principal, trial.now)
        return Verdict(Result.VALID, key)

    def _unmatched(self, trial: _Trial) -> Verdict:
        if trial.broken is not None:
            raise trial.broken  # a key of the altered slot might have matched
        self._failures.failed(trial.attempt)
        return _INVALID

    def _try_in_turns(
        self,
        caller: Caller,
        presented: Sequence[Presented],
        trials: dict[int, _Trial],
        answers: list[Verdict | KeysvcError],
    ) -> None:
        """First the first key of each, then the second of those left. Each turn is one visit to the token."""
        turn = 0
        while trials:
            asked = [(number, trial.keys[turn]) for number, trial in trials.items() if turn < len(trial.keys)]
            macs = self._macs(caller, [(key, presented[number].message) for number, key in asked])
            for (number, key), mac in zip(asked, macs, strict=True):
                if isinstance(mac, KeysvcError):
                    answers[number] = mac
                    del trials[number]
                elif hmac.compare_digest(mac, presented[number].mac):
                    answers[number] = self._matched(trials.pop(number), key)
            turn += 1
            for number in [number for number, trial in trials.items() if turn >= len(trial.keys)]:
                try:
                    answers[number] = self._unmatched(trials.pop(number))
                except Integrity as error:
                    answers[number] = error

    def _macs(self, caller: Caller, asked: list[tuple[LiveKey, bytes]]) -> list[bytes | KeysvcError]:
        """Halves what fails and asks again, so that a key that the token fails is an error of its own only."""
        try:
            caller.check_deadline()
            return list(self._token.hmacs([(wrapped(key), message) for key, message in asked]))
        except KeysvcError as error:
            if len(asked) <= 1 or not isinstance(error, HsmUnavailable):
                return [error] * len(asked)
        middle = len(asked) // 2
        return self._macs(caller, asked[:middle]) + self._macs(caller, asked[middle:])
