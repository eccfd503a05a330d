"""What runs beside the calls: writing usage down, erasing keys whose overlap ended, telling of altered rows, and
having the audit record signed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import count

import structlog

from keysvc.model.audit import AuditRecord
from keysvc.model.errors import HsmUnavailable, StoreUnavailable
from keysvc.model.names import CredentialName
from keysvc.service.anchoring import Anchoring
from keysvc.service.audit import AuditSigner, AuditWatch
from keysvc.service.calls import Clock, itself, record
from keysvc.service.usage import FLUSH_SECONDS, Usage
from keysvc.store.store import Store

REQUESTS_KEPT = timedelta(hours=48)
"""The contract says at least 24 hours."""
JWTS_KEPT = timedelta(minutes=10)
"""After their end: another replica's clock may be behind."""
CHANGES_KEPT = 100_000
"""A replica that is further behind forgets everything, and reads anew."""
ROUND_SECONDS = 1.0
EXPIRE_EVERY = 60
EXPIRE_AT_ONCE = 200
"""Keys in one round; while there are more, every round erases some, and what else a round does has its turn."""
FORGET_EVERY = 3600
SIGN_SECONDS = 60
"""Between two signatures over the audit record, where there are events to sign."""

log = structlog.get_logger(__name__)


class IntegrityReporter:
    """Takes the names of altered resources, from any thread, and writes an audit event for each, once."""

    def __init__(self, store: Store, now: Clock) -> None:
        self._store = store
        self._now = now
        self._found: dict[str, bool] = {}

    def __call__(self, resource: str) -> None:
        if self._found.setdefault(resource, False) is False:
            log.error("integrity.failed", resource=resource)

    def found(self) -> int:
        """How many altered resources this process has come upon."""
        return len(self._found)

    def flush(self) -> None:
        """Writes the events. Raises StoreUnavailable, and then keeps what it has not written."""
        for resource in [name for name, written in self._found.copy().items() if not written]:
            event = AuditRecord(
                time=self._now(),
                principal=itself("").name,
                method="",
                resource=resource,
                version=0,
                outcome="REFUSED",
                reason="INTEGRITY",
                request_id="",
                peer="",
            )
            with self._store.change() as change:
                change.audit(event)
            self._found[resource] = True


class Maintenance:
    """Two threads: one writes uses down each second, and waits for nothing else; the other does all the rest.

    `stop` ends them, writes what is still in memory, and has the audit record signed.
    """

    def __init__(
        self, store: Store, signer: AuditSigner, usage: Usage, reporter: IntegrityReporter, now: Clock
    ) -> None:
        """`signer` is the one that the store asks."""
        self._store = store
        self._usage = usage
        self._reporter = reporter
        self._now = now
        self._audit = AuditWatch(store, signer, now)
        self._anchoring: Anchoring | None = None
        self._anchor_every = SIGN_SECONDS
        self._expiring = False
        """Whether there were more keys to erase than one round does."""
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._write_uses, "keysvc-usage"), (self._run, "keysvc-maintenance"))
        ]

    def keep_anchor(self, anchoring: Anchoring, seconds: int) -> None:
        """Before `start`: has the anchor kept at the start, every so many seconds, and at the stop."""
        self._anchoring = anchoring
        self._anchor_every = seconds

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._attempt(self._usage.flush)
        self._round(0)

    def expire(self) -> int:
        """Erases keys whose overlap has ended, EXPIRE_AT_ONCE at most; they verify nothing already. Tells how many."""
        caller = itself("expire")
        expired = self._store.expired_keys(self._now(), EXPIRE_AT_ONCE)
        for merchant_id, slot, version in expired:
            with self._store.change() as change:
                if change.delete_keys(merchant_id, slot, [version]):
                    record(change, caller, str(CredentialName(merchant_id, slot)), version=version, time=self._now())
        return len(expired)

    def _expire(self) -> None:
        self._expiring = self.expire() >= EXPIRE_AT_ONCE

    def _write_uses(self) -> None:
        while not self._stopped.wait(FLUSH_SECONDS):
            self._attempt(self._usage.flush)

    def _run(self) -> None:
        self._attempt(self._audit.sign)
        if self._anchoring is not None:
            self._attempt(self._anchoring.keep)
        for second in count(1):
            if self._stopped.wait(ROUND_SECONDS):
                return
            self._round(second)

    def _round(self, second: int) -> None:
        """Round 0 is the last: it does what every round does, and has the record signed."""
        self._attempt(self._reporter.flush)
        if second % EXPIRE_EVERY == 1 or self._expiring:
            self._attempt(self._expire)
        if second % FORGET_EVERY == 1:
            self._attempt(self._forget)
        self._attempt(self._audit.sign if second % SIGN_SECONDS == 0 else self._audit.look)
        # After the signature, so that the anchor holds it.
        if self._anchoring is not None and second % self._anchor_every == 0:
            self._attempt(self._anchoring.keep if second else self._anchoring.leave)

    def _forget(self) -> None:
        now = self._now()
        self._store.forget_before(now - JWTS_KEPT, now - REQUESTS_KEPT, CHANGES_KEPT)
        self._store.forget_uses()
        self._store.fold_uses(now)

    def _attempt(self, step: Callable[[], object]) -> None:
        """What fails is tried again in its next turn; the thread must live."""
        try:
            step()
        except (StoreUnavailable, HsmUnavailable) as error:
            log.warning("maintenance.postponed", reason=error.message)
        except Exception:
            log.exception("maintenance.failed")
