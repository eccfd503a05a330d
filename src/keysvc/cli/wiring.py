"""How the parts hang together: opened in this order, closed in the other."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from keysvc.cli.settings import Settings, read_pin, require_path
from keysvc.hsm import keyring
from keysvc.hsm.connection import TokenConfig, log_in
from keysvc.hsm.module import Module
from keysvc.hsm.token import Token
from keysvc.model.errors import Misconfigured, StoreUnavailable
from keysvc.rpc.credentials import CredentialServicer
from keysvc.rpc.merchants import MerchantServicer
from keysvc.rpc.server import Server, ServerConfig
from keysvc.service.access import Access
from keysvc.service.audit import AuditSigner
from keysvc.service.bootstrap import Admins, bind, require_bound
from keysvc.service.cache import Cache
from keysvc.service.digests import Digester
from keysvc.service.integrity import Sealer
from keysvc.service.lifecycle import Lifecycle
from keysvc.service.maintenance import IntegrityReporter, Maintenance
from keysvc.service.material import ImportKey, Maker
from keysvc.service.merchants import Merchants
from keysvc.service.usage import Usage
from keysvc.service.verification import Verification
from keysvc.service.viewing import Viewing
from keysvc.store import schema
from keysvc.store.engine import open_engine
from keysvc.store.store import Store

_ENDINGS = (signal.SIGTERM, signal.SIGINT)


GC_THRESHOLD = 20_000
"""Objects made between two runs of the youngest generation's collector: calls leave few cycles, and many objects."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Core:
    """What both a server and `init` need."""

    store: Store
    token: Token
    sealer: Sealer
    digester: Digester
    reporter: IntegrityReporter


def token_config(settings: Settings) -> TokenConfig:
    """Raises Misconfigured for a setting that is absent or a PIN file that cannot be used."""
    return TokenConfig(
        module_path=str(require_path(settings.pkcs11_module, "KEYSVC_PKCS11_MODULE")),
        label=settings.token_label,
        pin=read_pin(require_path(settings.pin_file, "KEYSVC_PIN_FILE")),
        workers=settings.threads,
        handle_cache=settings.handle_cache,
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
        store = Store(engine, AuditSigner(token))
        stack.callback(store.close)
        reporter = IntegrityReporter(store, now)
        yield Core(store, token, Sealer(token, reporter), Digester(token), reporter)


def make_token_keys(module: Module, config: TokenConfig) -> list[str]:
    """Makes the token's own keys that are missing; returns their labels."""
    _, session = log_in(module, config, writable=True)
    try:
        return keyring.make_missing_keys(session)
    finally:
        session.close()


def initialised(core: Core) -> Admins:
    """Binds a new database to the token. Raises Misconfigured where it is bound to another."""
    bind(core.store, core.token)
    return Admins(core.store, core.token, core.sealer, core.digester, now)


def serve(settings: Settings, module: Module, config: TokenConfig, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. `ready` is told the address. Raises Misconfigured."""
    # Blocked in every thread, and waited for below: a handler of Python's could be kept from running by the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    with ExitStack() as stack:
        core = stack.enter_context(opened(settings, module, config))
        require_bound(core.store, core.token)
        usage = Usage(core.store)
        maintenance = Maintenance(core.store, usage, core.reporter, now)
        server = _server(settings, core, usage)
        maintenance.start()
        stack.callback(maintenance.stop)
        server.start()
        stack.callback(server.stop)
        ready(server.address)
        # What is loaded by now stays: the collector need not walk through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        signal.sigwait(_ENDINGS)
        # A second SIGTERM changes nothing; a second Ctrl-C ends the process at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _server(settings: Settings, core: Core, usage: Usage) -> Server:
    cache = Cache(core.store, core.token, core.sealer)
    maker = Maker(core.token, core.digester)
    credentials = CredentialServicer(
        Lifecycle(core.store, maker, core.sealer, usage, now),
        Verification(cache, core.token, core.digester, usage, now),
        Viewing(core.store, usage, now),
        ImportKey(core.token),
    )
    merchants = MerchantServicer(Merchants(core.store, core.sealer, now))

    def store_trouble() -> str | None:
        try:
            cache.refresh()
        except StoreUnavailable as error:
            return error.message
        return None

    return Server(
        ServerConfig(settings.listen, settings.threads, settings.max_waiting),
        cache,
        Access(cache, core.digester),
        (credentials, merchants),
        [core.token.heal, store_trouble],
    )
