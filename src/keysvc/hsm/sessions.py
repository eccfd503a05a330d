"""The connection in use and its worker sessions: lending them, telling faults apart, and recovering.

Every call borrows a worker session for as long as it is in the module. A reset takes all of them
first, so the pool is also the lock between calls (readers) and a reset (the one writer): calls that
come meanwhile wait for a session of the new connection, and most never notice. Where a reset fails,
the token is out of reach: calls then fail at once, and `heal` looks for it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import pkcs11
import structlog
from pkcs11 import Session

from keysvc.hsm import operations
from keysvc.hsm.connection import Connection, TokenConfig, WrongPin, connect
from keysvc.hsm.faults import Fault, classify
from keysvc.hsm.keyring import Purpose
from keysvc.hsm.module import Module
from keysvc.hsm.workers import TokenFigures, Worker
from keysvc.model.errors import HsmBusy, HsmUnavailable, Misconfigured

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

BORROW_SECONDS = 1.5
"""How long a call waits for a worker session, so that an answer comes within two seconds."""
DRAIN_SECONDS = 5.0
"""How long a reset waits for the calls that are in the module."""

_OUT_OF_REACH = "The token is out of reach; keysvc looks for it, and goes on by itself"
_TRY_AGAIN = "The token could not do this now: try again"
_WITNESS = b"keysvc: the keys of the start"

log = structlog.get_logger(__name__)


class Sessions:
    """Thread-safe."""

    def __init__(self, module: Module, config: TokenConfig) -> None:
        """Opens all sessions, one after another. Raises Misconfigured or PKCS11Error."""
        self._module = module
        self._config = config
        self._workers = [Worker() for _ in range(config.workers)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._circulating = 0
        self._reset_lock = threading.Lock()
        self._trouble: str | None = None
        """What is wrong, for the log and the health check; callers are told no detail."""
        self._closed = False
        self._hopeless = False
        self._witnesses: dict[tuple[Purpose, int], bytes] = {}
        self.connection = self._connect()

    def call(self, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        """Runs an operation in a worker session, and once more after a reset. Raises HsmUnavailable."""
        try:
            return self._once(operation, *args)
        except _TokenWasReset as reset:
            self._reset(reset.connection)
        try:
            return self._once(operation, *args)
        except _TokenWasReset:
            raise HsmUnavailable(_TRY_AGAIN) from None

    def heal(self) -> str | None:
        """Tests the token, and resets it where it fails. Returns what is wrong, or None. Blocks."""
        try:
            if self._trouble is None:
                self._test()
            if self._trouble is not None:
                self._reset(self.connection)
        except HsmUnavailable as error:
            return self._trouble or error.message
        return self._trouble

    def figures(self) -> TokenFigures:
        """Does not ask the token, and does not block."""
        handles = self.connection.handles
        return TokenFigures(
            operations=sum(worker.operations for worker in self._workers),
            errors=sum(worker.errors for worker in self._workers),
            sessions=self._circulating,
            sessions_in_use=max(0, self._circulating - self._idle.qsize()),
            handles=len(handles),
            handle_hits=handles.hits,
            handle_misses=handles.misses,
        )

    def close(self) -> None:
        """Waits for the calls in the module, then logs out. Calls fail from now on."""
        with self._reset_lock:
            self._closed = True
            self._trouble = "the token was closed"
            for worker in self._drain():
                with contextlib.suppress(pkcs11.PKCS11Error):
                    worker.session.close()
            self.connection.close()

    def _test(self) -> None:
        try:
            self.call(operations.self_test)
        except HsmBusy:
            raise
        except HsmUnavailable:
            self._trouble = self._trouble or "the token fails its self-test"

    def _once(self, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        worker = self._borrow()
        connection = self.connection
        worker.operations += 1
        try:
            result = operation(connection, worker.session, *args)
        except pkcs11.PKCS11Error as error:
            worker.errors += 1
            self._replace(worker, connection)
            raise self._told_apart(error, connection, operation) from None
        except BaseException:
            self._idle.put(worker)
            raise
        self._idle.put(worker)
        return result

    def _borrow(self) -> Worker:
        if self._trouble is not None:
            raise HsmUnavailable(_OUT_OF_REACH)
        try:
            worker = self._idle.get(timeout=BORROW_SECONDS)
        except queue.Empty:
            raise HsmBusy("Every session with the token is busy: try again") from None
        if self._trouble is not None:
            self._idle.put(worker)
            raise HsmUnavailable(_OUT_OF_REACH)
        return worker

    def _replace(self, worker: Worker, connection: Connection) -> None:
        """A session whose operation failed midway stays in that operation for ever: a fresh one takes its place."""
        with contextlib.suppress(pkcs11.PKCS11Error):
            worker.session.close()
        try:
            worker.session = connection.open_worker()
        except pkcs11.PKCS11Error as error:
            # The dead one goes back: whoever borrows it finds the token reset, and connects anew.
            log.warning("hsm.no_session", code=_code(error))
        self._idle.put(worker)

    def _told_apart(
        self, error: pkcs11.PKCS11Error, connection: Connection, operation: Callable[..., object]
    ) -> Exception:
        fault = classify(error)
        log.warning("hsm.fault", operation=operation.__name__, code=_code(error), fault=fault.name)
        if fault is Fault.RESET:
            return _TokenWasReset(connection)
        if fault is Fault.GONE:
            self._trouble = f"the token is out of reach: {_code(error)}"
            return HsmUnavailable(_OUT_OF_REACH)
        return HsmUnavailable(_TRY_AGAIN)

    def _connect(self) -> Connection:
        connection = connect(self._module, self._config)
        sessions = [connection.open_worker() for _ in self._workers]
        operations.self_test(connection, sessions[0])
        self._require_same_keys(connection, sessions[0])
        self._circulating = len(sessions)
        for worker, session in zip(self._workers, sessions, strict=True):
            worker.session = session
            self._idle.put(worker)
        return connection

    def _require_same_keys(self, connection: Connection, session: Session) -> None:
        """A token made anew can hold keys of the same names. Raises Misconfigured unless they are the same."""
        found = {
            (purpose, generation): operations.keyed_digest(connection, session, purpose, generation, _WITNESS)
            for purpose in (Purpose.ROW, Purpose.DIGEST, Purpose.AUDIT)
            for generation in connection.keyring.handles[purpose]
        }
        for (purpose, generation), digest in self._witnesses.items():
            if found.get((purpose, generation)) != digest:
                raise Misconfigured(
                    f"The token '{self._config.label}' holds another keysvc-{purpose}-{generation} than at the start:"
                    " bring back the token that it was"
                )
        self._witnesses = found

    def _reset(self, failed: Connection) -> None:
        """Replaces `failed` by a new connection, unless another thread has. Raises HsmUnavailable."""
        with self._reset_lock:
            if self.connection is not failed:
                return
            if not self._closed and not self._hopeless:
                self._drain()
                self._reconnect()
            if self._trouble is not None:
                raise HsmUnavailable(_OUT_OF_REACH)

    def _reconnect(self) -> None:
        try:
            self._module.reset()
            self.connection = self._connect()
        except Misconfigured as error:
            self._hopeless = isinstance(error, WrongPin)
            self._trouble = error.message
        except pkcs11.PKCS11Error as error:
            self._trouble = f"the token is out of reach: {_code(error)}"
        else:
            self._trouble = None
            log.info("hsm.recovered")

    def _drain(self) -> list[Worker]:
        """Takes every worker session; a call that is in the module gives its own back when it is done."""
        taken = []
        while self._circulating:
            try:
                taken.append(self._idle.get(timeout=DRAIN_SECONDS))
            except queue.Empty:
                self._trouble = "a call does not come back from the token, so it cannot be reset"
                raise HsmUnavailable(_OUT_OF_REACH) from None
            self._circulating -= 1
        return taken


def _code(error: pkcs11.PKCS11Error) -> str:
    return type(error).__name__


class _TokenWasReset(Exception):
    """The connection that a call used is no longer good."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
