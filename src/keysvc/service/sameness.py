"""Whether a slot holds the secret that is offered: asked of the token, which alone can tell of what it wrapped."""

from __future__ import annotations

from keysvc.hsm.keys import KeyShape, WrappedKey
from keysvc.hsm.operations import Undecryptable
from keysvc.hsm.token import Token
from keysvc.model.names import CredentialName
from keysvc.model.records import KeyRecord
from keysvc.model.slots import Kind
from keysvc.service.digests import Digester
from keysvc.service.material import API_KEY_USE, Fresh

_QUESTION = b"keysvc: are these two the same key"


class Sameness:
    """Methods raise HsmUnavailable when the token cannot answer, and TokenLacks where it cannot be asked."""

    def __init__(self, token: Token, digester: Digester) -> None:
        self._token = token
        self._digester = digester

    def of_bearer(self, held: KeyRecord, offered: str) -> bool:
        """By its digest, which is bound to the slot that it was made in."""
        bound_to = str(CredentialName(held.merchant_id, held.made_in or held.slot))
        return self._digester.matches(API_KEY_USE, bound_to, offered, held.material, held.generation)

    def of_key(self, held: KeyRecord, offered: Fresh) -> bool:
        """By what both are once they are wrapped, or by what both make of one text. Neither leaves the token."""
        if held.hmac_algorithm is not offered.recipe.algorithm:
            return False
        if (held.generation, held.material) == (offered.generation, offered.material):
            return True
        mine, other = _wrapped(held), _offered(offered)
        if held.kind is Kind.HMAC_KEY:
            first, second = self._token.hmacs([(mine, [_QUESTION]), (other, [_QUESTION])])
            same = first == second
        else:
            same = self._opens(other, self._token.encrypt(mine, b"", _QUESTION))
        self._token.forget([other.ident])
        return same

    def _opens(self, key: WrappedKey, sealed: bytes) -> bool:
        try:
            self._token.decrypt(key, sealed, _QUESTION)
        except Undecryptable:
            return False
        return True


def _wrapped(held: KeyRecord) -> WrappedKey:
    return WrappedKey(held.mac, KeyShape(held.hmac_algorithm), held.material, held.generation)


def _offered(fresh: Fresh) -> WrappedKey:
    return WrappedKey(("offered", fresh.material), fresh.recipe.shape, fresh.material, fresh.generation)
