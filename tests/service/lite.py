"""Lib Lite tokens in short words, beside the kit of `service.parts`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from support.databases import Row

from keysvc.model.errors import KeysvcError
from keysvc.model.names import TokenName
from keysvc.service.calls import Caller
from keysvc.service.digests import Digester
from keysvc.service.failures import FailureLimit
from keysvc.service.merchant_tokens import MerchantTokens, NewToken
from service.parts import CALLER, Service

FAILURES = 5
"""A minute. More than most tests make."""
SET = "merchants/m/tokens"
WRONG = "A" * 43


@dataclass(frozen=True)
class Tokens:
    """The use cases in short words, for merchant `m` where no other is named."""

    service: Service
    cases: MerchantTokens

    def create(self, token_id: str = "", ttl: timedelta | None = None, merchant_id: str = "m") -> str:
        """Returns the secret."""
        expire_time = None if ttl is None else self.service.clock() + ttl
        _, secret = self.cases.create(CALLER, NewToken(merchant_id, token_id, expire_time))
        return secret.reveal()

    def revoke(self, token_id: str, merchant_id: str = "m") -> None:
        self.cases.revoke(CALLER, TokenName(merchant_id, token_id))

    def verify(self, secret: str, token_id: str | None = None, merchant_id: str = "m", caller: Caller = CALLER) -> str:
        """The result's name, and for a match the token's id behind it; or the refusal's name."""
        self.service.cache.refresh()
        try:
            result, name = self.cases.verify(caller, merchant_id, token_id, secret)
        except KeysvcError as error:
            return type(error).__name__
        return f"{result} {name.token_id}" if name else str(result)

    def ids(self, merchant_id: str = "m") -> list[str]:
        """As they are listed."""
        return [view.name.token_id for view in self.cases.list(merchant_id)]

    def stored(self) -> list[dict[str, Any]]:
        """What stands in the one row."""
        found: list[dict[str, Any]] = json.loads(self.row()["tokens"])
        return found

    def row(self, merchant_id: str = "m") -> Row:
        return self.service.row("merchant_token_set", f"merchant_id = '{merchant_id}'")


def tokens_of(service: Service, digester: Digester | None = None) -> Tokens:
    failures = FailureLimit("verifications of tokens", FAILURES)
    cases = MerchantTokens(
        service.store, service.cache, service.token, service.sealer, digester or service.digester, failures,
        service.clock,
    )  # fmt: skip
    return Tokens(service, cases)
