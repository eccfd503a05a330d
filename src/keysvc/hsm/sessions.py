"""Calls to the token: lending them a worker session, telling faults apart, and testing the token.

Every call borrows a worker session for as long as it is in the module. Calls that come while the token is
reset wait for a session of the new connection, and most never notice. Where a reset fails, the token is
out of reach: calls then fail at once, and `heal` looks for it.

No call waits for longer than `ANSWER_SECONDS`. What may hang is done by the worker's own thread, and left
behind with its session where it is late; the others go on. Only the MACs of a token that answers in
microseconds, by keys that are unwrapped, are made by the call's own thread (`keysvc.hsm.signer`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar, TypeVarTuple

import pkcs11
import structlog
from pkcs11 import Session

from keysvc.hsm import operations, own_keys
from keysvc.hsm.connection import Connection, NoSuchGeneration, TokenConfig
from keysvc.hsm.errands import Errand, Late
from keysvc.hsm.faults import Fault, classify, code_of
from keysvc.hsm.link import NO_ANSWER, OUT_OF_REACH, Link, Trouble
from keysvc.hsm.module import Module
from keysvc.hsm.workers import TokenFigures, Worker
from keysvc.model.errors import HsmBusy, HsmUnavailable, Misconfigured
from keysvc.model.slots import HmacAlgorithm

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

ANSWER_SECONDS = 1.5
"""How long a call waits for all that it needs of the token, so that an answer comes within two seconds."""
OPERATION_SECONDS = 0.8
"""How long an operation may be in the token before its call is told that it hangs. A call may meet two of them."""
TEST_SECONDS = 0.5
"""The same for the health check, which so finds a token that hangs before the calls that wait for it give up."""

_TEST_PAUSE_SECONDS = 0.1
"""Before a self-test that failed is made again: while another process logs in, SoftHSM writes to the token, and answers
CKR_GENERAL_ERROR to whoever asks for its state meanwhile."""

_TRY_AGAIN = "The token could not do this now: try again"
_AT_HAND: dict[Callable[..., object], Callable[..., bool]] = {
    operations.hmac: lambda connection, key, _message: key.ident in connection.handles,
    operations.hmacs: lambda connection, runs: all(key.ident in connection.handles for key, _ in runs),
    operations.keyed_digest: lambda *_: True,
    operations.keyed_digests: lambda *_: True,
}
"""MACs, and whether the keys that they need are unwrapped: unwrapping may hang where a MAC does not."""

log = structlog.get_logger(__name__)


class Sessions:
    """Thread-safe."""

    def __init__(self, module: Module, config: TokenConfig) -> None:
        """Opens all sessions, one after another. Raises Misconfigured or PKCS11Error."""
        self._link = Link(module, config)

    @property
    def connection(self) -> Connection:
        """The one in use. A call has its own from when it has a session."""
        return self._link.connection

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
            self._call(own_keys.find_keys)
        except Misconfigured as error:
            log.error("hsm.keys", trouble=error.message)
            raise HsmUnavailable(_TRY_AGAIN) from None

    def heal(self) -> str | None:
        """Tests the token, and resets it where it fails. Returns what is wrong, or None. Blocks for some seconds."""
        link = self._link
        try:
            if link.trouble is None or link.trouble.hangs:
                self._test()
            if link.trouble is None:
                link.find_sessions()
            elif not link.trouble.hangs:
                link.reset(link.connection, time.monotonic() + ANSWER_SECONDS)
        except HsmUnavailable as error:
            return link.trouble.text if link.trouble else error.message
        return link.trouble.text if link.trouble else self._held_up()

    def is_at_hand(self) -> bool:
        """Whether MACs are made at once, by the call's own thread: by a token that is fast, and not out of sessions.

        Nor while a key is being unwrapped, which may hang: another that is used for the first time would wait for it.
        """
        link = self._link
        connection = link.connection
        return (
            link.trouble is None
            and connection.signer.holding
            and link.pool.has_idle()
            and not connection.holder_lock.locked()
        )

    def figures(self) -> TokenFigures:
        """Does not ask the token, and does not block."""
        handles, workers, circulating = self.connection.handles, self._link.pool.workers, self._link.pool.circulating
        return TokenFigures(
            operations=sum(worker.operations for worker in workers),
            errors=sum(worker.errors for worker in workers),
            sessions=circulating,
            sessions_in_use=max(0, circulating - self._link.pool.idle.qsize()),
            handles=len(handles),
            handle_hits=handles.hits,
            handle_misses=handles.misses,
            refreshes=self._link.refreshes,
        )

    def close(self) -> None:
        """Waits for the calls in the module, and logs out; not where one hangs. Calls fail from now on."""
        self._link.close()

    def _call(self, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        until = time.monotonic() + ANSWER_SECONDS
        try:
            return self._once(until, operation, *args)
        except _TokenWasReset as reset:
            self._link.require()
            self._link.reset(reset.connection, until)
        try:
            return self._once(until, operation, *args)
        except _TokenWasReset:
            raise HsmUnavailable(_TRY_AGAIN) from None

    def _once(self, until: float, operation: Callable[[Connection, Session, *Ts], R], *args: *Ts) -> R:
        link = self._link
        link.require()
        worker = link.pool.borrow(until, link.is_in_trouble)
        if link.is_in_trouble():
            link.pool.put(worker)
            raise HsmUnavailable(OUT_OF_REACH)
        connection = link.connection
        at_hand = _AT_HAND.get(operation)
        if at_hand is not None and connection.signer.holding and at_hand(connection, *args):
            return self._run(worker, connection, operation, *args)
        until = min(until, time.monotonic() + OPERATION_SECONDS)
        return self._sent(worker, until, link.is_in_trouble, operation, *args)

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
        if self._link.pool.all_late() and self._link.trouble is None:
            self._link.trouble = NO_ANSWER

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
            self._link.pool.put(worker)
            raise
        self._link.pool.put(worker)
        if connection.wear.is_over:
            self._link.refresh(connection)
        return result

    def _told_apart(
        self, error: pkcs11.PKCS11Error, worker: Worker, connection: Connection, operation: Callable[..., object]
    ) -> Exception:
        fault = classify(error)
        log.warning("hsm.fault", operation=operation.__name__, code=code_of(error), fault=fault.name)
        if fault is Fault.RESET:
            self._link.pool.put(worker)  # as it is: a reset gives it another session
            return _TokenWasReset(connection)
        self._link.renew(worker, connection)
        return _Failed(_TRY_AGAIN, code_of(error))

    def _test(self) -> None:
        """Sets or clears the trouble. A test that fails is made again, in another session: one may be spoiled."""
        for pause in (_TEST_PAUSE_SECONDS, 0):
            try:
                self._try_token()
            except _Failed as failed:
                time.sleep(pause)
                found = Trouble(f"the token fails its self-test: {failed.code}")
            except (_Hangs, HsmBusy) as late:
                if isinstance(late, HsmBusy) and not self._link.pool.all_late():
                    raise
                found = NO_ANSWER
            else:
                if self._link.trouble is NO_ANSWER:
                    self._link.trouble = None
                    log.info("hsm.recovered")
                return
        self._link.trouble = found

    def _try_token(self) -> None:
        """Whatever the trouble is. Raises HsmUnavailable."""
        until = time.monotonic() + ANSWER_SECONDS
        worker = self._link.pool.borrow(until)
        try:
            self._sent(worker, time.monotonic() + TEST_SECONDS, lambda: False, _self_test)
        except _TokenWasReset as reset:
            self._link.reset(reset.connection, until)

    def _held_up(self) -> str | None:
        """Whether keys that are not in use yet can be unwrapped: one that hangs keeps the others waiting."""
        lock = self.connection.holder_lock
        if not lock.acquire(timeout=OPERATION_SECONDS):
            return "a key does not come back from being unwrapped"
        lock.release()
        return None


def _self_test(connection: Connection, session: Session) -> None:
    operations.self_test(connection, session)
    connection.signer.watch(session, connection.known_answer_key, HmacAlgorithm.HMAC_SHA256)


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
