"""Metrics for Prometheus on a port of their own. The parts keep plain numbers; they are read when somebody asks.

Names and labels are fixed, and hold nothing of a caller's; docs/operations.md lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import prometheus_client
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keysvc.cli.assembly import Core, Limits
from keysvc.cli.call_log import CallLog
from keysvc.model.errors import KeysvcError, Misconfigured
from keysvc.rpc.server import Server
from keysvc.service.cache import Cache, Lookups

SOON = timedelta(days=7)
"""What counts as due, before it is overdue."""


def new_registry() -> CollectorRegistry:
    """What prometheus-client tells of the process, the interpreter and its garbage collector."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, and nobody asks for them
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@dataclass(frozen=True, slots=True)
class Parts(Collector):
    """The parts whose numbers are told. Asking the database is the only thing that may take time."""

    core: Core
    cache: Cache
    limits: Limits
    call_log: CallLog
    server: Server
    handle_cache: int
    """How many handles are kept at most."""

    def collect(self) -> Iterable[Metric]:
        """A database out of reach takes only the numbers away that stand in it."""
        yield from self._serving()
        yield _counter("keysvc_call_lines_lost", "Lines of calls that stderr did not take.", self.call_log.lost)
        yield self._refusals()
        yield from self._token()
        yield from self._memory()
        yield from self._integrity()
        with suppress(KeysvcError):
            yield from self._rotation()
            yield from self._audit()

    def _serving(self) -> Iterator[Metric]:
        server = self.server
        yield _gauge("keysvc_serving", "Whether health is SERVING.", server.serving())
        yield _gauge("keysvc_calls_waiting", "Calls that wait for a thread.", server.calls_waiting())
        yield _gauge("keysvc_calls_waiting_max", "Calls that may wait for a thread.", server.max_waiting)
        expires = server.certificate_expires()
        if expires is not None:
            name = "keysvc_certificate_expiry_timestamp_seconds"
            yield _gauge(name, "When the server's certificate ends.", expires.timestamp())

    def _refusals(self) -> Metric:
        refused = CounterMetricFamily(
            "keysvc_failures_refused", "Attempts refused because too many before them failed.", labels=["kind"]
        )
        refused.add_metric(["authentications"], self.limits.authentications.refused)
        refused.add_metric(["verifications"], self.limits.verifications.refused)
        return refused

    def _token(self) -> Iterator[Metric]:
        figures = self.core.token.figures()
        yield _counter("keysvc_token_operations", "Operations begun in the token.", figures.operations)
        yield _counter("keysvc_token_errors", "Operations that the token failed.", figures.errors)
        yield _gauge("keysvc_token_sessions", "Worker sessions open.", figures.sessions)
        yield _gauge("keysvc_token_sessions_in_use", "Worker sessions in a call.", figures.sessions_in_use)
        yield _gauge("keysvc_token_handles", "Unwrapped keys kept in the token.", figures.handles)
        what = "Times that the token's library was initialised anew, for the memory that it keeps."
        yield _counter("keysvc_token_refreshes", what, figures.refreshes)
        yield _gauge("keysvc_token_handles_max", "Unwrapped keys that may be kept.", self.handle_cache)

    def _memory(self) -> Iterator[Metric]:
        figures = self.core.token.figures()
        lookups = CounterMetricFamily(
            "keysvc_cache_lookups", "Looks into a cache, by what they found.", labels=["cache", "result"]
        )
        caches = {
            "merchants": self.cache.merchant_lookups,
            "headers": self.cache.header_lookups,
            "handles": Lookups(figures.handle_hits, figures.handle_misses),
        }
        for name, counted in caches.items():
            lookups.add_metric([name, "hit"], counted.hits)
            lookups.add_metric([name, "miss"], counted.misses)
        yield lookups
        yield _counter("keysvc_epoch_reads", "Reads of the database's epoch begun.", self.core.store.epoch.reads)
        yield _gauge("keysvc_epoch", "The epoch that this process has seen.", self.cache.epoch)

    def _integrity(self) -> Iterator[Metric]:
        yield _gauge(
            "keysvc_altered_resources", "Altered resources that this process found.", self.core.reporter.found()
        )
        anchoring = self.core.anchoring
        yield _gauge("keysvc_anchor_held", "Whether the database is as far as the token's anchor.", anchoring.held)
        if anchoring.last_kept is not None:
            age = (self.core.now() - anchoring.last_kept).total_seconds()
            yield _gauge("keysvc_anchor_age_seconds", "Time since the anchor was last held and kept.", age)

    def _rotation(self) -> Iterator[Metric]:
        store, now = self.core.store, self.core.now()
        overdue, in_a_week = store.due_counts(now, now + SOON)
        yield _gauge("keysvc_credentials_overdue", "Credentials past their rotate_before.", overdue)
        soon = in_a_week - overdue
        yield _gauge("keysvc_credentials_due", "Credentials whose rotate_before comes within a week.", soon)
        yield _gauge("keysvc_keys_retiring", "Renewed keys whose overlap has not ended.", store.retiring(now))

    def _audit(self) -> Iterator[Metric]:
        end, head = self.core.store.audit_end(), self.core.store.last_audit_head()
        signed = head.sequence if head else 0
        yield _gauge("keysvc_audit_unsigned_events", "Events after the last signature.", max(0, end.sequence - signed))
        if head is not None:
            age = (self.core.now() - head.time).total_seconds()
            yield _gauge("keysvc_audit_signature_age_seconds", "Time since the last signature.", age)


@contextmanager
def served(listen: str, registry: CollectorRegistry) -> Iterator[str]:
    """Serves the metrics over HTTP meanwhile; gives the address. Raises Misconfigured."""
    host, _, port = listen.rpartition(":")
    try:
        server, thread = prometheus_client.start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError, ValueError):
        raise Misconfigured(
            f"Cannot serve metrics on {listen}: set KEYSVC_METRICS_LISTEN to a HOST:PORT of this machine that is free"
        ) from None
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, value=value)
