"""The token as the services see it: one method per use of a key."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar, TypeVarTuple

import pkcs11
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pkcs11 import Session

from keysvc.hsm import anchor, operations, own_keys
from keysvc.hsm.connection import Connection, NoSuchGeneration, TokenConfig
from keysvc.hsm.keys import KeyShape, NewKey, WrappedKey
from keysvc.hsm.lacks import Lack
from keysvc.hsm.module import Module
from keysvc.hsm.operations import Run
from keysvc.hsm.sessions import Sessions
from keysvc.hsm.workers import TokenFigures
from keysvc.model.errors import HsmUnavailable
from keysvc.model.hsm_keys import Purpose

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

_VISIT = 100
"""MACs in one visit: a token that takes milliseconds for one must not be taken for one that hangs."""

_ADOPTED = 20
"""Keys taken in in one visit: each is made, wrapped and destroyed."""


class Token:
    """A token in use. Thread-safe. Methods raise HsmUnavailable when the token cannot answer."""

    def __init__(self, module: Module, config: TokenConfig) -> None:
        """Opens all sessions. Raises Misconfigured, or HsmUnavailable."""
        try:
            self._sessions = Sessions(module, config)
        except pkcs11.PKCS11Error as error:
            code = type(error).__name__
            raise HsmUnavailable(f"The token '{config.label}' does not answer: {code}") from None
        self._asked = self._looked_for = (0, 0)
        """(keys put into use, doubts)"""

    def hmac(self, key: WrappedKey, message: bytes) -> bytes:
        """The MAC of `message` by a merchant's HMAC key."""
        return self._with_key(operations.hmac, key, message)

    def hmacs(self, runs: Iterable[Run]) -> list[bytes]:
        """The MACs of messages by merchants' HMAC keys, in their order: a visit to the token for every 100."""
        return [mac for some in _visits(runs) for mac in self._with_key(operations.hmacs, some)]

    def keyed_digest(self, purpose: Purpose, generation: int, data: bytes) -> bytes:
        """HMAC-SHA256 by a key of the token's own; KeyError where it has no such generation."""
        return self._sessions.call(operations.keyed_digest, purpose, generation, data)

    def keyed_digests(self, purpose: Purpose, generation: int, data: Sequence[bytes]) -> list[bytes]:
        """The same of many, in their order: a visit to the token for every 100."""
        call = self._sessions.call
        visits = (data[at : at + _VISIT] for at in range(0, len(data), _VISIT))
        return [mac for some in visits for mac in call(operations.keyed_digests, purpose, generation, some)]

    def newest(self, purpose: Purpose) -> int:
        """The generation that makes new things of this purpose. Looks for it where it must."""
        self.look_where_asked()
        return self._sessions.connection.keyring.newest(purpose)

    def generations(self, purpose: Purpose) -> list[int]:
        """Those that the token had when it was looked at last, the newest last."""
        return sorted(self._sessions.connection.keyring.handles[purpose])

    def expect_keys(self, count: int) -> None:
        """How often keys were put into use so far, as SQL tells: where that moved, there are others than were found."""
        self._asked = (count, self._asked[1])

    def doubt_keys(self) -> None:
        """Asks for a look before a key makes something new, and at the next `heal`. Does not block."""
        self._asked = (self._asked[0], self._asked[1] + 1)

    def look_where_asked(self) -> None:
        """Looks for the token's own keys anew, where others were expected or doubted."""
        asked = self._asked  # before the look: what is asked for meanwhile asks for another
        if self._looked_for != asked:
            self._sessions.find_keys()
            self._looked_for = asked

    def find_keys(self) -> None:
        """Looks for the token's own keys anew. Blocks."""
        self._sessions.find_keys()

    def destroy_key(self, purpose: Purpose, generation: int) -> None:
        """Destroys a key of the token's own for good, if it is there."""
        self._sessions.call(own_keys.destroy_key, purpose, generation)
        self.find_keys()

    def rewrap(self, key: WrappedKey) -> NewKey | None:
        """The same key under the newest wrapping key; None where its generation lets none go."""
        self.look_where_asked()
        return self._with_key(own_keys.rewrap, key)

    def random(self, size: int) -> bytes:
        """`size` bytes from the token's generator."""
        return self._sessions.call(operations.random, size)

    def encrypt(self, key: WrappedKey, plaintext: bytes, context: bytes) -> bytes:
        """AES-256-GCM bound to `context`: nonce, ciphertext and tag."""
        return self._with_key(operations.encrypt, key, plaintext, context)

    def decrypt(self, key: WrappedKey, sealed: bytes, context: bytes) -> bytes:
        """Raises operations.Undecryptable."""
        return self._with_key(operations.decrypt, key, sealed, context)

    def generate(self, shape: KeyShape, recipient: RSAPublicKey | None) -> NewKey:
        """A new key, wrapped, with its one copy: readable, or sealed to `recipient`."""
        self.look_where_asked()
        return self._sessions.call(operations.generate, shape, recipient)

    def adopt(self, shape: KeyShape, value: bytes) -> NewKey:
        """Wraps a key that the process holds."""
        self.look_where_asked()
        return self._sessions.call(operations.adopt, shape, value)

    def adopt_each(self, asked: Sequence[tuple[KeyShape, bytes]]) -> list[NewKey]:
        """Wraps keys that the process holds, in their order: a visit to the token for every 20."""
        self.look_where_asked()
        visits = (asked[at : at + _ADOPTED] for at in range(0, len(asked), _ADOPTED))
        return [made for some in visits for made in self._sessions.call(operations.adopt_each, some)]

    def adopt_sealed(self, shape: KeyShape, sealed: bytes) -> NewKey:
        """Raises operations.Undecryptable or operations.UnusableKey."""
        self.look_where_asked()
        return self._sessions.call(operations.adopt_sealed, shape, sealed)

    def forget(self, idents: Iterable[Hashable]) -> None:
        """Destroys the handles of keys that ended. What a token out of reach held ends with its sessions."""
        ended = list(idents)
        if ended:
            with contextlib.suppress(HsmUnavailable):
                self._sessions.call(operations.forget, ended)

    def import_public_key(self) -> RSAPublicKey:
        """The public half of the newest import key. Does not ask the token."""
        return self._sessions.connection.keyring.import_public_key()

    def _with_key(self, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        """Of what is wrapped."""
        try:
            return self._sessions.call(operation, *args)
        except NoSuchGeneration as missing:
            raise HsmUnavailable(f"A key cannot be used: {missing}") from None

    @property
    def lacking(self) -> frozenset[Lack]:
        """What the token lacks, and was allowed to. Does not ask it."""
        return self._sessions.connection.lacking

    def anchor_values(self) -> list[bytes]:
        """What stands in the anchor's place: see `keysvc.hsm.anchor`."""
        return self._sessions.call(anchor.values)

    def put_anchor(self, value: bytes, instead_of: Collection[bytes]) -> None:
        """Stores `value` there, and destroys those others. Raises anchor.AnchorNotKept."""
        self._sessions.call(anchor.put, value, instead_of)

    def is_at_hand(self) -> bool:
        """Whether MACs by keys in use are made at once: by a token that is fast, and not out of sessions."""
        return self._sessions.is_at_hand()

    def heal(self) -> str | None:
        """Tests the token, and looks for one that is gone. Returns what is wrong, or None. Blocks."""
        trouble = self._sessions.heal()
        if trouble is None:
            with contextlib.suppress(HsmUnavailable):
                self.look_where_asked()
        return trouble

    def figures(self) -> TokenFigures:
        """What was done in the token. Does not ask it, and does not block."""
        return self._sessions.figures()

    def close(self) -> None:
        """Waits for the calls in the module, then logs out. Calls fail from now on."""
        self._sessions.close()


def _visits(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """The same runs in parts of so many messages, or fewer."""
    visit: list[Run] = []
    room = _VISIT
    for key, messages in runs:
        at = 0
        while at < len(messages):
            some = messages[at : at + room]
            visit.append((key, some))
            at, room = at + len(some), room - len(some)
            if not room:
                yield visit
                visit, room = [], _VISIT
    if visit:
        yield visit
