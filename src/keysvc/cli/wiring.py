"""How the parts hang together: opened in this order, closed in the other."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from keysvc.cli import assembly, logs, metrics, tracing
from keysvc.cli.assembly import Core, Limits
from keysvc.cli.call_log import CallFeed, CallLog
from keysvc.cli.settings import Settings, read_pin, read_tls_key, require_path
from keysvc.hsm import lacks, provisioning
from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.module import Module
from keysvc.hsm.provisioning import Made
from keysvc.hsm.token import Token
from keysvc.model.errors import Misconfigured
from keysvc.model.permissions import PERMISSIONS
from keysvc.rpc.observation import CallCounts, CallLine
from keysvc.rpc.server import Server, ServerConfig
from keysvc.rpc.tls import Certificates
from keysvc.rpc.tls_files import TlsFiles
from keysvc.service.anchoring import Anchoring
from keysvc.service.audit import AuditSigner, note_start
from keysvc.service.bootstrap import Admins, bind, require_bound
from keysvc.service.cache import Cache
from keysvc.service.digests import Digester
from keysvc.service.integrity import Sealer
from keysvc.service.maintenance import IntegrityReporter, Maintenance
from keysvc.service.usage import Usage
from keysvc.store import alone as store_alone
from keysvc.store import schema
from keysvc.store.engine import open_engine
from keysvc.store.store import Store

log = structlog.get_logger(__name__)

_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last is for a process beside which others serve on: it ends at once, where the first two end the service."""


GC_THRESHOLD = 20_000
"""Objects made between two runs of the youngest generation's collector: calls leave few cycles, and many objects."""
GIVE_WAY_SECONDS = 0.0005
"""How long a thread keeps the GIL that another waits for: what writes the log must not keep the intake for 5 ms."""


CallLook = Callable[[CallLine], str]
"""A call, as it stands in the log."""
Ready = Callable[[str, str | None], None]
"""Told, once calls are taken, the address, and the one for clients with certificates if there is one."""


@dataclass(frozen=True, slots=True)
class Front:
    """How a process that serves shows itself."""

    call_line: CallLook
    ready: Ready
    shares_port: bool = False
    """With other processes of the same service."""


def now() -> datetime:
    return datetime.now(UTC)


def token_config(settings: Settings) -> TokenConfig:
    """Raises Misconfigured for a setting that is absent or a PIN file that cannot be used."""
    return TokenConfig(
        module_path=str(require_path(settings.pkcs11_module, "KEYSVC_PKCS11_MODULE")),
        label=settings.token_label,
        pin=read_pin(require_path(settings.pin_file, "KEYSVC_PIN_FILE")),
        workers=settings.threads,
        handle_cache=settings.handle_cache,
        refresh_after=settings.token_refresh,
        allowed=lacks.read(settings.allow_lacks or ""),
    )


def database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise Misconfigured("Set KEYSVC_DATABASE_URL")
    return settings.database_url


def upgrade_database(settings: Settings) -> tuple[str | None, str | None]:
    """Brings the database to the newest schema; returns the revision before and after. Raises Misconfigured."""
    engine = open_engine(database_url(settings))
    try:
        return schema.upgrade(engine)
    finally:
        engine.dispose()


@contextmanager
def opened(settings: Settings, module: Module, config: TokenConfig) -> Iterator[Core]:
    """The database at the newest schema, and the token with all its keys. Raises Misconfigured."""
    engine = open_engine(database_url(settings))
    schema.require_newest(engine)
    with ExitStack() as stack:
        token = Token(module, config)
        stack.callback(token.close)
        signer = AuditSigner(token)
        store = Store(engine, signer, token.expect_keys)
        stack.callback(store.close)
        reporter = IntegrityReporter(store, now)
        anchoring = Anchoring(store, token, signer, now, timedelta(seconds=settings.anchor_seconds))
        yield Core(store, signer, token, Sealer(token, reporter), Digester(token), reporter, anchoring, now)


@contextmanager
def in_use(settings: Settings, module: Module, config: TokenConfig) -> Iterator[Core]:
    """The same, where they belong together and the database is as new as the token knows it. Raises Misconfigured."""
    with opened(settings, module, config) as core:
        require_bound(core.store, core.token)
        core.anchoring.require_held()
        yield core


@contextmanager
def alone(settings: Settings, work: str) -> Iterator[bool]:
    """Whether no other process is at this work on the database; if so none begins it meanwhile."""
    engine = open_engine(database_url(settings))
    try:
        with store_alone.alone(engine, work) as is_alone:
            yield is_alone
    finally:
        engine.dispose()


def make_token_keys(module: Module, config: TokenConfig, so_pin: str | None) -> Made:
    """Makes the token's own keys that are missing."""
    return provisioning.make_missing(module, config, so_pin)


def initialised(core: Core) -> Admins:
    """Binds a new database to the token. Raises Misconfigured for another's, and one older than the anchor."""
    if core.store.bindings():
        require_bound(core.store, core.token)
    core.anchoring.require_held()
    bind(core.store, core.token)
    return Admins(core.store, core.token, core.sealer, core.digester, now)


def serve(settings: Settings, load: Callable[[], Module], config: TokenConfig, front: Front) -> None:
    """Serves until SIGTERM, SIGINT or SIGHUP, then drains. Raises Misconfigured. `load` gives the token's module."""
    # Blocked in every thread, also those of the module, and waited for below: a handler of Python's could be kept from
    # running by the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    sys.setswitchinterval(GIVE_WAY_SECONDS)
    # Files that cannot be served are told before the token is asked for anything.
    server_config = replace(_server_config(settings), shares_port=front.shares_port)
    with ExitStack() as stack:
        core = stack.enter_context(in_use(settings, load(), config))
        for lack in sorted(core.token.lacking):
            log.warning("token.lacks", what=lack, threat=lack.threat)
        usage = Usage(core.store)
        maintenance = Maintenance(core.store, core.signer, usage, core.reporter, now)
        server = _observed_server(settings, server_config, core, usage, front.call_line, stack)
        maintenance.keep_anchor(core.anchoring, settings.anchor_seconds)
        note_start(core.store, now)
        maintenance.start()
        stack.callback(maintenance.stop)
        server.start()
        stack.callback(server.stop)
        front.ready(server.address, server.mtls_address)
        # What is loaded by now stays: the collector need not walk through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        ending = signal.sigwait(_ENDINGS)
        # A second SIGTERM changes nothing; a second Ctrl-C ends the process at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if ending != signal.SIGHUP:
            server.announce_stop()
            time.sleep(settings.drain_delay)


def check(settings: Settings) -> None:
    """All that can be known before the token is asked for anything. Raises Misconfigured."""
    token_config(settings)
    _certificates(settings)
    engine = open_engine(database_url(settings))
    try:
        schema.require_newest(engine)
    finally:
        engine.dispose()


def _observed_server(
    settings: Settings, config: ServerConfig, core: Core, usage: Usage, call_line: CallLook, stack: ExitStack
) -> Server:
    """The server, with the log of its calls, its metrics and its traces: those end with `stack`."""
    call_log = CallLog(call_line, logs.write_lines)
    call_log.start()
    stack.callback(call_log.stop)
    registry, limits = metrics.new_registry(), Limits.of(settings)
    counts = CallCounts(PERMISSIONS, registry)
    feed = CallFeed(counts.count, call_log.put) if settings.log_calls else CallFeed(counts.count)
    feed.start()
    stack.callback(feed.stop)
    if settings.traces:
        config = replace(config, tracing=stack.enter_context(tracing.exporting()))
    cache = Cache(core.store, core.token, core.sealer)
    server = assembly.server(config, core, cache, usage, limits, feed.put)
    registry.register(metrics.Parts(core, cache, limits, call_log, server, settings.handle_cache))
    if settings.metrics_listen is not None:
        address = stack.enter_context(metrics.served(settings.metrics_listen, registry))
        log.info("metrics.serving", address=address)
    return server


def _server_config(settings: Settings) -> ServerConfig:
    return ServerConfig(
        settings.listen,
        settings.threads,
        settings.max_waiting,
        settings.connection_age,
        settings.mtls_listen,
        _certificates(settings),
    )


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    files = TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca, read_tls_key)
    return Certificates(files, now)
