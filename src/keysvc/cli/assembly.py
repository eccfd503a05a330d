"""How the services are put together, and the server on top of them."""

from __future__ import annotations

from dataclasses import dataclass

from keysvc.cli.settings import Settings
from keysvc.hsm.token import Token
from keysvc.model.errors import StoreUnavailable
from keysvc.rpc.audit import AuditServicer
from keysvc.rpc.batches import Batches
from keysvc.rpc.credentials import CredentialServicer
from keysvc.rpc.guarded import Guards
from keysvc.rpc.hsm_keys import HsmKeyServicer
from keysvc.rpc.merchants import MerchantServicer
from keysvc.rpc.observation import Observer
from keysvc.rpc.principals import PrincipalServicer
from keysvc.rpc.server import Server, ServerConfig
from keysvc.rpc.services import Servicers
from keysvc.rpc.tokens import TokenServicer
from keysvc.service.access import Access
from keysvc.service.anchoring import Anchoring
from keysvc.service.audit import AuditReader, AuditSigner
from keysvc.service.authority import Authority
from keysvc.service.batch import BatchVerification
from keysvc.service.cache import Cache
from keysvc.service.calls import Clock
from keysvc.service.digests import Digester
from keysvc.service.encryption import Encryption
from keysvc.service.failures import FailureLimit
from keysvc.service.fleet import Fleet
from keysvc.service.hsm_keys import HsmKeys
from keysvc.service.integrity import Sealer
from keysvc.service.lifecycle import Lifecycle
from keysvc.service.live_keys import LiveKeys
from keysvc.service.maintenance import IntegrityReporter
from keysvc.service.material import ImportKey, Maker
from keysvc.service.merchant_tokens import MerchantTokens
from keysvc.service.merchants import Merchants
from keysvc.service.principals import Passwords, Principals
from keysvc.service.refusals import Refusals
from keysvc.service.revocation import Revocation
from keysvc.service.rotations import Rotations
from keysvc.service.signing import Signing
from keysvc.service.trials import Trials
from keysvc.service.usage import Usage
from keysvc.service.verification import Verification
from keysvc.service.viewing import Viewing
from keysvc.store.store import Store

RECORDED_STRANGERS = 60
"""Refusals a minute of callers that proved nothing, by address, that are written to the audit record."""


@dataclass(frozen=True, slots=True)
class Core:
    """What both a server and `init` need."""

    store: Store
    signer: AuditSigner
    """The one that the store asks."""
    token: Token
    sealer: Sealer
    digester: Digester
    reporter: IntegrityReporter
    anchoring: Anchoring
    now: Clock


@dataclass(frozen=True, slots=True)
class Limits:
    """On failures of every kind; the metrics read them."""

    authentications: FailureLimit
    verifications: FailureLimit

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            FailureLimit("authentications", settings.failed_authentications),
            FailureLimit("verifications", settings.failed_verifications),
        )


def servicers(core: Core, cache: Cache, usage: Usage, limits: Limits, authority: Authority) -> Servicers:
    store, token, sealer, digester, now = core.store, core.token, core.sealer, core.digester, core.now
    return Servicers(
        _credentials(core, cache, usage, limits, authority),
        TokenServicer(MerchantTokens(store, cache, token, sealer, digester, limits.verifications, now)),
        MerchantServicer(Merchants(store, sealer, now)),
        PrincipalServicer(Principals(store, Passwords(token, digester), sealer, now)),
        HsmKeyServicer(HsmKeys(store, token, sealer, now)),
        AuditServicer(AuditReader(store)),
    )


def _credentials(core: Core, cache: Cache, usage: Usage, limits: Limits, authority: Authority) -> CredentialServicer:
    store, token, sealer, digester, now = core.store, core.token, core.sealer, core.digester, core.now
    keys, viewing = LiveKeys(cache), Viewing(store, usage, now)
    trials = Trials(keys, usage, limits.verifications, now)
    return CredentialServicer(
        lifecycle=Lifecycle(store, Maker(token, digester), sealer, usage, now),
        revocation=Revocation(store, sealer, usage, now),
        rotations=Rotations(store, sealer, usage, now),
        viewing=viewing,
        fleet=Fleet(store, viewing, now),
        verification=Verification(trials, token, digester),
        batches=Batches(authority, BatchVerification(trials, token)),
        signing=Signing(keys, token, usage, now),
        encryption=Encryption(keys, token, usage, now),
        import_key=ImportKey(token),
        now=now,
    )


def guards(core: Core, cache: Cache, limits: Limits, authority: Authority, observer: Observer) -> Guards:
    return Guards(
        cache,
        Access(core.store, cache, core.digester, limits.authentications, core.now),
        authority,
        Refusals(core.store, FailureLimit("refusals", RECORDED_STRANGERS), core.now),
        observer,
    )


def server(config: ServerConfig, core: Core, cache: Cache, usage: Usage, limits: Limits, observer: Observer) -> Server:
    """Raises Misconfigured where an address cannot be had."""

    def store_trouble() -> str | None:
        try:
            cache.refresh()
        except StoreUnavailable as error:
            return error.message
        return None

    authority = Authority(core.store, core.sealer)
    return Server(
        config,
        guards(core, cache, limits, authority, observer),
        servicers(core, cache, usage, limits, authority),
        [core.token.heal, store_trouble],
    )
