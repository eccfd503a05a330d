"""Resource names, as on the wire: `merchants/{m}`, `merchants/{m}/credentials/{slot}`, `merchants/{m}/tokens/{t}`,
`principals/{p}`. Those of `hsmKeys` are `keysvc.model.hsm_keys`'s."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from keysvc.model.errors import InvalidField
from keysvc.model.slots import Slot

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(
    r"(merchants|principals)/[A-Za-z0-9_-]{1,64}(/(credentials|tokens)/[A-Za-z0-9_-]{1,64})?|hsmKeys/[a-z]{1,16}-[0-9]{1,6}"
)
MAX_NAME = 160
"""Characters of the longest name there is, and a few more."""
ID_RULE = "1-64 of A-Z a-z 0-9 _ -"


@dataclass(frozen=True, slots=True)
class CredentialName:
    """One slot of one merchant."""

    merchant_id: str
    slot: Slot

    def __str__(self) -> str:
        return f"merchants/{self.merchant_id}/credentials/{self.slot.value}"


@dataclass(frozen=True, slots=True)
class TokenName:
    """One Lib Lite token of one merchant."""

    merchant_id: str
    token_id: str

    def __str__(self) -> str:
        return f"{tokens_name(self.merchant_id)}/{self.token_id}"


def tokens_name(merchant_id: str) -> str:
    """All Lib Lite tokens of one merchant, which are stored as one."""
    return f"merchants/{merchant_id}/tokens"


def merchant_name(merchant_id: str) -> str:
    return f"merchants/{merchant_id}"


def principal_name(principal_id: str) -> str:
    return f"principals/{principal_id}"


def merchant_of(name: str) -> str:
    """The merchant's id in the name of a merchant, or of what stands under one; raises InvalidField."""
    merchant_id = _merchant_of(name) if len(name) <= MAX_NAME else None
    if merchant_id is None:
        raise InvalidField("name", f"must be merchants/{{merchant}} or stand under it, the merchant {ID_RULE}")
    return merchant_id


def is_name(name: str) -> bool:
    """Whether it has the form of a resource's name, so that it may be written down."""
    return len(name) <= MAX_NAME and _is_name(name)


# Every call asks these two. What they remember is bounded in number here, and in length by those who ask.
@lru_cache(maxsize=20_000)
def _merchant_of(name: str) -> str | None:
    collection, _, rest = name.partition("/")
    merchant_id = rest.partition("/")[0]
    return merchant_id if collection == "merchants" and _ID.fullmatch(merchant_id) else None


@lru_cache(maxsize=20_000)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def is_id(value: str) -> bool:
    return _ID.fullmatch(value) is not None


def check_id(value: str, field: str) -> str:
    """Returns `value`; raises InvalidField where it is no id."""
    if not is_id(value):
        raise InvalidField(field, f"must be {ID_RULE}")
    return value


def parse_merchant(name: str, field: str = "name") -> str:
    """Returns the merchant id of `merchants/{merchant}`; raises InvalidField."""
    return _parse_two(name, "merchants", field)


def parse_principal(name: str, field: str) -> str:
    """Returns the principal id of `principals/{principal}`; raises InvalidField."""
    return _parse_two(name, "principals", field)


def parse_credential(name: str, field: str = "name") -> CredentialName:
    """Returns the parts of `merchants/{merchant}/credentials/{slot}`; raises InvalidField."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "merchants" or parts[2] != "credentials":
        raise InvalidField(field, "must be merchants/{merchant}/credentials/{slot}")
    if not _ID.fullmatch(parts[1]):
        raise InvalidField(field, f"the merchant's id must be {ID_RULE}")
    try:
        slot = Slot(parts[3])
    except ValueError:
        known = ", ".join(slot.value for slot in Slot)
        raise InvalidField(field, f"no such slot; the slots are {known}") from None
    return CredentialName(parts[1], slot)


@lru_cache(maxsize=20_000)  # every verification asks, and a name always means the same
def parse_merchant_or_credential(name: str, field: str = "name") -> tuple[str, Slot | None]:
    """Returns (merchant id, slot), the slot None where `name` is a merchant; raises InvalidField."""
    if name.count("/") == 1:
        return parse_merchant(name, field), None
    credential = parse_credential(name, field)
    return credential.merchant_id, credential.slot


def parse_token(name: str, field: str = "name") -> TokenName:
    """Returns the parts of `merchants/{merchant}/tokens/{token}`; raises InvalidField."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "merchants" or parts[2] != "tokens":
        raise InvalidField(field, "must be merchants/{merchant}/tokens/{token}")
    if not _ID.fullmatch(parts[1]) or not _ID.fullmatch(parts[3]):
        raise InvalidField(field, f"the merchant's id and the token's must be {ID_RULE}")
    return TokenName(parts[1], parts[3])


@lru_cache(maxsize=20_000)  # as above
def parse_merchant_or_token(name: str, field: str = "name") -> tuple[str, str | None]:
    """Returns (merchant id, token id), the token id None where `name` is a merchant; raises InvalidField."""
    if name.count("/") == 1:
        return parse_merchant(name, field), None
    token = parse_token(name, field)
    return token.merchant_id, token.token_id


def _parse_two(name: str, collection: str, field: str) -> str:
    head, slash, resource_id = name.partition("/")
    if head != collection or not slash or not _ID.fullmatch(resource_id):
        raise InvalidField(field, f"must be {collection}/{{id}}, the id {ID_RULE}")
    return resource_id
