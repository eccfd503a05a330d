"""One login to the token and what hangs on it: the PIN session, the holder session, the keyring, the handles.

Login belongs to the application, not to a session (PKCS#11 2.40 section 2.6.8), and ends for every
session when the one that gave the PIN is closed: that one lives as long as the connection. Unwrapped
keys die with the session that made them: those are made in the holder. A connection is never mended;
`keysvc.hsm.token` replaces it whole.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pkcs11
from pkcs11 import Attribute, Session, Token

from keysvc.hsm import attributes, keyring, lacks, leaks, offers
from keysvc.hsm.fair_lock import FairLock
from keysvc.hsm.handles import HandleCache
from keysvc.hsm.keyring import Keyring
from keysvc.hsm.keys import BoundKey, WrappedKey, handle_of
from keysvc.hsm.lacks import Lack
from keysvc.hsm.module import Module
from keysvc.hsm.signer import Signer
from keysvc.hsm.wear import Wear
from keysvc.hsm.wrapping import WrappingKey
from keysvc.model.errors import HsmBusy, Misconfigured, TokenLacks
from keysvc.model.hsm_keys import Purpose
from keysvc.model.slots import HmacAlgorithm

HOLDER_SECONDS = 0.5
"""How long a key waits to be unwrapped for those before it: where one hangs, the calls of the others do not."""


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """Which token, and how much of it to use at once."""

    module_path: str
    label: str
    pin: str = field(repr=False)
    workers: int = 16
    handle_cache: int = 4096
    refresh_after: int = 0
    """Keys made in the token until the module is initialised anew; 0: never."""
    allowed: frozenset[Lack] = frozenset()
    """What the token may lack."""


@dataclass(slots=True)
class Connection:
    """Shared by all workers of one login. `holder_lock` guards the holder session. Only `keyring` is ever replaced."""

    token: Token
    login: Session
    holder: Session
    holder_lock: FairLock
    keyring: Keyring
    handles: HandleCache
    signer: Signer
    known_answer_key: int
    in_use: dict[Attribute, Any]
    """The template of unwrapped keys that this token takes."""
    wear: Wear
    lacking: frozenset[Lack]
    looks: count[int] = field(default_factory=lambda: count(1))
    found_by: int = 0
    """The look at the token that found the keyring. A later one knows of more than one that began before it."""
    looking: threading.Lock = field(default_factory=threading.Lock)

    def open_worker(self) -> Session:
        return self.token.open(attribute_mapper=attributes.Mapper())

    def close(self) -> None:
        """Logs out. No other thread may be in the module."""
        with contextlib.suppress(pkcs11.PKCS11Error):
            self.holder.close()
            self.login.close()

    def token_key(self, session: Session, purpose: Purpose, generation: int) -> BoundKey:
        """Raises NoSuchGeneration."""
        return BoundKey(session, self.handle(purpose, generation))

    def handle(self, purpose: Purpose, generation: int) -> int:
        """Raises NoSuchGeneration."""
        try:
            return self.keyring.handles[purpose][generation]
        except KeyError:
            raise NoSuchGeneration(purpose, generation) from None

    def wrapping_key(self, generation: int) -> WrappingKey:
        """Raises NoSuchGeneration."""
        try:
            return self.keyring.wrapping[generation]
        except KeyError:
            raise NoSuchGeneration(Purpose.WRAPPING, generation) from None

    def require(self, needed: Lack) -> None:
        """Raises TokenLacks where the token lacks it."""
        if needed in self.lacking:
            raise TokenLacks(f"The token in use cannot do this: {needed.threat}")

    def unwrap(self, key: WrappedKey) -> pkcs11.SecretKey:
        """Into the holder session: sensitive, not extractable, fit for its one use. Raises HsmBusy."""
        wrapping = self.wrapping_key(key.generation)
        if not self.holder_lock.acquire(timeout=HOLDER_SECONDS):
            raise HsmBusy("The token is busy with keys that are used for the first time: try again")
        self.wear.add()
        try:
            return wrapping.unwrap(self.holder, key.shape, key.material, self.in_use, key.shape.capabilities)
        finally:
            self.holder_lock.release()

    def find_keys(self, session: Session) -> None:
        """Looks for the token's own keys anew: others may have made or destroyed some. Raises Misconfigured.

        Of two looks at once the one that began later counts, whichever ends last.
        """
        with self.looking:
            begun = next(self.looks)
        found = _right_keys(session, self.lacking, self.keyring.wrapping)
        self._require_same(session, found)
        with self.looking:
            if begun > self.found_by:
                self.keyring, self.found_by = found, begun

    def _require_same(self, session: Session, found: Keyring) -> None:
        """A token made anew under us has keys of the same names. Raises Misconfigured."""
        for purpose in (Purpose.ROW, Purpose.DIGEST, Purpose.AUDIT):
            before, now = self.keyring.handles[purpose], found.handles[purpose]
            for generation in before.keys() & now.keys():
                handles = {before[generation], now[generation]}
                macs = {self.signer.sign(session, each, HmacAlgorithm.HMAC_SHA256, _SAME) for each in handles}
                if len(macs) > 1:
                    raise Misconfigured(f"The token holds another keysvc-{purpose}-{generation} than before")


_SAME = b"keysvc: is this the same key"


class NoSuchGeneration(KeyError):
    """The token, as far as it was looked at, has no key of this purpose and generation."""

    def __str__(self) -> str:
        return "the token has no {} key of generation {}".format(*self.args)


class WrongPin(Misconfigured):
    """The token refuses the PIN, or is locked: trying again would only lock it."""


def log_in(module: Module, config: TokenConfig, *, writable: bool) -> tuple[Token, Session]:
    """Gives the PIN, once. Raises WrongPin, or PKCS11Error for the rest."""
    token = module.token(config.label)
    try:
        session = token.open(rw=writable, user_pin=config.pin, attribute_mapper=attributes.Mapper())
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
        raise WrongPin(
            f"The PIN is not that of token '{config.label}': check KEYSVC_PIN_FILE (a token locks after a few tries)"
        ) from None
    except pkcs11.PinLocked:
        raise WrongPin(f"The PIN of token '{config.label}' is locked: its security officer must reset it") from None
    return token, session


def connect(module: Module, config: TokenConfig) -> Connection:
    """Logs in, checks the keyring and opens the holder. Raises Misconfigured or PKCS11Error, and is then logged out."""
    token, login = log_in(module, config, writable=False)
    try:
        return _set_up(module, config, token, login)
    except BaseException:
        with contextlib.suppress(pkcs11.PKCS11Error):
            login.close()
        raise


def _set_up(module: Module, config: TokenConfig, token: Token, login: Session) -> Connection:
    holder = token.open(attribute_mapper=attributes.Mapper())
    lacking = offers.tried(login).lacking
    lacks.require_allowed(lacking, config.allowed)
    known_answer_key, in_use = _known_answer_key(holder)
    connection = Connection(
        token=token,
        login=login,
        holder=holder,
        holder_lock=FairLock(),
        keyring=_right_keys(login, lacking, known=()),
        handles=HandleCache(config.handle_cache),
        signer=Signer(module),
        known_answer_key=known_answer_key,
        in_use=in_use,
        wear=Wear(config.refresh_after),
        lacking=lacking,
    )
    connection.signer.measure(holder, known_answer_key, HmacAlgorithm.HMAC_SHA256)
    return connection


def _right_keys(session: Session, lacking: frozenset[Lack], known: Collection[int]) -> Keyring:
    """The token's keys, none weaker than this token can make them. `known` wrapping keys were tried before."""
    found = keyring.load(session, lacking)
    if Lack.UNWRAP_TEMPLATE not in lacking:
        leaks.refuse(session, found, found.wrapping.keys() - known)
    return found


def _known_answer_key(holder: Session) -> tuple[int, dict[Attribute, Any]]:
    """The key's handle, and the template that the token made it with."""
    try:
        return _made(holder, attributes.IN_USE), attributes.IN_USE
    except pkcs11.PKCS11Error:  # which of them says that it insists on CKA_PRIVATE differs from token to token
        return _made(holder, attributes.IN_USE_PRIVATE), attributes.IN_USE_PRIVATE


def _made(holder: Session, in_use: dict[Attribute, Any]) -> int:
    return handle_of(holder.create_object(attributes.signing_key_object(_KNOWN_KEY, in_use)))


_KNOWN_KEY = b"\x0b" * 20 + b"\0" * 12
"""RFC 4231 section 4.2 (test case 1), padded to the length that tokens ask for."""
