"""Schemes that sign the body, and no time: GitHub, Shopify, Adyen's payloads; Square puts the address before it.

Such a webhook verifies for ever, so it is the receiver who must know one that was sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keysvc.model.errors import InvalidField
from keysvc.webhooks.notation import Notation
from keysvc.webhooks.received import known_headers, only_signature, signature_text
from keysvc.webhooks.schemes import Claim, Delivery, Draft, Malformed, Signed


class OverBody:
    """The body alone; one signature in one header, after a prefix."""

    __slots__ = ("_header", "_known", "_notation", "_prefix")

    def __init__(self, header: str, prefix: str, notation: Notation) -> None:
        self._header = header
        self._known = frozenset({header})
        self._prefix = prefix
        self._notation = notation

    def read(self, delivery: Delivery) -> Claim:
        text = signature_text(known_headers(delivery.headers, self._known), self._header)
        if not text.startswith(self._prefix):
            raise Malformed(f"{self._header} does not begin with {self._prefix}")
        signature = self._notation.decode(text[len(self._prefix) :])
        return Claim(delivery.body, only_signature(signature, self._header), None)

    def message(self, draft: Draft) -> bytes:
        return draft.body

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:  # noqa: ARG002 - as every form's
        return Signed({self._header: self._prefix + self._notation.encode(signatures[0])}, {})


@dataclass(frozen=True, slots=True)
class OverUrlAndBody:
    """The address as it was given to the sender, and the body right after it."""

    over_body: OverBody

    def read(self, delivery: Delivery) -> Claim:
        url = _url_bytes(delivery.url)
        return Claim(url + delivery.body, self.over_body.read(delivery).signatures, None)

    def message(self, draft: Draft) -> bytes:
        return _url_bytes(draft.url) + draft.body

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:
        _url_bytes(draft.url)
        return self.over_body.write(draft, signatures)


def _url_bytes(url: str) -> bytes:
    if not url:
        raise InvalidField("url", "is what this scheme signs with the body: give the address that the sender was given")
    try:
        return url.encode()
    except UnicodeEncodeError:
        raise InvalidField("url", "is not Unicode text") from None
