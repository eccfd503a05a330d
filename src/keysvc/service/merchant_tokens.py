"""Merchants' Lib Lite tokens: bearer secrets, of which several are live at once. Made, listed, revoked, verified.

"Token" alone means the PKCS#11 token here. A merchant's Lib Lite tokens stand in one record under one MAC, so
that none can be put back by itself after it ended.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from keysvc.hsm.token import Token
from keysvc.model import secrets
from keysvc.model.errors import AlreadyExists, Integrity, InvalidField, NotFound, TooManyTokens
from keysvc.model.merchants import no_merchant, require_active
from keysvc.model.names import TokenName, check_id, merchant_name, tokens_name
from keysvc.model.records import Holdings, MerchantState, MerchantToken, TokenSetRecord
from keysvc.model.secrets import SecretText
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller, Clock, record, refuse_repeat
from keysvc.service.digests import Digester
from keysvc.service.failures import FailureLimit
from keysvc.service.integrity import Sealer
from keysvc.service.trials import Result
from keysvc.store.changes import Change
from keysvc.store.store import Store

MAX_LIVE = 20
MAX_LIFE = timedelta(days=3653)
"""Ten years, whichever leap days they have."""
USE = "merchant-token"
_SECRET_BYTES = 32
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class NewToken:
    """What a caller says of a token that is to be made. An empty id is made up here; no `expire_time` is never."""

    merchant_id: str
    token_id: str = ""
    expire_time: datetime | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token as it is shown. `record` is None where what stood there was altered, and is not repeated."""

    name: TokenName
    record: MerchantToken | None


class TokenVerdict(NamedTuple):
    """A result, with the token that matched where one did."""

    result: Result
    name: TokenName | None = None


class MerchantTokens:
    """The use cases of TokenService. Thread-safe. Callers of `verify` refresh the cache first."""

    def __init__(  # noqa: PLR0913, PLR0917 - what changes need, and what verification needs
        self,
        store: Store,
        cache: Cache,
        token: Token,
        sealer: Sealer,
        digester: Digester,
        failures: FailureLimit,
        now: Clock,
    ) -> None:
        """`failures` limits the wrong secrets of each caller and merchant."""
        self._store = store
        self._cache = cache
        self._token = token
        self._sealer = sealer
        self._digester = digester
        self._failures = failures
        self._now = now

    def create(self, caller: Caller, new: NewToken) -> tuple[TokenView, SecretText]:
        """Live at once. The answer is the only place where the secret ever stands.

        Raises AlreadyExists, TooManyTokens, MerchantNotActive, RequestAlreadyDone, InvalidField or Integrity.
        """
        name = TokenName(new.merchant_id, check_id(new.token_id or self._token.random(_ID_BYTES).hex(), "token_id"))
        with self._store.change() as change:
            caller.check_deadline()
            refuse_repeat(change, caller, new.request_id)
            now = self._now()
            expire_time = _expire_time(new.expire_time, now)
            holdings = _holdings(change.holdings(new.merchant_id), new.merchant_id)
            self._sealer.check(holdings.merchant, merchant_name(new.merchant_id))
            if holdings.tokens is not None:
                self._sealer.check(holdings.tokens, tokens_name(new.merchant_id))
            require_active(holdings.merchant)
            live = _live(holdings.tokens, now)
            _require_room(live, name)
            made, secret = self._make(name, now, expire_time)
            self._put(change, holdings, [*live, made])
            record(change, caller, str(name), request_id=new.request_id, time=now)
        return TokenView(name, made), secret

    def list(self, merchant_id: str) -> list[TokenView]:
        """The live ones, by id. Unchecked as all views, so that it answers while the token is out of reach."""
        holdings = _holdings(self._store.holdings(merchant_id), merchant_id)
        live = _live(holdings.tokens, self._now())
        return [TokenView(TokenName(merchant_id, each.token_id), each) for each in live]

    def revoke(self, caller: Caller, name: TokenName, request_id: str = "") -> TokenView:
        """Ends a live token. Raises NotFound or RequestAlreadyDone.

        Where the merchant's tokens were altered, revoking any erases all of them: which there were nobody can
        know, and none of them is accepted as they stand. The audit record then names them all, and the one.
        """
        with self._store.change() as change:
            refuse_repeat(change, caller, request_id)
            now = self._now()
            holdings = _holdings(change.holdings(name.merchant_id), name.merchant_id)
            if self._altered(holdings.tokens):
                ended = None
                change.delete_tokens(name.merchant_id)
                record(change, caller, tokens_name(name.merchant_id), time=now)
            else:
                live = _live(holdings.tokens, now)
                ended = _named(live, name)
                self._put(change, holdings, [each for each in live if each is not ended])
            record(change, caller, str(name), request_id=request_id, time=now)
        return TokenView(name, ended)

    def verify(self, caller: Caller, merchant_id: str, token_id: str | None, secret: str) -> TokenVerdict:
        """Tries all live tokens of the merchant, or the one. Raises TooManyFailures, NotFound or Integrity."""
        attempt = (caller.principal, merchant_id)
        self._failures.check(attempt)
        verdict = self._verify(merchant_id, token_id, secret)
        if verdict.result is Result.INVALID:
            self._failures.failed(attempt)
        return verdict

    def _verify(self, merchant_id: str, token_id: str | None, secret: str) -> TokenVerdict:
        view = self._cache.merchant(merchant_id)
        if view is None:
            raise no_merchant(merchant_id)
        if view.record.state is not MerchantState.ACTIVE:
            return TokenVerdict(Result.MERCHANT_NOT_ACTIVE)
        if view.tokens.broken is not None:
            raise view.tokens.broken.with_traceback(None)  # it is remembered, and must not remember its callers
        now = self._now()
        tried = [each for each in view.tokens.tokens if each.live(now) and token_id in (None, each.token_id)]
        if not tried:
            return TokenVerdict(Result.NO_LIVE_KEY)
        matched = self._matching(merchant_id, tried, secret)
        if matched is None:
            return TokenVerdict(Result.INVALID)
        return TokenVerdict(Result.VALID, TokenName(merchant_id, matched.token_id))

    def _matching(self, merchant_id: str, tried: Iterable[MerchantToken], secret: str) -> MerchantToken | None:
        """One digest for each generation: digests are bound to the merchant, and not to a token's id."""
        resource = merchant_name(merchant_id)
        presented = {
            generation: self._digester.remake(generation, USE, resource, secret)
            for generation in {each.generation for each in tried}
        }
        matched = None
        for each in tried:  # to the end, so that time does not tell which one matched
            digest = presented[each.generation]
            if digest is not None and hmac.compare_digest(digest.hex(), each.digest):
                matched = each
        return matched

    def _make(self, name: TokenName, now: datetime, expire_time: datetime | None) -> tuple[MerchantToken, SecretText]:
        text = secrets.new_text_key(self._token.random(_SECRET_BYTES)).decode("ascii")
        digest, generation = self._digester.make(USE, merchant_name(name.merchant_id), text)
        fingerprint = self._digester.fingerprint(str(name), digest)
        made = MerchantToken(name.token_id, digest.hex(), generation, fingerprint, now, expire_time)
        return made, SecretText(text)

    def _altered(self, tokens: TokenSetRecord | None) -> bool:
        if tokens is None:
            return False
        try:
            self._sealer.check(tokens, tokens_name(tokens.merchant_id))
        except Integrity:
            return True
        return False

    def _put(self, change: Change, holdings: Holdings, live: Iterable[MerchantToken]) -> None:
        """Only live ones are given, so those that expired are erased by every writing."""
        change.put_tokens(
            self._sealer.seal(
                TokenSetRecord(
                    merchant_id=holdings.merchant.merchant_id,
                    tokens=tuple(sorted(live, key=lambda each: each.token_id)),
                    revision=(holdings.tokens.revision if holdings.tokens else 0) + 1,
                )
            )
        )


def _live(tokens: TokenSetRecord | None, now: datetime) -> list[MerchantToken]:
    """By id, as they are written."""
    return [each for each in tokens.tokens if each.live(now)] if tokens else []


def _named(live: Iterable[MerchantToken], name: TokenName) -> MerchantToken:
    found = next((each for each in live if each.token_id == name.token_id), None)
    if found is None:
        raise NotFound(f"There is no live token {name}", resource=str(name))
    return found


def _require_room(live: list[MerchantToken], name: TokenName) -> None:
    if any(each.token_id == name.token_id for each in live):
        raise AlreadyExists(f"{name} is there already: revoke it first, or choose another id", resource=str(name))
    if len(live) >= MAX_LIVE:
        resource = merchant_name(name.merchant_id)
        raise TooManyTokens(f"{resource} has {MAX_LIVE} live tokens: revoke one first", resource=resource)


def _expire_time(wanted: datetime | None, now: datetime) -> datetime | None:
    if wanted is not None and not now < wanted <= now + MAX_LIFE:
        raise InvalidField("expire_time", "must be in the future, and within 10 years")
    return wanted


def _holdings(holdings: Holdings | None, merchant_id: str) -> Holdings:
    if holdings is None:
        raise no_merchant(merchant_id)
    return holdings
