"""The connection in use and the sessions on it: what of the token is lost, and how it is had again.

A reset takes every worker session first, so the pool is the lock between calls (readers) and a reset (the one
writer). Sessions are opened and connections replaced by threads of their own: whoever waits for one does so
for a time. What is wrong meanwhile is the `trouble`; calls fail at once while there is any.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from functools import partial

import pkcs11
import structlog
from pkcs11 import Session

from keysvc.hsm import operations
from keysvc.hsm.connection import Connection, TokenConfig, WrongPin, connect
from keysvc.hsm.errands import Errand, Late, Runner
from keysvc.hsm.faults import Fault, classify, code_of
from keysvc.hsm.module import Module
from keysvc.hsm.witnesses import Witnesses
from keysvc.hsm.workers import Pool, Worker
from keysvc.model.errors import HsmUnavailable, Misconfigured

OPEN_SECONDS = 0.5
"""How long the health check waits for a session to be opened."""
RENEW_SECONDS = 1.0
"""How long a worker may be without its session until it counts as one that hangs."""
DRAIN_SECONDS = 1.5
"""How long a reset waits for the calls that are in the module, and so does the end of the process."""
REFRESH_SECONDS = 0.25
"""The same, where the connection is replaced for its wear only: calls that come meanwhile wait."""
TRY_AGAIN_SECONDS = 0.1

OUT_OF_REACH = "The token is out of reach; keysvc looks for it, and goes on by itself"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, for the log and the health check; callers are told no detail."""

    text: str
    hangs: bool = False
    """The token answers nothing, but may go on with all that it holds: no reset is needed."""


NO_ANSWER = Trouble("the token does not answer", hangs=True)


class Link:
    """Thread-safe."""

    def __init__(self, module: Module, config: TokenConfig) -> None:
        """Opens all sessions, one after another. Raises Misconfigured or PKCS11Error."""
        self.pool = Pool(config.workers)
        self.trouble: Trouble | None = None
        self._module = module
        self._config = config
        self._witnesses = Witnesses(config.label)
        self._resetter = Runner("keysvc-token-reset")
        self._reset_lock = threading.Lock()
        self._under_way: Errand[None] | None = None
        self._closed = False
        self._hopeless = False
        self.refreshes = 0
        self.connection, sessions = self._connect(least=config.workers)
        self.pool.release_all(sessions)

    def is_in_trouble(self) -> bool:
        return self.trouble is not None

    def require(self) -> None:
        """Raises HsmUnavailable while there is trouble."""
        if self.trouble is not None:
            raise HsmUnavailable(OUT_OF_REACH)

    def renew(self, worker: Worker, connection: Connection) -> None:
        """A session whose operation failed midway stays in that operation for ever: a fresh one takes its place."""
        renewing = worker.runner.give(partial(self._renew, worker, connection))
        worker.leave(renewing, time.monotonic() + RENEW_SECONDS)

    def find_sessions(self) -> None:
        """Asks once more for those that the token did not give, up to the first that it does not give again."""
        given = True
        while given and (worker := self.pool.take_aside()) is not None:
            opening = worker.runner.give(partial(self._open_session, worker, self.connection))
            worker.leave(opening, time.monotonic() + OPEN_SECONDS)
            try:
                given = opening.outcome(time.monotonic() + OPEN_SECONDS)
            except Late:
                given = False

    def reset(self, failed: Connection, until: float) -> None:
        """Replaces `failed` by a new connection, unless another thread has. Raises HsmUnavailable."""
        with self._reset_lock:
            if self.connection is not failed:
                return
            if self._closed or self._hopeless:
                raise HsmUnavailable(OUT_OF_REACH)
            if self._under_way is None or self._under_way.is_done():
                self._under_way = self._resetter.give(self._replace_connection)
            under_way = self._under_way
        try:
            under_way.outcome(until)
        except Late:
            self.trouble = self.trouble or Trouble("the token does not come back from a reset")
        self.require()

    def refresh(self, worn: Connection) -> None:
        """Replaces a connection that has made its share of keys, unless another thread has. Does not block.

        Calls wait for sessions meanwhile.
        """
        with self._reset_lock:
            under_way = self._under_way is not None and not self._under_way.is_done()
            if self.connection is worn and self.trouble is None and not under_way and not self._closed:
                self._under_way = self._resetter.give(self._refresh_connection)

    def close(self) -> None:
        """Waits for the calls in the module, and logs out; not where one hangs. Calls fail from now on."""
        with self._reset_lock:
            self._closed = True
            self.trouble = Trouble("the token was closed")
            closing = self._resetter.give(self._log_out)
        with contextlib.suppress(Late):
            closing.outcome(time.monotonic() + 2 * DRAIN_SECONDS)
        self._resetter.end()
        self.pool.end()

    def _renew(self, worker: Worker, connection: Connection) -> None:
        with contextlib.suppress(pkcs11.PKCS11Error):
            worker.session.close()
        self._open_session(worker, connection)

    def _open_session(self, worker: Worker, connection: Connection) -> bool:
        """An operation that failed says little of the token. That it opens no session either says more."""
        try:
            worker.session = connection.open_worker()
        except pkcs11.PKCS11Error as error:
            log.warning("hsm.no_session", code=code_of(error))
            self.pool.put_aside(worker)
            if self.trouble is None and (classify(error) is Fault.GONE or not self.pool.circulating):
                self.trouble = Trouble(f"the token opens no session: {code_of(error)}")
            return False
        self.pool.put(worker)
        return True

    def _log_out(self) -> None:
        if not self.pool.hold_all(time.monotonic() + DRAIN_SECONDS):
            log.warning("hsm.left_open", reason="a call does not come back from the token")
            return
        for worker in self.pool.workers:
            with contextlib.suppress(pkcs11.PKCS11Error):
                worker.session.close()
        self.connection.close()

    def _replace_connection(self) -> None:
        if not self.pool.hold_all(time.monotonic() + DRAIN_SECONDS):
            self.trouble = Trouble("a call does not come back from the token, so it cannot be reset")
            return
        trouble = self._connect_anew()
        if trouble is None:
            log.info("hsm.recovered", sessions=self.pool.circulating)
        else:
            self.trouble = trouble

    def _refresh_connection(self) -> None:
        """Nothing is wrong: a call that does not come back from the token in time is let finish, and others go on."""
        worn, begun = self.connection, time.monotonic()
        if not self.pool.hold_briefly(begun + REFRESH_SECONDS):
            worn.wear.prolong()
            return
        trouble = self._connect_anew()
        if trouble is not None and not self._hopeless:
            # Another process may be initialising the same token's module just now.
            time.sleep(TRY_AGAIN_SECONDS)
            trouble = self._connect_anew()
        if trouble is None:
            self.refreshes += 1
            log.info("hsm.refreshed", keys=worn.wear.made, seconds=round(time.monotonic() - begun, 3))
        else:
            self.trouble = trouble

    def _connect_anew(self) -> Trouble | None:
        """With every worker held; they go on with new sessions, or it returns what is wrong."""
        try:
            self._module.reset()
            connection, sessions = self._connect(least=1)
        except Misconfigured as error:
            self._hopeless = isinstance(error, WrongPin)
            return Trouble(error.message)
        except pkcs11.PKCS11Error as error:
            return Trouble(f"the token is out of reach: {code_of(error)}")
        except BaseException:
            self.trouble = Trouble("the token cannot be connected to anew")
            raise
        # In this order: the handles of the old connection may be those of other keys in the new one.
        self.connection = connection
        self.trouble = None
        self.pool.release_all(sessions)
        return None

    def _connect(self, *, least: int) -> tuple[Connection, list[Session]]:
        """A connection, and sessions for the workers: `least`, or more."""
        connection = connect(self._module, self._config)
        sessions = [connection.open_worker()]
        operations.self_test(connection, sessions[0])
        self._witnesses.require_same(connection, sessions[0])
        while len(sessions) < self._config.workers:
            try:
                sessions.append(connection.open_worker())
            except pkcs11.PKCS11Error as error:
                if len(sessions) < least:
                    raise
                log.warning("hsm.no_session", code=code_of(error))
                break
        return connection, sessions
