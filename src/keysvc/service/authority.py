"""What a caller may do: the table of permissions, applied to one call on one resource.

Comes before a request is validated: whoever may not know a merchant learns nothing of it. An unknown
merchant and another's cost the same work, and answer alike.
"""

from __future__ import annotations

from keysvc.model.errors import NotOwner, PermissionDenied
from keysvc.model.names import merchant_name, merchant_of
from keysvc.model.permissions import FILTERED, REMOTE_METHODS, REMOTE_SLOT, Grant
from keysvc.model.principals import ALL_MERCHANTS, PrincipalKind, PrincipalRecord
from keysvc.service.calls import Caller
from keysvc.service.integrity import Sealer
from keysvc.service.known import Known
from keysvc.store.queries import Owner, Theirs
from keysvc.store.store import Store

_REMOTE_KINDS = frozenset({PrincipalKind.PSP, PrincipalKind.ACQUIRER})
_NAMED_BY_MERCHANTS = _REMOTE_KINDS
_SEE_ALL = frozenset({PrincipalKind.ADMIN, PrincipalKind.AUDITOR})


class Authority:
    """Thread-safe."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    def grant(self, known: Known, method: str) -> Grant:
        """Raises PermissionDenied unless the table lets this kind of principal call."""
        grant = known.grants.get(method)
        if grant is None:
            raise PermissionDenied(f"{known.record.kind} principals may not call {method}")
        return grant

    def check(self, known: Known, grant: Grant, method: str, name: str) -> None:
        """Whether the caller may do it to the resource `name`, which stands under a merchant.

        Raises PermissionDenied for a right that the caller lacks, NotOwner for a merchant that is not its own or is
        not there, InvalidField where the name has no form, and StoreUnavailable.
        """
        if grant is Grant.ANY:
            return
        merchant_id = merchant_of(name)
        if merchant_id == ALL_MERCHANTS and method in FILTERED:
            return
        principal = known.record
        if grant is Grant.EDIT:
            _check_edit(principal, method, name)
        elif grant is Grant.SIGN and not principal.can_sign:
            raise _lacks(principal, "can_sign")
        if not self._owns(known, merchant_id):
            raise NotOwner("Invalid 'merchantId': there is no such merchant for this caller")

    def refuses_at_once(self, known: Known, method: str, merchant_id: str) -> bool:
        """Whether a call on this merchant is refused whatever there is, by what is known of the caller alone."""
        if method not in known.grants:
            return True
        return known.record.kind not in _NAMED_BY_MERCHANTS and not _lists(known, merchant_id)

    def _owns(self, known: Known, merchant_id: str) -> bool:
        principal = known.record
        if principal.kind not in _NAMED_BY_MERCHANTS:
            return _lists(known, merchant_id)
        merchant = self._store.owned_merchant(Owner(principal.kind, principal.principal_id), merchant_id)
        if merchant is None:
            return False
        self._sealer.check(merchant, merchant_name(merchant_id))
        return True


def _lists(known: Known, merchant_id: str) -> bool:
    """Whether a principal that no merchant names has it among its own."""
    return known.merchants is None or merchant_id in known.merchants


def merchants_of(caller: Caller) -> Theirs:
    """Those that a caller may see: all for an ADMIN or AUDITOR, for others their own."""
    if caller.who is None or caller.who.record.kind in _SEE_ALL:
        return None
    principal = caller.who.record
    if principal.kind is PrincipalKind.MERCHANT:
        return principal.merchants
    return Owner(principal.kind, principal.principal_id)


def _check_edit(principal: PrincipalRecord, method: str, name: str) -> None:
    if not principal.can_edit_credentials:
        raise _lacks(principal, "can_edit_credentials")
    if method in REMOTE_METHODS and name.endswith(f"/credentials/{REMOTE_SLOT}"):
        if principal.kind not in _REMOTE_KINDS:
            raise PermissionDenied(f"{principal.kind} principals may not set {REMOTE_SLOT} anew")
        if not principal.remote_access:
            raise _lacks(principal, "remote_access")


def _lacks(principal: PrincipalRecord, right: str) -> PermissionDenied:
    return PermissionDenied(f"principals/{principal.principal_id} lacks {right}: ask an administrator")
