"""Principals: adding them, their rights and proofs, their passwords, and disabling them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from keysvc.hsm.token import Token
from keysvc.model.changing import MAX_RETIRING, check_etag, check_previous_ttl
from keysvc.model.errors import (
    AlreadyExists,
    InvalidField,
    LastAdmin,
    NotFound,
    TooManyRetiring,
)
from keysvc.model.names import check_id, principal_name
from keysvc.model.principals import (
    PrincipalKind,
    PrincipalRecord,
    PrincipalState,
    RetiringPassword,
    check_rights,
    check_spiffe_id,
)
from keysvc.model.secrets import SecretText
from keysvc.service import bearer
from keysvc.service.access import PASSWORD_USE
from keysvc.service.calls import Caller, Clock, record, refuse_repeat
from keysvc.service.digests import Digester
from keysvc.service.integrity import Sealer
from keysvc.store.changes import Change
from keysvc.store.store import Store

_PASSWORD_BYTES = 16


class Passwords:
    """Makes passwords: 32 upper-case hexadecimal digits, 16 bytes from the token."""

    def __init__(self, token: Token, digester: Digester) -> None:
        self._token = token
        self._digester = digester

    def new(self) -> SecretText:
        return SecretText(self._token.random(_PASSWORD_BYTES).hex().upper())

    def digest(self, principal_id: str, password: SecretText) -> dict[str, Any]:
        """The fields of the record that keep it."""
        digest, generation = self._digester.make(PASSWORD_USE, principal_id, password.reveal())
        return {"password_digest": digest, "digest_generation": generation}


@dataclass(frozen=True, slots=True)
class Principals:
    """The use cases of PrincipalService."""

    store: Store
    passwords: Passwords
    sealer: Sealer
    now: Clock

    def create(
        self, caller: Caller, principal_id: str, kind: PrincipalKind, fields: Mapping[str, Any]
    ) -> tuple[PrincipalRecord, SecretText]:
        """The principal, and its password's one copy. Raises AlreadyExists or InvalidField."""
        check_id(principal_id, "principal_id")
        password, now = self.passwords.new(), self.now()
        made = PrincipalRecord(
            principal_id=principal_id, kind=kind, state=PrincipalState.ACTIVE, create_time=now, update_time=now,
            password_time=now, revision=1, password_digest=b"", digest_generation=0,
        )  # fmt: skip
        checked = _with(made, fields)
        with self.store.change() as change:
            if change.principal(principal_id) is not None:
                name = principal_name(principal_id)
                raise AlreadyExists(f"Principal {principal_id} is there already", resource=name)
            _require_own_spiffe_id(change, checked)
            written = self.sealer.seal(replace(checked, **self.passwords.digest(principal_id, password)))
            change.add_principal(written)
            record(change, caller, principal_name(principal_id), time=now)
        return written, password

    def get(self, principal_id: str) -> PrincipalRecord:
        """Raises NotFound."""
        return _found(self.store.principal(principal_id), principal_id)

    def list(self, after: str | None, limit: int) -> list[PrincipalRecord]:
        """By id, those after `after`."""
        return self.store.principals(after, limit)

    def update(self, caller: Caller, principal_id: str, etag: str, fields: Mapping[str, Any]) -> PrincipalRecord:
        """Sets `fields` of the record. Raises NotFound, EtagMismatch, InvalidField or AlreadyExists."""
        with self.store.change() as change:
            before = self._read(change, principal_id, etag)
            changed = _with(before, fields)
            if changed == before:
                return before
            _require_own_spiffe_id(change, changed)
            return self._put(change, caller, changed)

    def renew_password(
        self, caller: Caller, principal_id: str, previous_ttl: timedelta, request_id: str
    ) -> tuple[PrincipalRecord, SecretText]:
        """The principal, and the new password's one copy; the old one works for `previous_ttl` more.

        Without it every older password stops: this is how an overlap is ended early.
        """
        check_previous_ttl(previous_ttl)
        with self.store.change() as change:
            caller.check_deadline()
            refuse_repeat(change, caller, request_id)
            before = self._read(change, principal_id, "")
            password, now = self.passwords.new(), self.now()
            retiring = [old for old in before.retiring_passwords if previous_ttl and now < old.expire_time]
            if previous_ttl:
                if len(retiring) >= MAX_RETIRING:
                    raise _too_many(before)
                ending = RetiringPassword(before.password_digest.hex(), before.digest_generation, now + previous_ttl)
                retiring.append(ending)
            kept = tuple(sorted(retiring, key=lambda old: old.expire_time, reverse=True))
            digest = self.passwords.digest(principal_id, password)
            renewed = replace(before, password_time=now, retiring_passwords=kept, **digest)
            return self._put(change, caller, renewed, request_id), password

    def disable(self, caller: Caller, principal_id: str, etag: str) -> PrincipalRecord:
        """Raises NotFound, EtagMismatch, or LastAdmin."""
        with self.store.change() as change:
            before = self._read(change, principal_id, etag)
            if not before.active:
                return before
            if before.kind is PrincipalKind.ADMIN:
                self._require_another_admin(change, principal_id)
            return self._put(change, caller, replace(before, state=PrincipalState.DISABLED, retiring_passwords=()))

    def _read(self, change: Change, principal_id: str, etag: str) -> PrincipalRecord:
        principal = _found(change.principal(principal_id), principal_id)
        name = principal_name(principal_id)
        self.sealer.check(principal, name)
        check_etag(etag, etag_of(principal), name)
        return principal

    def _put(self, change: Change, caller: Caller, changed: PrincipalRecord, request_id: str = "") -> PrincipalRecord:
        now = self.now()
        written = self.sealer.seal(replace(changed, update_time=now, revision=changed.revision + 1))
        change.put_principal(written)
        record(change, caller, principal_name(written.principal_id), request_id=request_id, time=now)
        return written

    def _require_another_admin(self, change: Change, principal_id: str) -> None:
        for other in change.active_admins():
            if other.principal_id != principal_id:
                self.sealer.check(other, principal_name(other.principal_id))
                return
        raise LastAdmin(
            f"{principal_name(principal_id)} is the last active ADMIN: create or activate another first",
            resource=principal_name(principal_id),
        )


def etag_of(principal: PrincipalRecord) -> str:
    return str(principal.revision)


def _with(principal: PrincipalRecord, fields: Mapping[str, Any]) -> PrincipalRecord:
    """Raises InvalidField for what is not for this kind, or has no form."""
    changed = replace(principal, **fields)
    check_rights(changed)
    if changed.spiffe_id is not None:
        check_spiffe_id(changed.spiffe_id, "principal.spiffe_id")
    if len(changed.jwt_public_keys) > bearer.MAX_KEYS:
        raise InvalidField("principal.jwt_public_keys", f"holds more than {bearer.MAX_KEYS} keys")
    for pem in changed.jwt_public_keys:
        bearer.check_key(pem, "principal.jwt_public_keys")
    return changed


def _require_own_spiffe_id(change: Change, principal: PrincipalRecord) -> None:
    if principal.spiffe_id is None:
        return
    other = change.principal_of(principal.spiffe_id)
    if other is not None and other.principal_id != principal.principal_id:
        name = principal_name(other.principal_id)
        raise AlreadyExists(f"{name} has this spiffe_id already", resource=name)


def _found(principal: PrincipalRecord | None, principal_id: str) -> PrincipalRecord:
    if principal is None:
        raise NotFound(f"There is no principal {principal_id}", resource=principal_name(principal_id))
    return principal


def _too_many(principal: PrincipalRecord) -> TooManyRetiring:
    name = principal_name(principal.principal_id)
    return TooManyRetiring(
        f"{name} has {MAX_RETIRING} retiring passwords: wait for one to end, or renew without previous_ttl",
        resource=name,
    )
