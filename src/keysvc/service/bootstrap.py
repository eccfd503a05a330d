"""What `keysvc init` writes to the database, and what every start checks of it."""

from __future__ import annotations

import hmac

from keysvc.hsm.keyring import Purpose
from keysvc.hsm.token import Token
from keysvc.model.errors import Misconfigured
from keysvc.model.names import principal_name
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.model.secrets import SecretText
from keysvc.service.access import PASSWORD_USE
from keysvc.service.calls import SERVICE_ITSELF, Caller, Clock, no_peer, record
from keysvc.service.digests import Digester
from keysvc.service.integrity import Sealer
from keysvc.store.store import Store

_PASSWORD_BYTES = 16
_BOUND_PURPOSES = (Purpose.ROW, Purpose.DIGEST)
_BINDING_TEXT = b"keysvc: the token that this database was written with"


def bind(store: Store, token: Token) -> None:
    """Notes in a new database which token keys it is written with. Raises Misconfigured for another's database."""
    known = store.bindings()
    if known:
        require_bound(store, token)
        return
    newest = [(purpose, token.newest(purpose)) for purpose in _BOUND_PURPOSES]
    store.bind({key: token.keyed_digest(*key, _BINDING_TEXT) for key in newest})


def require_bound(store: Store, token: Token) -> None:
    """Raises Misconfigured unless the database was written with this token's keys."""
    known = store.bindings()
    if not known:
        raise Misconfigured("The database was not set up for a token: run `keysvc init`")
    for (purpose, generation), check_value in known.items():
        try:
            found = token.keyed_digest(Purpose(purpose), generation, _BINDING_TEXT)
        except KeyError:
            found = b""
        if not hmac.compare_digest(found, check_value):
            raise Misconfigured(
                f"The token's {purpose} key {generation} is not the one that this database was written with:"
                " check KEYSVC_TOKEN_LABEL and KEYSVC_DATABASE_URL, they do not belong together"
            )


class Admins:
    """Makes the first caller."""

    def __init__(self, store: Store, token: Token, sealer: Sealer, digester: Digester, now: Clock) -> None:
        self._store = store
        self._token = token
        self._sealer = sealer
        self._digester = digester
        self._now = now

    def exists(self, principal_id: str) -> bool:
        return self._store.principal(principal_id) is not None

    def has_password(self, principal_id: str, password: SecretText) -> bool:
        """Whether the principal is there with this password."""
        principal = self._store.principal(principal_id)
        return principal is not None and self._digester.matches(
            PASSWORD_USE, principal_id, password.reveal(), principal.password_digest, principal.digest_generation
        )

    def new_password(self) -> SecretText:
        """32 upper-case hexadecimal digits: 16 bytes from the token."""
        return SecretText(self._token.random(_PASSWORD_BYTES).hex().upper())

    def put(self, principal_id: str, password: SecretText) -> None:
        """Makes the administrator, or gives the one that is there a new password."""
        now = self._now()
        digest, generation = self._digester.make(PASSWORD_USE, principal_id, password.reveal())
        with self._store.change() as change:
            before = change.principal(principal_id)
            written = self._sealer.seal(
                PrincipalRecord(
                    principal_id=principal_id,
                    kind=PrincipalKind.ADMIN,
                    state=PrincipalState.ACTIVE,
                    password_digest=digest,
                    digest_generation=generation,
                    create_time=before.create_time if before else now,
                    revision=before.revision + 1 if before else 1,
                )
            )
            if before is None:
                change.add_principal(written)
            else:
                change.put_principal(written)
            record(change, Caller(SERVICE_ITSELF, "init", no_peer), principal_name(principal_id), time=now)
