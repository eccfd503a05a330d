"""What `keysvc init` writes to the database, and what every start checks of it."""

from __future__ import annotations

import hmac
from dataclasses import replace

from keysvc.hsm.token import Token
from keysvc.model.errors import Integrity, Misconfigured
from keysvc.model.hsm_keys import Purpose
from keysvc.model.names import principal_name
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.model.secrets import SecretText
from keysvc.service.access import PASSWORD_USE
from keysvc.service.calls import Clock, itself, record
from keysvc.service.digests import Digester
from keysvc.service.integrity import Sealer
from keysvc.service.principals import Passwords
from keysvc.store.store import Store

BOUND_PURPOSES = (Purpose.ROW, Purpose.DIGEST)
BINDING_TEXT = b"keysvc: the token that this database was written with"


def bind(store: Store, token: Token) -> None:
    """Notes in a new database which token keys it is written with. Raises Misconfigured for another's database."""
    known = store.bindings()
    if known:
        require_bound(store, token)
        return
    newest = [(purpose, token.newest(purpose)) for purpose in BOUND_PURPOSES]
    store.bind({key: token.keyed_digest(*key, BINDING_TEXT) for key in newest})


def require_bound(store: Store, token: Token) -> None:
    """Raises Misconfigured unless the database was written with this token's keys."""
    known = store.bindings()
    if not known:
        raise Misconfigured("The database was not set up for a token: run `keysvc init`")
    newest = {purpose: max(each for of, each in known if of == purpose) for purpose, _ in known}
    for (purpose, generation), check_value in known.items():
        try:
            found = token.keyed_digest(Purpose(purpose), generation, BINDING_TEXT)
        except KeyError:
            if generation < newest[purpose]:
                continue  # it was replaced and destroyed, and the run was cut off before that was noted
            found = b""
        if not hmac.compare_digest(found, check_value):
            raise Misconfigured(
                f"The token's {purpose} key {generation} is not the one that this database was written with:"
                " check KEYSVC_TOKEN_LABEL and KEYSVC_DATABASE_URL, they do not belong together"
            )


class Admins:
    """Makes the first caller, and records the run of `keysvc init` that did, or found nothing missing."""

    def __init__(self, store: Store, token: Token, sealer: Sealer, digester: Digester, now: Clock) -> None:
        self._store = store
        self._passwords = Passwords(token, digester)
        self._sealer = sealer
        self._digester = digester
        self._now = now
        self._recorded = False

    def exists(self, principal_id: str) -> bool:
        return self._store.principal(principal_id) is not None

    def has_password(self, principal_id: str, password: SecretText) -> bool:
        """Whether the principal is there with this password."""
        principal = self._store.principal(principal_id)
        return principal is not None and self._digester.matches(
            PASSWORD_USE, principal_id, password.reveal(), principal.password_digest, principal.digest_generation
        )

    def new_password(self) -> SecretText:
        return self._passwords.new()

    def put(self, principal_id: str, password: SecretText) -> None:
        """Makes the administrator, or gives the one that is there a new password."""
        now = self._now()
        with self._store.change() as change:
            before = change.principal(principal_id)
            revision = before.revision if before else 0
            kept = self._trusted(before) or PrincipalRecord(
                principal_id=principal_id, kind=PrincipalKind.ADMIN, state=PrincipalState.ACTIVE,
                password_digest=b"", digest_generation=0, create_time=now, revision=revision,
            )  # fmt: skip
            new = replace(
                kept, update_time=now, password_time=now, retiring_passwords=(), revision=revision + 1,
                kind=PrincipalKind.ADMIN, state=PrincipalState.ACTIVE, **self._passwords.digest(principal_id, password),
            )  # fmt: skip
            written = self._sealer.seal(new)
            if before is None:
                change.add_principal(written)
            else:
                change.put_principal(written)
            record(change, itself("init"), principal_name(principal_id), time=now)
        self._recorded = True

    def _trusted(self, principal: PrincipalRecord | None) -> PrincipalRecord | None:
        """None for a row that was altered: the proofs that it names may be somebody else's, and are not kept."""
        try:
            if principal is not None:
                self._sealer.check(principal, principal_name(principal.principal_id))
        except Integrity:
            return None
        return principal

    def note_run(self) -> None:
        """Records a run that made no administrator: each run is one event. Raises StoreUnavailable."""
        if not self._recorded:
            with self._store.change() as change:
                record(change, itself("init"), "", time=self._now())
            self._recorded = True
