"""Schemes that sign some fields, joined by a separator: an item of Adyen's notification, Computop's requests
and answers.

Nothing is escaped, as their makers have it: a value that holds the separator is signed as it is, so text could be moved
from one field to the next under the same signature. docs/webhooks.md says what a receiver does about it.
"""

from __future__ import annotations

from collections.abc import Sequence

from keysvc.model.errors import InvalidField
from keysvc.webhooks.notation import Notation
from keysvc.webhooks.received import bytes_of, only_signature, signature_text
from keysvc.webhooks.schemes import Claim, Delivery, Draft, Signed


class OverFields:
    """Fields by their exact names, one that is absent as if it were empty; one signature, in a field too."""

    __slots__ = ("_names", "_notation", "_separator", "_signature")

    def __init__(self, names: Sequence[str], separator: str, signature: str, notation: Notation) -> None:
        self._names = tuple(names)
        self._separator = separator
        self._signature = signature
        self._notation = notation

    def read(self, delivery: Delivery) -> Claim:
        fields = delivery.fields
        text = signature_text(fields, self._signature)
        signatures = only_signature(self._notation.decode(text), self._signature)
        joined = self._separator.join([fields.get(name, "") for name in self._names])
        return Claim(bytes_of(joined, "a signed field"), signatures, None)

    def message(self, draft: Draft) -> bytes:
        values = [draft.fields.get(name, "") for name in self._names]
        if not any(values):  # most likely names in another spelling
            raise InvalidField("fields", f"holds nothing to be signed, which is {', '.join(self._names)}")
        try:
            return self._separator.join(values).encode()
        except UnicodeEncodeError:
            raise InvalidField("fields", "is not Unicode text") from None

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:
        self.message(draft)
        return Signed({}, {self._signature: self._notation.encode(signatures[0])})
