"""The one exception tree: everything that keysvc refuses, or cannot do, and why.

Each class is one row of the contract's error table and carries its `reason`. The text is for a
person: what was wrong, where, and what to do. It never holds a secret or internal detail, because
it leaves the process as it is. `keysvc.rpc.errors` turns the reason into a gRPC status.
"""

from __future__ import annotations

from typing import ClassVar


class KeysvcError(Exception):
    """A refusal or failure with a reason that callers may depend on."""

    reason: ClassVar[str]

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class Unauthenticated(KeysvcError):
    """No credentials, or wrong ones. Says no more than that."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(KeysvcError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class NotOwner(KeysvcError):
    """The caller does not own the merchant, or there is no such merchant for this caller."""

    reason = "NOT_OWNER"


class InvalidField(KeysvcError):
    """A field of the request is malformed, missing or too large."""

    reason = "INVALID_FIELD"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", field=field)
        self.field = field
        self.problem = problem


class NotFound(KeysvcError):
    """No such merchant or principal, said to those who may know."""

    reason = "NOT_FOUND"


class AlreadyExists(KeysvcError):
    """A merchant or principal of this id is there already."""

    reason = "ALREADY_EXISTS"


class SlotOccupied(KeysvcError):
    """Create or import on a slot that holds a key."""

    reason = "SLOT_OCCUPIED"


class SlotEmpty(KeysvcError):
    """Renew, revoke or use of a slot that holds no key."""

    reason = "SLOT_EMPTY"


class WrongKind(KeysvcError):
    """The operation does not fit the slot's kind of key."""

    reason = "WRONG_KIND"


class MerchantNotActive(KeysvcError):
    """The merchant is suspended, terminated or waits for its activation."""

    reason = "MERCHANT_NOT_ACTIVE"


class StillInUse(KeysvcError):
    """A key was used within the time that the caller asked to be quiet."""

    reason = "STILL_IN_USE"


class TooManyRetiring(KeysvcError):
    """The slot already has as many retiring keys as it may have."""

    reason = "TOO_MANY_RETIRING"


class TooManyTokens(KeysvcError):
    """The merchant already has as many live tokens as it may have."""

    reason = "TOO_MANY_TOKENS"


class EtagMismatch(KeysvcError):
    """The resource has changed since the caller read it."""

    reason = "ETAG_MISMATCH"


class RequestAlreadyDone(KeysvcError):
    """The request_id was seen before: nothing was changed again, and no secret is shown again."""

    reason = "REQUEST_ALREADY_DONE"


class HsmKeyPending(KeysvcError):
    """A token key of this purpose is being replaced already."""

    reason = "HSM_KEY_PENDING"


class HsmKeyStateWrong(KeysvcError):
    """A token key is not in the state that this is done in."""

    reason = "HSM_KEY_STATE"


class LastAdmin(KeysvcError):
    """The last active administrator would be disabled."""

    reason = "LAST_ADMIN"


class DecryptFailed(KeysvcError):
    """A ciphertext that no live key of the slot decrypts in this context."""

    reason = "DECRYPT_FAILED"


class Overloaded(KeysvcError):
    """More calls at once than the service takes on."""

    reason = "OVERLOADED"


class TooManyFailures(KeysvcError):
    """Too many failed authentications or verifications of one caller."""

    reason = "TOO_MANY_FAILURES"


class DeadlineExceeded(KeysvcError):
    """The call's deadline has passed, or is too near to begin."""

    reason = "DEADLINE_EXCEEDED"


class HsmUnavailable(KeysvcError):
    """The token is out of reach, or failed in a way that a later call may not."""

    reason = "HSM_UNAVAILABLE"


class HsmBusy(HsmUnavailable):
    """Every session with the token is in use; the token itself may be well."""


class TokenLacks(KeysvcError):
    """The token in use can never do this: what it lacks was allowed when it was set up."""

    reason = "TOKEN_LACKS"


class StoreUnavailable(KeysvcError):
    """The database is out of reach."""

    reason = "STORE_UNAVAILABLE"


class Integrity(KeysvcError):
    """A stored row fails its check: it was altered, moved or copied, and is not used."""

    reason = "INTEGRITY"


class Misconfigured(KeysvcError):
    """The service cannot start as it is set up. The message is one line that says what to do."""

    reason = "MISCONFIGURED"
