"""The token as the services see it: one call per use of a key, over a pool of worker sessions.

Every call borrows a worker session for as long as it is in the module. A reset takes all of them
first, so the pool is also the lock between calls (readers) and a reset (the one writer). While the
token is out of reach calls fail at once; `heal`, called by the health monitor, looks for it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Concatenate, ParamSpec, TypeVar

import pkcs11
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from pkcs11 import Session

from keysvc.hsm import operations
from keysvc.hsm.connection import Connection, TokenConfig, WrongPin, connect
from keysvc.hsm.faults import Fault, classify
from keysvc.hsm.keyring import Purpose
from keysvc.hsm.keys import KeyShape, NewKey, WrappedKey
from keysvc.hsm.module import Module
from keysvc.model.errors import HsmUnavailable, Misconfigured

P = ParamSpec("P")
R = TypeVar("R")
_Operation = Callable[Concatenate[Connection, Session, P], R]

BORROW_SECONDS = 1.5
"""How long a call waits for a worker session, so that an answer comes within two seconds."""
DRAIN_SECONDS = 5.0
"""How long a reset waits for the calls that are in the module."""

_OUT_OF_REACH = "The token is out of reach; keysvc looks for it, and goes on by itself"
_TRY_AGAIN = "The token could not do this now: try again"

log = structlog.get_logger(__name__)


class Token:
    """A token in use. Thread-safe. Methods raise HsmUnavailable when the token cannot answer."""

    def __init__(self, module: Module, config: TokenConfig) -> None:
        """Opens all sessions, one after another. Raises Misconfigured, or HsmUnavailable."""
        self._module = module
        self._config = config
        self._idle: queue.SimpleQueue[Session] = queue.SimpleQueue()
        self._circulating = 0
        self._reset_lock = threading.Lock()
        self._trouble: str | None = None
        self._hopeless = False
        try:
            self._connection = self._connect()
        except pkcs11.PKCS11Error as error:
            raise HsmUnavailable(f"The token '{config.label}' does not answer: {_code(error)}") from None

    def hmac(self, key: WrappedKey, message: bytes) -> bytes:
        """The MAC of `message` by a merchant's HMAC key."""
        return self._call(operations.hmac, key, message)

    def keyed_digest(self, purpose: Purpose, generation: int, data: bytes) -> bytes:
        """HMAC-SHA256 by a key of the token's own; KeyError where it has no such generation."""
        return self._call(operations.keyed_digest, purpose, generation, data)

    def newest(self, purpose: Purpose) -> int:
        """The generation that makes new things of this purpose."""
        return self._connection.keyring.newest(purpose)

    def random(self, size: int) -> bytes:
        return self._call(operations.random, size)

    def encrypt(self, key: WrappedKey, plaintext: bytes, context: bytes) -> bytes:
        """AES-256-GCM bound to `context`: nonce, ciphertext and tag."""
        return self._call(operations.encrypt, key, plaintext, context)

    def decrypt(self, key: WrappedKey, sealed: bytes, context: bytes) -> bytes:
        """Raises operations.Undecryptable."""
        return self._call(operations.decrypt, key, sealed, context)

    def generate(self, shape: KeyShape, recipient: RSAPublicKey | None) -> NewKey:
        return self._call(operations.generate, shape, recipient)

    def adopt(self, shape: KeyShape, value: bytes) -> NewKey:
        return self._call(operations.adopt, shape, value)

    def adopt_sealed(self, shape: KeyShape, sealed: bytes) -> NewKey:
        """Raises operations.Undecryptable or operations.UnusableKey."""
        return self._call(operations.adopt_sealed, shape, sealed)

    def forget(self, idents: Iterable[Hashable]) -> None:
        """Destroys the handles of keys that ended. What a token out of reach held ends with its sessions."""
        ended = list(idents)
        if ended:
            with contextlib.suppress(HsmUnavailable):
                self._call(operations.forget, ended)

    def import_public_key(self) -> RSAPublicKey:
        """The public half of the newest import key. Does not ask the token."""
        modulus, exponent = self._connection.keyring.import_public_numbers
        return RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()

    def heal(self) -> str | None:
        """Tests the token, and resets it where it fails. Returns what is wrong, or None. Blocks."""
        try:
            if self._trouble is None:
                self._test()
            if self._trouble is not None and not self._hopeless:
                self._reset(self._connection)
        except HsmUnavailable as error:
            return self._trouble or error.message
        return self._trouble

    def close(self) -> None:
        """Waits for the calls in the module, then logs out. Calls fail from now on."""
        with self._reset_lock:
            self._fail("the token was closed")
            for session in self._drain():
                session.close()
            self._connection.close()

    def _test(self) -> None:
        try:
            self._call(operations.self_test)
        except _Busy:
            raise
        except HsmUnavailable:
            self._fail(self._trouble or "the token fails its self-test")

    def _call(self, operation: _Operation[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._once(operation, *args, **kwargs)
        except _TokenWasReset as reset:
            self._reset(reset.connection)
        try:
            return self._once(operation, *args, **kwargs)
        except _TokenWasReset:
            raise HsmUnavailable(_TRY_AGAIN) from None

    def _once(self, operation: _Operation[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        session = self._borrow()
        connection = self._connection
        try:
            result = operation(connection, session, *args, **kwargs)
        except pkcs11.PKCS11Error as error:
            self._discard(session)
            raise self._told_apart(error, connection, operation) from None
        except BaseException:
            self._idle.put(session)
            raise
        self._idle.put(session)
        return result

    def _borrow(self) -> Session:
        if self._trouble is not None:
            raise HsmUnavailable(_OUT_OF_REACH)
        try:
            session = self._idle.get(timeout=BORROW_SECONDS)
        except queue.Empty:
            raise _Busy("Every session with the token is busy: try again") from None
        if self._trouble is not None:
            self._idle.put(session)
            raise HsmUnavailable(_OUT_OF_REACH)
        return session

    def _discard(self, session: Session) -> None:
        """A session whose operation failed midway stays in that operation for ever: a fresh one takes its place."""
        try:
            session.close()
        except pkcs11.PKCS11Error:
            log.debug("hsm.session_was_gone")
        try:
            self._idle.put(self._connection.open_worker())
        except pkcs11.PKCS11Error as error:
            self._idle.put(session)
            self._fail(f"the token opens no session: {_code(error)}")

    def _told_apart(
        self, error: pkcs11.PKCS11Error, connection: Connection, operation: Callable[..., object]
    ) -> Exception:
        fault = classify(error)
        log.warning("hsm.fault", operation=operation.__name__, code=_code(error), fault=fault.name)
        if fault is Fault.RESET:
            return _TokenWasReset(connection)
        if fault is Fault.GONE:
            self._fail(f"the token is out of reach: {_code(error)}")
            return HsmUnavailable(_OUT_OF_REACH)
        return HsmUnavailable(_TRY_AGAIN)

    def _fail(self, trouble: str) -> None:
        """`trouble` is for the log and the health check; callers are told no detail."""
        self._trouble = trouble

    def _connect(self) -> Connection:
        connection = connect(self._module, self._config)
        workers = [connection.open_worker() for _ in range(self._config.workers)]
        operations.self_test(connection, workers[0])
        self._circulating = len(workers)
        for worker in workers:
            self._idle.put(worker)
        return connection

    def _reset(self, failed: Connection) -> None:
        """Replaces `failed` by a new connection, unless another thread has. Raises HsmUnavailable."""
        with self._reset_lock:
            if self._connection is not failed:
                return
            self._fail("the token was reset under the service")
            self._drain()
            try:
                self._module.reset()
                self._connection = self._connect()
            except Misconfigured as error:
                self._hopeless = isinstance(error, WrongPin)
                self._fail(error.message)
            except pkcs11.PKCS11Error as error:
                self._fail(f"the token is out of reach: {_code(error)}")
            else:
                self._trouble = None
                log.info("hsm.recovered")
                return
        raise HsmUnavailable(_OUT_OF_REACH)

    def _drain(self) -> list[Session]:
        """Takes every worker session; a call that is in the module gives its own back when it is done."""
        taken = []
        while self._circulating:
            try:
                taken.append(self._idle.get(timeout=DRAIN_SECONDS))
            except queue.Empty:
                self._fail("a call does not come back from the token, so it cannot be reset")
                raise HsmUnavailable(_OUT_OF_REACH) from None
            self._circulating -= 1
        return taken


def _code(error: pkcs11.PKCS11Error) -> str:
    return type(error).__name__


class _Busy(HsmUnavailable):
    """All worker sessions are in use; the token itself may be well."""


class _TokenWasReset(Exception):
    """The connection that a call used is no longer good."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
