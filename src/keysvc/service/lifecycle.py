"""Create, renew, revoke and import: each one transaction, with its audit event, request_id and epoch.

The secret leaves in the answer, after the commit, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keysvc.model.changing import check_previous_ttl
from keysvc.model.errors import InvalidField
from keysvc.model.merchants import require_active
from keysvc.model.slots import HmacAlgorithm, SecretFormat
from keysvc.service.calls import Clock, Request, record_slot, refuse_repeat
from keysvc.service.integrity import Sealer
from keysvc.service.material import Fresh, Maker, recipe
from keysvc.service.slot_edit import SlotEdit
from keysvc.service.usage import Usage
from keysvc.service.viewing import CredentialView
from keysvc.store.store import Store


class Lifecycle:
    """The changes of a slot."""

    def __init__(self, store: Store, maker: Maker, sealer: Sealer, usage: Usage, now: Clock) -> None:
        self._store = store
        self._maker = maker
        self._sealer = sealer
        self._usage = usage
        self._now = now

    def create(
        self,
        request: Request,
        algorithm: HmacAlgorithm | None,
        secret_format: SecretFormat | None,
        recipient: RSAPublicKey | None,
    ) -> tuple[CredentialView, Fresh]:
        """Fills a slot that holds no key. The answer is the only place where the secret ever stands."""
        if algorithm is not None and not algorithm.may_sign:
            raise InvalidField(
                "hmac_algorithm", f"{algorithm} is for import only: create a key of HMAC_SHA256 or better"
            )
        wanted = recipe(request.name, algorithm, secret_format)
        return self._fill(request, lambda: self._maker.make(request.name, wanted, recipient))

    def adopt(
        self,
        request: Request,
        algorithm: HmacAlgorithm | None,
        secret_format: SecretFormat | None,
        secret: str | bytes,
        *,
        allow_weak: bool,
    ) -> CredentialView:
        """Fills a slot with a secret from outside: text, or bytes sealed under the import key."""
        wanted = recipe(request.name, algorithm, secret_format)
        if isinstance(secret, bytes):
            return self._fill(request, lambda: self._maker.adopt_sealed(request.name, wanted, secret))[0]
        return self._fill(request, lambda: self._maker.adopt(request.name, wanted, secret, allow_weak=allow_weak))[0]

    def renew(
        self,
        request: Request,
        previous_ttl: timedelta,
        secret_format: SecretFormat | None,
        recipient: RSAPublicKey | None,
    ) -> tuple[CredentialView, Fresh]:
        """Replaces the slot's key; the old one verifies for `previous_ttl` more."""
        check_previous_ttl(previous_ttl)
        with self._change(request) as edit:
            require_active(edit.merchant)
            slot = edit.require_key()
            edit.check_etag(request.etag)
            algorithm = slot.hmac_algorithm
            if algorithm is not None and not algorithm.may_sign:
                algorithm = HmacAlgorithm.HMAC_SHA256
            wanted = recipe(request.name, algorithm, secret_format or slot.secret_format)
            fresh = self._maker.make(request.name, wanted, recipient)
            now = self._now()
            previous_ends = now + previous_ttl if previous_ttl else None
            written, retiring = edit.replace(fresh, now, previous_ends, request.rotate_before)
            # Read before the commit: once it is done nothing may keep the secret from leaving.
            used = self._usage.last_within(edit.change, request.name.merchant_id)
            record_slot(edit.change, request, written.version, self._now())
        return CredentialView(request.name, written, retiring, used), fresh

    def schedule(self, request: Request) -> CredentialView:
        """Sets or removes the date before which the slot's key is to be replaced."""
        with self._change(request) as edit:
            edit.require_key()
            edit.check_etag(request.etag)
            written = edit.schedule(request.rotate_before)
            used = self._usage.last_within(edit.change, request.name.merchant_id)
            record_slot(edit.change, request, written.version, self._now())
        return CredentialView(request.name, written, edit.retiring(self._now()), used)

    def _fill(self, request: Request, make: Callable[[], Fresh]) -> tuple[CredentialView, Fresh]:
        with self._change(request) as edit:
            require_active(edit.merchant)
            edit.require_no_key()
            fresh = make()
            written = edit.fill(fresh, self._now(), request.rotate_before)
            record_slot(edit.change, request, written.version, self._now())
        return CredentialView(request.name, written), fresh

    @contextmanager
    def _change(self, request: Request) -> Iterator[SlotEdit]:
        """One change of a slot whose rows are as they were written."""
        with self._store.change() as change:
            request.caller.check_deadline()  # the wait for others' changes may have been long
            refuse_repeat(change, request.caller, request.request_id)
            edit = SlotEdit.read(change, self._sealer, request.name)
            edit.check_integrity()
            yield edit
