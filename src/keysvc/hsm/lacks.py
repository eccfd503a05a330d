"""What a token may lack and keysvc may do without, where whoever runs it says so.

`keysvc.hsm.offers` finds it out by trying, at `keysvc init` and at every start; nothing here asks the token. What is
allowed and not lacking changes nothing: a token that has it is held to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from keysvc.model.errors import Misconfigured

SETTING = "KEYSVC_ALLOW_LACKS"


class Lack(StrEnum):
    """By the word that the setting allows it with."""

    UNWRAP_TEMPLATE = "unwrap-template"
    ALLOWED_MECHANISMS = "allowed-mechanisms"
    ENCRYPTION = "encryption"
    ANCHOR = "anchor"

    @property
    def threat(self) -> str:
        """What is not protected, or not done, without it."""
        return _THREATS[self]


_THREATS = {
    Lack.UNWRAP_TEMPLATE: "no CKA_UNWRAP_TEMPLATE, so whoever has the PIN and the database can read merchants' keys",
    Lack.ALLOWED_MECHANISMS: "no CKA_ALLOWED_MECHANISMS, so whoever has the PIN can use its keys by any mechanism",
    Lack.ENCRYPTION: "no AES-GCM, so Encrypt and Decrypt are refused",
    Lack.ANCHOR: "no private data objects, so an older database that was put back is not noticed",
}


def read(words: str) -> frozenset[Lack]:
    """The setting's words, with commas between them. Raises Misconfigured."""
    known: dict[str, Lack] = {lack.value: lack for lack in Lack}
    found = [word.strip() for word in words.split(",") if word.strip()]
    wrong = [word for word in found if word not in known]
    if wrong:
        raise Misconfigured(f"{SETTING} has {', '.join(wrong)}: the words are {', '.join(known)} (docs/tokens.md)")
    return frozenset(known[word] for word in found)


def require_allowed(lacking: Iterable[Lack], allowed: frozenset[Lack]) -> None:
    """Raises Misconfigured, which names each that is not allowed."""
    refused = [lack for lack in Lack if lack in lacking and lack not in allowed]
    if refused:
        told = "; ".join(f"{lack}: {lack.threat}" for lack in refused)
        words = ",".join(lack for lack in Lack if lack in refused or lack in allowed)
        raise Misconfigured(
            f"The token lacks {told}. Use another token, or set {SETTING}={words} to do without (docs/tokens.md)"
        )
