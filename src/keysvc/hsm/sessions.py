"""The connection in use and its worker sessions: lending them, telling faults apart, and recovering.

Every call borrows a worker session for as long as it is in the module. A reset takes all of them
first, so the pool is also the lock between calls (readers) and a reset (the one writer): calls that
come meanwhile wait for a session of the new connection, and most never notice. Where a reset fails,
the token is out of reach: calls then fail at once, and `heal` looks for it.

No call waits for longer than `ANSWER_SECONDS`. What may hang is done by the worker's own thread, and left
behind with its session where it is late; the others go on. Only the MACs of a token that answers in
microseconds are made by the call's own thread (`keysvc.hsm.signer`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar, TypeVarTuple

import pkcs11
import structlog
from pkcs11 import Session

from keysvc.hsm import operations
from keysvc.hsm.connection import Connection, NoSuchGeneration, TokenConfig, WrongPin, connect
from keysvc.hsm.errands import Errand, Late, Runner
from keysvc.hsm.faults import Fault, classify
from keysvc.hsm.module import Module
from keysvc.hsm.workers import Pool, TokenFigures, Worker
from keysvc.model.errors import HsmBusy, HsmUnavailable, Misconfigured
from keysvc.model.hsm_keys import Purpose
from keysvc.model.slots import HmacAlgorithm

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

ANSWER_SECONDS = 1.5
"""How long a call waits for all that it needs of the token, so that an answer comes within two seconds."""
OPERATION_SECONDS = 1.0
"""How long an operation may be in the token before its call is told that it hangs."""
TEST_SECONDS = 0.5
"""The same for the health check, which so finds a token that hangs before the calls that wait for it give up."""
DRAIN_SECONDS = 1.5
"""How long a reset waits for the calls that are in the module, and the end of the process for those who hang."""

_OUT_OF_REACH = "The token is out of reach; keysvc looks for it, and goes on by itself"
_NO_ANSWER = "the token does not answer"
_TRY_AGAIN = "The token could not do this now: try again"
_WITNESS = b"keysvc: the keys of the start"
_MACS = frozenset({operations.hmac, operations.hmacs, operations.keyed_digest})

log = structlog.get_logger(__name__)


class Sessions:
    """Thread-safe."""

    def __init__(self, module: Module, config: TokenConfig) -> None:
        """Opens all sessions, one after another. Raises Misconfigured or PKCS11Error."""
        self._module = module
        self._config = config
        self._pool = Pool(config.workers)
        self._resetter = Runner("keysvc-token-reset")
        self._reset_lock = threading.Lock()
        self._under_way: Errand[None] | None = None
        self._trouble: str | None = None
        """What is wrong, for the log and the health check; callers are told no detail."""
        self._hangs = False
        """Of the trouble: the token answers nothing, but it may go on with all that it holds."""
        self._closed = False
        self._hopeless = False
        self._witnesses: dict[tuple[Purpose, int], bytes] = {}
        self.connection, sessions = self._connect(least=config.workers)
        self._pool.release_all(sessions)

    def call(self, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        """Runs an operation in a worker session, and once more after a reset. Raises HsmUnavailable.

        What asks for a key that the token did not have when it was looked at is run again after another look: keys are
        made while replicas serve. Raises NoSuchGeneration where it has none then.
        """
        try:
            return self._call(operation, *args)
        except NoSuchGeneration:
            self.find_keys()
        return self._call(operation, *args)

    def find_keys(self) -> None:
        """Looks for the token's own keys anew. Raises HsmUnavailable."""
        try:
            self._call(operations.find_keys)
        except Misconfigured as error:
            log.error("hsm.keys", trouble=error.message)
            raise HsmUnavailable(_TRY_AGAIN) from None

    def heal(self) -> str | None:
        """Tests the token, and resets it where it fails. Returns what is wrong, or None. Blocks for some seconds."""
        try:
            if self._trouble is None or self._hangs:
                self._test()
            if self._trouble is None:
                self._find_sessions()
                return self._trouble or self._held_up()
            if not self._hangs:
                self._reset(self.connection, time.monotonic() + ANSWER_SECONDS)
        except HsmUnavailable as error:
            return self._trouble or error.message
        return self._trouble

    def figures(self) -> TokenFigures:
        """Does not ask the token, and does not block."""
        handles, workers, circulating = self.connection.handles, self._pool.workers, self._pool.circulating
        return TokenFigures(
            operations=sum(worker.operations for worker in workers),
            errors=sum(worker.errors for worker in workers),
            sessions=circulating,
            sessions_in_use=max(0, circulating - self._pool.idle.qsize()),
            handles=len(handles),
            handle_hits=handles.hits,
            handle_misses=handles.misses,
        )

    def close(self) -> None:
        """Waits for the calls in the module, and logs out; not where one hangs. Calls fail from now on."""
        with self._reset_lock:
            self._closed = True
            self._trouble, self._hangs = "the token was closed", False
            closing = self._resetter.give(self._log_out)
        with contextlib.suppress(Late):
            closing.outcome(time.monotonic() + 2 * DRAIN_SECONDS)
        self._resetter.end()
        self._pool.end()

    def _log_out(self) -> None:
        if not self._pool.hold_all(time.monotonic() + DRAIN_SECONDS):
            log.warning("hsm.left_open", reason="a call does not come back from the token")
            return
        for worker in self._pool.workers:
            with contextlib.suppress(pkcs11.PKCS11Error):
                worker.session.close()
        self.connection.close()

    def _call(self, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        until = time.monotonic() + ANSWER_SECONDS
        try:
            return self._once(until, operation, *args)
        except _TokenWasReset as reset:
            if self._trouble is not None:
                raise HsmUnavailable(_OUT_OF_REACH) from None
            self._reset(reset.connection, until)
        try:
            return self._once(until, operation, *args)
        except _TokenWasReset:
            raise HsmUnavailable(_TRY_AGAIN) from None

    def _once(self, until: float, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        if self._trouble is not None:
            raise HsmUnavailable(_OUT_OF_REACH)
        worker = self._pool.borrow(until, self._is_in_trouble)
        if self._trouble is not None:
            self._pool.put(worker)
            raise HsmUnavailable(_OUT_OF_REACH)
        connection = self.connection
        if connection.signer.holding and operation in _MACS:
            return self._run(worker, connection, operation, *args)
        until = min(until, time.monotonic() + OPERATION_SECONDS)
        return self._sent(worker, until, self._is_in_trouble, operation, *args)

    def _is_in_trouble(self) -> bool:
        return self._trouble is not None

    def _sent(
        self, worker: Worker, until: float, in_vain: Callable[[], bool],
        operation: Callable[[Connection, Session, *Ts], R], *args: *Ts,
    ) -> R:  # fmt: skip
        """The worker's thread does it. Raises HsmUnavailable at `until`, and leaves both behind."""
        errand = worker.runner.give(partial(self._run, worker, self.connection, operation, *args))
        try:
            return errand.outcome(until, in_vain)
        except Late:
            self._leave_behind(worker, errand, operation)
            raise _Hangs(_TRY_AGAIN) from None

    def _leave_behind(self, worker: Worker, errand: Errand[R], operation: Callable[..., object]) -> None:
        worker.leave(errand, time.monotonic())
        log.warning("hsm.late", operation=operation.__name__)
        if self._pool.all_late():
            self._note_that_it_hangs()

    def _note_that_it_hangs(self) -> None:
        if self._trouble is None:
            self._trouble, self._hangs = _NO_ANSWER, True

    def _run(
        self, worker: Worker, connection: Connection, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts
    ) -> R:
        worker.operations += 1
        try:
            result = operation(connection, worker.session, *args)
        except pkcs11.PKCS11Error as error:
            worker.errors += 1
            raise self._told_apart(error, worker, connection, operation) from None
        except BaseException:
            self._pool.put(worker)
            raise
        self._pool.put(worker)
        return result

    def _told_apart(
        self, error: pkcs11.PKCS11Error, worker: Worker, connection: Connection, operation: Callable[..., object]
    ) -> Exception:
        fault = classify(error)
        log.warning("hsm.fault", operation=operation.__name__, code=_code(error), fault=fault.name)
        if fault is Fault.RESET:
            self._pool.put(worker)  # as it is: a reset gives it another session
            return _TokenWasReset(connection)
        renewing = worker.runner.give(partial(self._give_session, worker, connection))
        worker.leave(renewing, time.monotonic() + OPERATION_SECONDS)
        return _Failed(_TRY_AGAIN, _code(error))

    def _give_session(self, worker: Worker, connection: Connection) -> None:
        """A session whose operation failed midway stays in that operation for ever: a fresh one takes its place.

        One operation that failed says little of the token. That it opens no session either says that it is gone.
        """
        with contextlib.suppress(pkcs11.PKCS11Error):
            worker.session.close()
        self._open_session(worker, connection)

    def _open_session(self, worker: Worker, connection: Connection) -> bool:
        try:
            worker.session = connection.open_worker()
        except pkcs11.PKCS11Error as error:
            log.warning("hsm.no_session", code=_code(error))
            self._pool.put_aside(worker)
            if self._trouble is None and (classify(error) is Fault.GONE or not self._pool.circulating):
                self._trouble, self._hangs = f"the token opens no session: {_code(error)}", False
            return False
        self._pool.put(worker)
        return True

    def _find_sessions(self) -> None:
        """Asks once more for those that the token did not give, up to the first that it does not give again."""
        given = True
        while given and (worker := self._pool.take_aside()) is not None:
            opening = worker.runner.give(partial(self._open_session, worker, self.connection))
            worker.leave(opening, time.monotonic() + TEST_SECONDS)
            try:
                given = opening.outcome(time.monotonic() + TEST_SECONDS)
            except Late:
                given = False

    def _test(self) -> None:
        """Sets or clears the trouble. A test that fails is made again, in another session: one may be spoiled."""
        for _ in range(2):
            try:
                self._try_token()
            except _Failed as failed:
                found, hangs = f"the token fails its self-test: {failed.code}", False
            except (_Hangs, HsmBusy) as late:
                if isinstance(late, HsmBusy) and not self._pool.all_late():
                    raise
                found, hangs = _NO_ANSWER, True
            else:
                if self._hangs:
                    self._trouble, self._hangs = None, False
                    log.info("hsm.recovered")
                return
        self._trouble, self._hangs = found, hangs

    def _try_token(self) -> None:
        """Whatever the trouble is. Raises HsmUnavailable."""
        until = time.monotonic() + ANSWER_SECONDS
        worker = self._pool.borrow(until)
        try:
            self._sent(worker, time.monotonic() + TEST_SECONDS, lambda: False, _self_test)
        except _TokenWasReset as reset:
            self._reset(reset.connection, until)

    def _held_up(self) -> str | None:
        """Whether keys that are not in use yet can be unwrapped: one that hangs keeps the others waiting."""
        lock = self.connection.holder_lock
        if not lock.acquire(timeout=OPERATION_SECONDS):
            return "a key does not come back from being unwrapped"
        lock.release()
        return None

    def _reset(self, failed: Connection, until: float) -> None:
        """Replaces `failed` by a new connection, unless another thread has. Raises HsmUnavailable."""
        with self._reset_lock:
            if self.connection is not failed:
                return
            if self._closed or self._hopeless:
                raise HsmUnavailable(_OUT_OF_REACH)
            if self._under_way is None or self._under_way.is_done():
                self._under_way = self._resetter.give(self._replace_connection)
            under_way = self._under_way
        try:
            under_way.outcome(until)
        except Late:
            self._trouble, self._hangs = self._trouble or "the token does not come back from a reset", False
        if self._trouble is not None:
            raise HsmUnavailable(_OUT_OF_REACH)

    def _replace_connection(self) -> None:
        if not self._pool.hold_all(time.monotonic() + DRAIN_SECONDS):
            self._trouble, self._hangs = "a call does not come back from the token, so it cannot be reset", False
            return
        try:
            self._module.reset()
            connection, sessions = self._connect(least=1)
        except Misconfigured as error:
            self._hopeless = isinstance(error, WrongPin)
            self._trouble, self._hangs = error.message, False
        except pkcs11.PKCS11Error as error:
            self._trouble, self._hangs = f"the token is out of reach: {_code(error)}", False
        else:
            # In this order: the handles of the old connection may be those of other keys in the new one.
            self.connection = connection
            self._trouble, self._hangs = None, False
            self._pool.release_all(sessions)
            log.info("hsm.recovered", sessions=len(sessions))

    def _connect(self, *, least: int) -> tuple[Connection, list[Session]]:
        """A connection, and sessions for the workers: `least`, or more."""
        connection = connect(self._module, self._config)
        sessions = [connection.open_worker()]
        operations.self_test(connection, sessions[0])
        self._require_same_keys(connection, sessions[0])
        while len(sessions) < self._config.workers:
            try:
                sessions.append(connection.open_worker())
            except pkcs11.PKCS11Error as error:
                if len(sessions) < least:
                    raise
                log.warning("hsm.no_session", code=_code(error))
                break
        return connection, sessions

    def _require_same_keys(self, connection: Connection, session: Session) -> None:
        """A token made anew can hold keys of the same names. Raises Misconfigured unless they are the same.

        An older generation may be gone, since it is destroyed when it was replaced.
        """
        found = {
            (purpose, generation): operations.keyed_digest(connection, session, purpose, generation, _WITNESS)
            for purpose in (Purpose.ROW, Purpose.DIGEST, Purpose.AUDIT)
            for generation in connection.keyring.handles[purpose]
        }
        for (purpose, generation), digest in self._witnesses.items():
            replaced = generation < connection.keyring.newest(purpose)
            if found.get((purpose, generation), digest if replaced else None) != digest:
                raise Misconfigured(
                    f"The token '{self._config.label}' holds another keysvc-{purpose}-{generation} than at the start:"
                    " bring back the token that it was"
                )
        self._witnesses = found


def _self_test(connection: Connection, session: Session) -> None:
    operations.self_test(connection, session)
    connection.signer.watch(session, connection.known_answer_key, HmacAlgorithm.HMAC_SHA256)


def _code(error: pkcs11.PKCS11Error) -> str:
    """For the log: the library's name of it, with what it says of itself, if anything."""
    return ": ".join(filter(None, (type(error).__name__, str(error))))


class _Failed(HsmUnavailable):
    """The token failed an operation."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class _Hangs(HsmUnavailable):
    """The token did not answer in time."""


class _TokenWasReset(Exception):
    """The connection that a call used is no longer good."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
