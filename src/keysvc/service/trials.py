"""What every verification is made of: which keys to try, and what follows from a match or from none."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from keysvc.model.errors import Integrity
from keysvc.model.records import MerchantState
from keysvc.model.slots import Kind
from keysvc.service.calls import Caller, Clock
from keysvc.service.failures import FailureLimit
from keysvc.service.live_keys import LiveKeys, Named
from keysvc.service.usage import Usage
from keysvc.service.views import LiveKey


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


class Trial(NamedTuple):
    """A question with the keys to try, of which there is at least one, or a slot that is broken."""

    attempt: tuple[str, str]
    """The caller and the merchant: what failures are counted by."""
    keys: list[LiveKey]
    broken: Integrity | None
    now: datetime


class Trials:
    """Thread-safe. Callers refresh the cache first."""

    def __init__(self, keys: LiveKeys, usage: Usage, failures: FailureLimit, now: Clock) -> None:
        """`failures` limits wrong signatures by caller and merchant."""
        self._keys = keys
        self._usage = usage
        self._failures = failures
        self._now = now

    def begin(self, caller: Caller, name: Named, kind: Kind) -> Trial | Verdict:
        """The verdict where there is nothing to try.

        Raises NotFound, WrongKind, TooManyFailures, Integrity, HsmUnavailable or StoreUnavailable.
        """
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
        return Trial(attempt, keys, broken, now)

    def matched(self, trial: Trial, key: LiveKey, times: int = 1) -> Verdict:
        """`times` is how many were presented that this key matched."""
        principal, merchant_id = trial.attempt
        self._usage.note(merchant_id, key.fingerprint, principal, trial.now, times)
        return Verdict(Result.VALID, key)

    def unmatched(self, trial: Trial) -> Verdict:
        """After all keys were tried. Raises Integrity, since a key of an altered slot might have matched.

        Raises TooManyFailures where others, of the same batch perhaps, have failed too often since it began.
        """
        if trial.broken is not None:
            raise trial.broken.with_traceback(None)  # it is remembered, and must not remember its callers
        self._failures.check(trial.attempt)
        self._failures.failed(trial.attempt)
        return _INVALID
