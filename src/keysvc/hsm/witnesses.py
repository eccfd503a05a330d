"""What the token's own keys make of a known text: how a token is known again after a reset."""

from __future__ import annotations

from pkcs11 import Session

from keysvc.hsm import operations
from keysvc.hsm.connection import Connection
from keysvc.model.errors import Misconfigured
from keysvc.model.hsm_keys import Purpose

_TEXT = b"keysvc: the keys of the start"


class Witnesses:
    """One thread at a time may use them."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._digests: dict[tuple[Purpose, int], bytes] = {}

    def require_same(self, connection: Connection, session: Session) -> None:
        """A token made anew can hold keys of the same names. Raises Misconfigured unless they are the same.

        An older generation may be gone, since it is destroyed when it was replaced.
        """
        found = {
            (purpose, generation): operations.keyed_digest(connection, session, purpose, generation, _TEXT)
            for purpose in (Purpose.ROW, Purpose.DIGEST, Purpose.AUDIT)
            for generation in connection.keyring.handles[purpose]
        }
        for (purpose, generation), digest in self._digests.items():
            replaced = generation < connection.keyring.newest(purpose)
            if found.get((purpose, generation), digest if replaced else None) != digest:
                raise Misconfigured(
                    f"The token '{self._label}' holds another keysvc-{purpose}-{generation} than at the start:"
                    " bring back the token that it was"
                )
        self._digests = found
