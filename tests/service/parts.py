"""The services wired together, with short words for what tests do with them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from support.databases import Database, Row

from keysvc.hsm.token import Token
from keysvc.model.names import CredentialName
from keysvc.model.principals import PrincipalRecord
from keysvc.model.records import Holdings, MerchantState
from keysvc.model.secrets import SecretText
from keysvc.model.slots import Kind, Slot
from keysvc.service.access import Access, Proof
from keysvc.service.audit import AuditSigner
from keysvc.service.batch import BatchVerification
from keysvc.service.bootstrap import Admins
from keysvc.service.cache import Cache
from keysvc.service.calls import Caller, Request
from keysvc.service.digests import Digester
from keysvc.service.encryption import Encryption
from keysvc.service.failures import FailureLimit
from keysvc.service.integrity import Sealer
from keysvc.service.lifecycle import Lifecycle
from keysvc.service.live_keys import LiveKeys
from keysvc.service.maintenance import IntegrityReporter, Maintenance
from keysvc.service.material import Maker
from keysvc.service.merchants import Merchants, NewMerchant
from keysvc.service.revocation import Revocation
from keysvc.service.rotations import Rotations, SwapRequest
from keysvc.service.signing import Signing
from keysvc.service.trials import Trials, Verdict
from keysvc.service.usage import Usage
from keysvc.service.verification import Verification
from keysvc.service.viewing import CredentialView, Viewing
from keysvc.store.store import Store

MESSAGE = b"order 1"
HMAC = Slot.PRIMARY_HMAC_KEY
SECOND_HMAC = Slot.SECONDARY_HMAC_KEY
API_KEY = Slot.PRIMARY_REST_API_KEY
SECOND_API_KEY = Slot.SECONDARY_REST_API_KEY
AES = Slot.ENCRYPTION_PASSWORD
NONE = timedelta()
FAILURES = 1000
"""A minute, which no test here makes."""

both_databases = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
"""For what the database has a part in."""


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 5, 1, 12, 0, 0, 123457, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, time: timedelta) -> None:
        self.time += time


class Service:
    """One replica. Several on one database share its token, as replicas do."""

    def __init__(self, database: Database, token: Token, clock: Clock, store: Store | None = None) -> None:
        self.database = database
        self.token = token
        self.clock = clock
        self.signer = AuditSigner(token)
        self.store = store or Store(database.engine(), self.signer)
        self.reporter = IntegrityReporter(self.store, clock)
        self.sealer = Sealer(token, self.reporter)
        self.digester = Digester(token)
        self.cache = Cache(self.store, token, self.sealer)
        self.usage = Usage(self.store)
        self.lifecycle = Lifecycle(self.store, Maker(token, self.digester), self.sealer, self.usage, clock)
        self.revocation = Revocation(self.store, self.sealer, self.usage, clock)
        self.rotations = Rotations(self.store, self.sealer, self.usage, clock)
        keys = LiveKeys(self.cache)
        trials = Trials(keys, self.usage, FailureLimit("verifications", FAILURES), clock)
        self.verification = Verification(trials, token, self.digester)
        self.batch = BatchVerification(trials, token)
        self.signing = Signing(keys, token, self.usage, clock)
        self.encryption = Encryption(keys, token, self.usage, clock)
        self.viewing = Viewing(self.store, self.usage, clock)
        self.merchants = Merchants(self.store, self.sealer, clock)
        self.maintenance = Maintenance(self.store, self.signer, self.usage, self.reporter, clock)
        self.access = Access(self.store, self.cache, self.digester, FailureLimit("authentications", FAILURES), clock)
        self.admins = Admins(self.store, token, self.sealer, self.digester, clock)
        self._replicas: list[Service] = []

    def replica(self) -> Service:
        """Another one, that ends with this one."""
        self._replicas.append(Service(self.database, self.token, self.clock))
        return self._replicas[-1]

    def close(self) -> None:
        for replica in self._replicas:
            replica.close()
        self.store.close()

    def add_merchant(self, merchant_id: str = "m") -> None:
        """An active one."""
        self.merchants.create(CALLER, NewMerchant(merchant_id, "", "", ""))
        self.move(MerchantState.ACTIVE, merchant_id)

    def move(self, state: MerchantState, merchant_id: str = "m") -> None:
        self.merchants.move(CALLER, merchant_id, "", state)

    def create(self, slot: Slot = HMAC, merchant_id: str = "m", rotate_before: datetime | None = None) -> str:
        """Returns the secret."""
        _, fresh = self.lifecycle.create(_request(slot, merchant_id, rotate_before), None, None, None)
        return _text(fresh.text)

    def renew(
        self,
        slot: Slot = HMAC,
        previous_ttl: timedelta = NONE,
        merchant_id: str = "m",
        rotate_before: datetime | None = None,
    ) -> str:
        """Returns the new secret."""
        _, fresh = self.lifecycle.renew(_request(slot, merchant_id, rotate_before), previous_ttl, None, None)
        return _text(fresh.text)

    def swap(self, kind: Kind = Kind.HMAC_KEY, merchant_id: str = "m") -> tuple[int, int]:
        """Returns the versions of the primary and the secondary then."""
        views = self.rotations.swap(SwapRequest(CALLER, merchant_id, kind))
        records = [view.record for view in views]
        return tuple(record.version for record in records if record)  # type: ignore[return-value]

    def revoke(
        self, slot: Slot = HMAC, unused_for: timedelta = NONE, merchant_id: str = "m", *, validate_only: bool = False
    ) -> None:
        self.revocation.revoke(_request(slot, merchant_id), unused_for, validate_only=validate_only)

    def revoke_retiring(
        self, version: int, slot: Slot = HMAC, unused_for: timedelta = NONE, *, validate_only: bool = False
    ) -> CredentialView:
        return self.revocation.revoke_retiring(_request(slot, "m"), version, unused_for, validate_only=validate_only)

    def verify(self, secret: str, slot: Slot | None = None, merchant_id: str = "m") -> Verdict:
        """A call that verifies a MAC by `secret`, or, for a slot of bearer secrets, the secret itself."""
        self.cache.refresh()
        if slot in (API_KEY, SECOND_API_KEY, Slot.API_PASSWORD):
            return self.verification.verify_api_key(CALLER, (merchant_id, slot), secret)
        return self.verification.verify_hmac(CALLER, (merchant_id, slot), MESSAGE, mac_by(secret))

    def verdict(self, secret: str, slot: Slot | None = None, merchant_id: str = "m") -> str:
        """What `verify` answers: a result or a refusal, by its name."""
        return outcome(lambda: self.verify(secret, slot, merchant_id))

    def sign(self, slot: Slot | None = None, merchant_id: str = "m") -> bytes:
        self.cache.refresh()
        return self.signing.generate_hmac(CALLER, (merchant_id, slot), MESSAGE)[0]

    def last_use(self, slot: Slot = HMAC, version: int = 1) -> datetime | None:
        """As it is viewed."""
        view = self.viewing.get(CredentialName("m", slot))
        keys = [key for key in (view.record, *view.retiring) if key is not None and key.version == version]
        return view.last_use(keys[0]) if keys else None

    def holdings(self, merchant_id: str = "m") -> Holdings:
        """What stands of a merchant now."""
        found = self.store.holdings(merchant_id)
        assert found is not None
        return found

    def log_in(self, header: str) -> PrincipalRecord:
        """A call with this `authorization` header."""
        self.cache.refresh()
        return self.access.authenticate(Proof(header, tuple, lambda: "ipv4:127.0.0.1:1")).record

    def row(self, table: str, where: str) -> Row:
        """The one row there is."""
        (found,) = self.database.rows(table, where)
        return found


def mac_by(secret: str) -> bytes:
    """Computed here, and not by the service."""
    return hmac.digest(bytes.fromhex(secret), MESSAGE, hashlib.sha256)


def basic(name: str, password: str) -> str:
    """RFC 7617."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def outcome(call: Callable[[], object]) -> str:
    """A verdict's name, the name of the refusal or failure, or OK."""
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - one that is not keysvc's own shows by its name
        return type(error).__name__
    return str(answer.result) if isinstance(answer, Verdict) else "OK"


def of_kind(kind: Kind) -> Slot:
    """The first slot of a kind."""
    return {Kind.HMAC_KEY: HMAC, Kind.BEARER_SECRET: API_KEY, Kind.ENCRYPTION_KEY: AES}[kind]


def _request(slot: Slot, merchant_id: str, rotate_before: datetime | None = None) -> Request:
    return Request(CALLER, CredentialName(merchant_id, slot), rotate_before=rotate_before)


def _text(secret: SecretText | None) -> str:
    assert secret is not None
    return secret.reveal()


CALLER = Caller("admin", "test", lambda: "")
